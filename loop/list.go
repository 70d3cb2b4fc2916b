package loop

import (
	"context"
	"errors"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// errEnded is the answer of a loop that has ended.
var errEnded = errors.New("loop: it has ended")

// aside is what belongs to a slot and no request looks at: it lies apart, so that a slot stays one cache line.
type aside struct {
	gen    uint32 // which connection of the slot it is
	opened uint32 // moment
	ring   uint32 // place of its last events plus one, or zero
}

func (l *Loop) aside(index uint32) *aside {
	return &l.asides[index/slotsPerChunk][index%slotsPerChunk]
}

// List copies records of the next connections. The loop is asked once for each call, and goes on with its work in
// between: a million connections take a thousand of its turns.
func (l *Loop) List(ctx context.Context, from uint32, dst []conn.Record, ask conn.Ask) (n int, next uint32, err error) {
	err = l.ask(ctx, func() { n, next = l.list(from, dst, ask) })
	if err != nil {
		return 0, 0, err
	}
	return n, next, nil
}

// ask runs f on the loop's thread and waits until it has.
func (l *Loop) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !l.Do(func() { f(); close(done) }) {
		return errEnded
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// looksAtOnce is how many connections one turn asks the kernel about.
const looksAtOnce = 128

func (l *Loop) list(from uint32, dst []conn.Record, ask conn.Ask) (n int, next uint32) {
	most := uint32(min(conn.ListMost, len(dst)))
	if ask != 0 {
		most = min(most, looksAtOnce)
	}
	end := min(l.made, from+most)
	for index := from; index < end; index++ {
		if c := l.at(index); c.state < conn.Closed {
			l.describe(c, &dst[n], ask)
			n++
		}
	}
	if end >= l.made {
		end = 0
	}
	return n, end
}

// describe copies what there is to know of a connection.
func (l *Loop) describe(c *connection, r *conn.Record, ask conn.Ask) {
	at := func(moment uint32) time.Duration { return time.Duration(l.moment()-moment) << momentShift }
	*r = conn.Record{
		ID: c.ID(), Worker: int(l.number), Listener: int(c.listener), State: c.state,
		Idle: c.flags&flagIdle != 0, Paused: c.flags&flagPaused != 0,
		Age: at(l.aside(c.index).opened), Quiet: at(c.since),
		In: c.bytesIn, Out: c.bytesOut, Queued: c.Queued(), Requests: c.requests,
	}
	if l.listeners[c.listener].dials {
		r.Listener = -1
	}
	if ask == 0 || c.fd < 0 || c.flags&flagClosing != 0 {
		return
	}
	fd, done, err := l.driver.Descriptor(int(c.fd))
	if err != nil {
		return
	}
	defer done()
	r.Look(fd, ask)
}

// Find copies records of connections by ID.
func (l *Loop) Find(ctx context.Context, ids []uint64, dst []conn.Record, ask conn.Ask,
	describe func(c conn.Conn, at int),
) (n int, err error) {
	for len(ids) > 0 && err == nil {
		some := ids[:min(len(ids), looksAtOnce)]
		ids = ids[len(some):]
		err = l.ask(ctx, func() {
			for _, id := range some {
				c := l.known(id)
				if c == nil || n == len(dst) {
					continue
				}
				l.describe(c, &dst[n], ask)
				if describe != nil && c.state < conn.Closing {
					describe(c, n)
				}
				n++
			}
		})
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// known is find, and for connections that are being closed too.
func (l *Loop) known(id uint64) *connection {
	index := uint32(id & maxSlots)
	if index >= l.made {
		return nil
	}
	if c := l.at(index); c.ID() == id && c.state < conn.Closed {
		return c
	}
	return nil
}

// End aborts a connection.
func (l *Loop) End(id uint64, why error) bool {
	if uint8(id>>56) != l.number {
		return false
	}
	return l.Post(id, func(c conn.Conn) { c.Abort(why) })
}

// Ended copies records of connections that have ended lately.
func (l *Loop) Ended(ctx context.Context) (all []conn.Record, err error) {
	if err := l.ask(ctx, func() { all = l.memory.Recall() }); err != nil {
		return nil, err
	}
	return all, nil
}

// witness is the handler of connections that are over. It remembers the end, and passes it on.
type witness struct {
	conn.Defaults
	loop *Loop
}

// Received is not called: there is nothing to be received any more.
func (w *witness) Received(_ conn.Conn, in []byte) int { return len(in) }

// Closed remembers the connection, and tells its own handler.
func (w *witness) Closed(c conn.Conn, why error) {
	l, own := w.loop, c.(*connection)
	if why != conn.ErrMoved {
		l.describe(own, &l.parting, 0)
		l.parting.Why, l.parting.Ended = why, l.wall
		if seen, noted := l.partings[own.index]; noted {
			l.parting.Local, l.parting.Remote = seen.Local, seen.Remote
		}
		l.memory.Keep(&l.parting)
		l.recordEnd(own)
	}
	delete(l.partings, own.index)
	l.listeners[own.listener].handler.Closed(c, why)
}

// note asks for the addresses of a connection that ends for a reason, as long as it has a descriptor. The kernel has
// forgotten those of one that its peer has reset.
func (l *Loop) note(c *connection) {
	if w := l.has(c); w == nil || w.why == nil || w.why == conn.ErrMoved || c.flags&flagClosing != 0 {
		return
	}
	if _, noted := l.partings[c.index]; noted {
		return
	}
	var r conn.Record
	l.describe(c, &r, conn.AskAddresses)
	l.partings[c.index] = r
}
