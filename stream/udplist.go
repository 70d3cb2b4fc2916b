package stream

import (
	"context"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// Session is a session of datagrams at one moment: a copy, good for ever.
type Session struct {
	// ID is that of no other session of the same UDP; a connection, or a session of another, may have it too.
	ID uint64
	// Worker is the number of the loop.
	Worker int
	// Client is who it is, conn.UnixPeer for a Unix socket and zero for those without a name; conn.PeerName writes it.
	// Home tells which address of the listener it sends to; zero if the listener has but one.
	Client netip.AddrPort
	Home   netip.Addr
	// Upstream is the address of the server; empty if there was none yet. Reached tells that it has not failed.
	Upstream string
	Reached  bool
	// Age is the time since the first datagram, and Quiet since the last of either side.
	Age, Quiet time.Duration
	// Received and Sent are from the client, and to it.
	Received, Sent Traffic
	// UpstreamReceived and UpstreamSent are from the server, and to it.
	UpstreamReceived, UpstreamSent Traffic
}

// Traffic is what went one way.
type Traffic struct {
	Datagrams, Bytes uint64
}

// add counts a datagram.
func (t *Traffic) add(p []byte) {
	t.Datagrams++
	t.Bytes += uint64(len(p))
}

const (
	slotBits   = 24 // of an ID: the place; that is more sessions than a process has descriptors
	serialBits = 32 // of an ID: how many sessions the router has had
	routerBits = 32 // of a place to go on from, above the slot
)

// List copies the open sessions from a place on, which is 0 at first, and returns how many it copied and the place to
// go on from; 0: there are no more. It looks at as many as dst has room for, conn.ListMost at most, and asks one loop,
// once, which goes on with its work in between. A session that is there all the time is listed once; one that comes or
// goes meanwhile may be missed. Any goroutine may ask but those of the loops. After an error, which is ctx's, dst still
// belongs to the loop.
func (u *UDP) List(ctx context.Context, from uint64, dst []Session) (n int, next uint64, err error) {
	all := u.started()
	at, slot := int(from>>routerBits), int(from&(1<<routerBits-1))
	if at >= len(all) {
		return 0, 0, nil
	}
	err = all[at].ask(ctx, func(r *router) { n, slot = r.list(slot, dst[:min(len(dst), conn.ListMost)]) })
	switch {
	case err != nil:
		return 0, 0, err
	case slot > 0:
		return n, uint64(at)<<routerBits | uint64(slot), nil
	case at+1 < len(all):
		return n, uint64(at+1) << routerBits, nil
	}
	return n, 0, nil
}

// End ends a session, which counts as Closed. It reports false if there is none of that ID.
func (u *UDP) End(ctx context.Context, id uint64) (bool, error) {
	all, at := u.started(), int(id>>(slotBits+serialBits))
	if at >= len(all) {
		return false, nil
	}
	found := false
	err := all[at].ask(ctx, func(r *router) {
		if slot := int(id & (1<<slotBits - 1)); slot < len(r.places) {
			if f := r.places[slot]; f != nil && f.id == id {
				f.why, found = conn.ErrOperator, true
				r.end(f, Closed)
			}
		}
	})
	return found && err == nil, err
}

// started are the routers. Those that were not started have no dialer.
func (u *UDP) started() []asked {
	u.making.Lock()
	defer u.making.Unlock()
	all := make([]asked, 0, len(u.routers))
	for _, r := range u.routers {
		all = append(all, asked{r, r.dialer})
	}
	return all
}

// asked is a router, and the way to its thread.
type asked struct {
	router *router
	dialer conn.Dialer
}

// ask runs f on the router's thread and waits until it has. Where there is no thread there are no sessions.
func (a asked) ask(ctx context.Context, f func(r *router)) error {
	done := make(chan struct{})
	if a.dialer == nil || !a.dialer.Do(func() { f(a.router); close(done) }) {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// list copies the sessions at the places from one on.
func (r *router) list(from int, dst []Session) (n, next int) {
	end := min(len(r.places), from+len(dst))
	for _, f := range r.places[min(from, end):end] {
		if f != nil {
			r.describe(f, &dst[n])
			n++
		}
	}
	if end == len(r.places) {
		end = 0
	}
	return n, end
}

// describe copies what there is to know of a session.
func (r *router) describe(f *flow, s *Session) {
	now := r.dialer.Now()
	*s = Session{
		ID: f.id, Worker: r.dialer.Number(), Client: clientOf(f.client), Home: f.home.Unmap(), Reached: f.socket != nil,
		Age: time.Duration(now - f.began), Quiet: time.Duration(now - f.active),
		Received: f.received, Sent: f.sent, UpstreamReceived: f.from, UpstreamSent: f.to,
	}
	if f.server != nil {
		s.Upstream = f.server.Address()
	}
}

// clientOf is a client's address as people write it.
func clientOf(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// place gives a session a place and an ID.
func (r *router) place(f *flow) {
	slot := len(r.places)
	if n := len(r.vacant); n > 0 {
		slot = int(r.vacant[n-1])
		r.vacant = r.vacant[:n-1]
	} else {
		r.places = append(r.places, nil)
	}
	r.places[slot] = f
	r.serial++
	f.id = (r.number<<serialBits|uint64(r.serial))<<slotBits | uint64(slot)
}

// leave takes a session out of its place. The list is as long as there were ever sessions, until there are none.
func (r *router) leave(f *flow) {
	slot := uint32(f.id & (1<<slotBits - 1))
	r.places[slot] = nil
	r.vacant = append(r.vacant, slot)
	if r.order.next == &r.order {
		r.places, r.vacant = r.places[:0], r.vacant[:0]
	}
}
