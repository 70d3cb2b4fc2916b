package serve

import (
	"context"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// face is what a connection shows to others: what its own thread of control saw when it last went to wait. Under
// connection.mu.
type face struct {
	fd               int // -1: there is no connection
	state            conn.State
	idle, paused     bool
	switched         bool
	requests         uint32
	received, sent   uint64
	queued           int64
	opened, happened int64 // by clock
}

// show lets others see how the connection stands, before it waits.
func (c *connection) show() {
	c.mu.Lock()
	f := &c.face
	f.state, f.idle, f.paused = c.state, c.idle.Load() != atWork, c.flags&paused != 0
	f.requests, f.received, f.sent, f.queued = c.requests, c.received, c.sent, c.queued
	_, f.switched = c.attached.(conn.Handler)
	f.happened = c.now
	c.mu.Unlock()
}

// CountRequest counts a request.
func (c *connection) CountRequest() { c.requests++ }

// record copies what a connection shows, and reports false if there is none. Under connection.mu.
func (c *connection) record(r *conn.Record, now int64, ask conn.Ask) bool {
	f := &c.face
	if c.id == 0 {
		return false
	}
	*r = conn.Record{
		ID: c.id, Listener: c.at.index, State: f.state, Idle: f.idle, Paused: f.paused, Switched: f.switched,
		Age: time.Duration(now - f.opened), Quiet: time.Duration(now - f.happened),
		In: f.received, Out: f.sent, Queued: f.queued, Requests: f.requests,
	}
	if f.fd >= 0 {
		r.Look(f.fd, ask)
	}
	return true
}

// List copies records of the next connections.
func (b *Blocking) List(_ context.Context, from uint32, dst []conn.Record, ask conn.Ask,
) (n int, next uint32, err error) {
	b.mu.Lock()
	end := min(len(b.seats), int(from)+min(conn.ListMost, len(dst)))
	seats := append([]*connection(nil), b.seats[min(int(from), end):end]...)
	if end < len(b.seats) {
		next = uint32(end)
	}
	b.mu.Unlock()
	now := b.clock()
	for _, c := range seats {
		c.mu.Lock()
		if c.record(&dst[n], now, ask) {
			n++
		}
		c.mu.Unlock()
	}
	return n, next, nil
}

// find is the seat of a connection, with its lock taken, or nil.
func (b *Blocking) find(id uint64) *connection {
	b.mu.Lock()
	seats := b.seats[:len(b.seats):len(b.seats)]
	b.mu.Unlock()
	for _, c := range seats {
		c.mu.Lock()
		if c.id == id {
			return c
		}
		c.mu.Unlock()
	}
	return nil
}

// Find copies records of connections by ID. It calls nothing on their threads of control: to be woken costs them more
// than to be asked is worth.
func (b *Blocking) Find(_ context.Context, ids []uint64, dst []conn.Record, ask conn.Ask, _ func(conn.Conn, int),
) (n int, err error) {
	wanted := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	b.mu.Lock()
	seats := b.seats[:len(b.seats):len(b.seats)] // none is ever taken away
	b.mu.Unlock()
	now := b.clock()
	for _, c := range seats {
		if n == len(dst) {
			break
		}
		c.mu.Lock()
		if wanted[c.id] && c.record(&dst[n], now, ask) {
			n++
		}
		c.mu.Unlock()
	}
	return n, nil
}

// End aborts a connection.
func (b *Blocking) End(id uint64, why error) bool {
	c := b.find(id)
	if id == 0 || c == nil {
		return false
	}
	defer c.mu.Unlock()
	c.posts = append(c.posts, func(c conn.Conn) { c.Abort(why) })
	c.posted.Store(true)
	c.gate.disturb()
	return true
}

// Ended copies records of connections that have ended lately.
func (b *Blocking) Ended(context.Context) ([]conn.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.memory.Recall(), nil
}

// depart remembers a connection that has ended. Its descriptor is open yet.
func (c *connection) depart() {
	c.show()
	var r conn.Record
	c.mu.Lock()
	known := c.record(&r, c.site.clock(), conn.AskPeer)
	c.face.fd = -1
	c.mu.Unlock()
	if !known {
		return
	}
	r.Why, r.Ended = c.why, time.Now().Unix()
	c.site.mu.Lock()
	c.site.memory.Keep(&r)
	c.site.mu.Unlock()
	if ended := c.site.site.Recording.Ended; ended != nil && r.Why != nil {
		ended(&r, nil)
	}
}
