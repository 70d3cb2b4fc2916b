package loop

import (
	"errors"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
)

// How much one round may move. It doubles while dst takes a round in a moment, up to what a pipe of the largest size
// holds, and is halved when that takes long: what a slow reader has not read is pinned memory. Who is slow with the
// least is copied to, a block at a time: pipes are for those that keep them moving.
const (
	roundLeast = 64 << 10
	roundMost  = 1 << 20
	roundTime  = int64(250 * time.Millisecond)
	// copyRounds is how many rounds are copied before a pipe is tried again.
	copyRounds = 16
)

// trimTime is how long a pipe is kept that nobody needs.
const trimTime = 5 * time.Second

// route is what Pipe makes: what is received on src goes to dst inside the kernel. Bytes move in rounds. A SpliceIn
// waits on src without a pipe, and completes with one that holds bytes; a SpliceOut empties it into dst; then the next
// SpliceIn waits. So a route has a pipe only while there are bytes in it, and src's end is heard of behind the last of
// them. When there is no pipe, a round is a Recv of one block that is queued on dst.
type route struct {
	src, dst uint32       // none when it has nothing to do with the route any more
	pipe     *driver.Pipe // bytes that came, until a SpliceOut takes it over
	inside   int          // how many have not left; not zero before the SpliceOut is over
	since    int64        // when the last round came; zero when its time has been looked at
	most     int          // bytes of a round
	copies   int          // rounds to be copied
	active   bool         // Pipe has begun it, and nothing has ended it
}

// link is where a connection finds its routes: what it receives goes to one, what another has sent it comes.
type link struct{ to, from *route }

// linkOf is the link of a connection. There is room for them only where there was a route.
func (l *Loop) linkOf(c *connection) *link {
	chunk := int(c.index / slotsPerChunk)
	for chunk >= len(l.links) {
		l.links = append(l.links, nil)
	}
	if l.links[chunk] == nil {
		l.links[chunk] = new([slotsPerChunk]link)
	}
	return &l.links[chunk][c.index%slotsPerChunk]
}

// pipeTo begins a route, or takes up again one that has not quite ended.
func (l *Loop) pipeTo(c, dst *connection) bool {
	from, to := l.linkOf(c), l.linkOf(dst)
	rt := to.from
	switch {
	case from.to != rt && from.to != nil:
		return false // its last bytes are on their way elsewhere
	case rt == nil:
		rt = l.newRoute()
	case rt.src != none && rt.src != c.index:
		return false
	}
	rt.src, rt.dst, rt.active, rt.most = c.index, dst.index, true, roundLeast
	from.to, to.from = rt, rt
	c.flags |= flagPiped | flagRefeed // what was received before goes first
	dst.flags |= flagFed
	l.mark(c)
	l.mark(dst)
	l.await(dst) // what is queued there goes first
	if l.trims == nil {
		l.trims = l.dials.Every(trimTime, l.trim)
	}
	return true
}

func (l *Loop) newRoute() *route {
	if n := len(l.routes); n > 0 {
		rt := l.routes[n-1]
		l.routes = l.routes[:n-1]
		return rt
	}
	return new(route)
}

// pace fits the next round to how long the last one took.
func (rt *route) pace(now int64) {
	took := now - rt.since
	switch {
	case rt.since == 0:
	case took <= roundTime/8:
		rt.most = min(2*rt.most, roundMost)
	case took <= roundTime:
	case rt.most > roundLeast:
		rt.most /= 2
	default:
		rt.copies = copyRounds
	}
	rt.since = 0
}

// trim closes the pipes that nobody has needed for a while.
func (l *Loop) trim() {
	if l.pipes.Trim() == 0 {
		l.trims()
		l.trims = nil
	}
}

// loosen ends routes of a connection that can go on no longer, and lets go of what has nothing left to move.
func (l *Loop) loosen(c *connection) {
	k := l.linkOf(c)
	if rt := k.to; rt != nil {
		rt.active = rt.active && c.state == conn.Open && c.flags&flagTold == 0 && l.at(rt.dst).writable()
		l.release(rt)
	}
	if rt := k.from; rt != nil {
		if rt.active && !c.writable() {
			rt.active = false
			l.mark(l.at(rt.src))
		}
		l.release(rt)
	}
}

// release takes a route that is not active from its source when nothing more can come from there, and from its target
// when all has left.
func (l *Loop) release(rt *route) {
	if rt.active {
		return
	}
	if rt.src != none {
		if src := l.at(rt.src); src.flags&flagSplices == 0 {
			l.linkOf(src).to = nil
			src.flags &^= flagPiped
			rt.src = none
			l.mark(src)
		}
	}
	if rt.src == none && rt.inside == 0 && rt.dst != none {
		dst := l.at(rt.dst)
		l.linkOf(dst).from = nil
		dst.flags &^= flagFed
		rt.dst = none
		l.mark(dst)
	}
	if rt.src == none && rt.dst == none {
		*rt = route{}
		l.routes = append(l.routes, rt)
	}
}

// cut ends the routes of a connection that is over, on which nothing is in flight.
func (l *Loop) cut(c *connection) {
	k := l.linkOf(c)
	if rt := k.to; rt != nil {
		rt.active = false
		l.release(rt)
	}
	if rt := k.from; rt != nil {
		if rt.pipe != nil {
			rt.pipe.Release()
		}
		rt.pipe, rt.inside, rt.active, rt.dst = nil, 0, false, none
		k.from = nil
		if rt.src != none {
			l.mark(l.at(rt.src)) // ends its SpliceIn
		}
		l.release(rt)
	}
	c.flags &^= flagPiped | flagFed
}

// listenToRoute is listenTo for the source of a route: it keeps a SpliceIn armed while the target has nothing to send.
func (l *Loop) listenToRoute(c *connection, wanted bool) {
	rt := l.linkOf(c).to
	if c.recv != 0 {
		if c.flags&flagCalled == 0 && (!wanted || rt.active != (c.flags&flagSplices != 0)) {
			l.call(c)
		}
		return
	}
	if !wanted || !rt.active || rt.inside > 0 {
		return
	}
	dst := l.at(rt.dst)
	if dst.state != conn.Open || l.busy(dst) || c.flags&flagRefeed != 0 {
		return // the target's pump comes back here
	}
	rt.pace(l.now)
	op := driver.Op{Code: driver.SpliceIn, FD: int(c.fd), User: uint64(c.index), Len: rt.most}
	if rt.copies > 0 {
		if l.scant() && l.takes(dst) == 0 {
			l.deafen(dst) // its pump comes back here too
			return
		}
		op.Code = driver.Recv
	}
	token, err := l.driver.Submit(op)
	if err != nil {
		l.refused(c, err)
		return
	}
	c.recv = token
	c.flags = c.flags&^flagCalled | flagSplices
}

// listenToSource has the next round begin when a connection has nothing to send.
func (l *Loop) listenToSource(c *connection) {
	if rt := l.linkOf(c).from; rt.active && rt.inside == 0 && c.state == conn.Open {
		if src := l.at(rt.src); src.state == conn.Open && src.recv == 0 {
			l.listenTo(src)
		}
	}
}

// pulled takes a completion of the receive of a route's source. It reports false if that is to be handled like any
// other.
func (l *Loop) pulled(c *connection, done *driver.Completion) bool {
	if c.recv == 0 {
		c.flags &^= flagSplices
	}
	rt := l.linkOf(c).to
	var dst *connection
	if rt.dst != none {
		dst = l.at(rt.dst)
		l.mark(dst) // for its FIN this may have been waited for
	}
	switch {
	case done.Pipe != nil:
		c.bytesIn += uint64(done.Result)
		l.meter.Add(meter.BytesIn, int64(done.Result))
		if dst == nil {
			done.Pipe.Release()
		} else {
			rt.pipe, rt.inside, rt.since = done.Pipe, done.Result, l.now
		}
	case errors.Is(done.Err, driver.ErrNoPipe):
		rt.copies = copyRounds
	default:
		return false
	}
	l.mark(c)
	return true
}

// forward queues a block that came for a route on its target. It reports false if it is the handler's.
func (l *Loop) forward(c *connection, a arrival) bool {
	rt := l.linkOf(c).to
	if !rt.active || !l.at(rt.dst).writable() {
		return false
	}
	rt.copies, rt.since = max(0, rt.copies-1), l.now
	l.at(rt.dst).Send(a.block, 0, a.n)
	return true
}

// forwardAll is forward for the input that waits.
func (l *Loop) forwardAll(c *connection, w *work) bool {
	rt := l.linkOf(c).to
	if !rt.active || !l.at(rt.dst).writable() {
		return false
	}
	dst := l.at(rt.dst)
	if b := w.restIn; b != nil {
		from := b.Size() - cap(w.rest)
		dst.Send(b, from, from+len(w.rest))
	} else {
		dst.Write(w.rest)
	}
	w.rest, w.restIn = nil, nil
	for len(w.waiting) > 0 {
		a := l.shift(w)
		dst.Send(a.block, 0, a.n)
	}
	return true
}

// push sends what has come for a connection through its route. It reports false if there is nothing to be sent before
// what is queued.
func (l *Loop) push(c *connection) bool {
	rt := l.linkOf(c).from
	if rt.pipe == nil {
		// A SpliceIn that is being cancelled may bring bytes yet.
		return !rt.active && rt.src != none && l.at(rt.src).flags&flagSplices != 0
	}
	token, err := l.driver.Submit(driver.Op{Code: driver.SpliceOut, FD: int(c.fd), User: uint64(c.index), Pipe: rt.pipe})
	if err != nil {
		l.refused(c, err)
		return true
	}
	c.send, rt.pipe = token, nil
	return true
}

// pushed takes a completion of a SpliceOut.
func (l *Loop) pushed(c *connection, done *driver.Completion) {
	rt := l.linkOf(c).from
	c.bytesOut += uint64(done.Result)
	l.meter.Add(meter.BytesOut, int64(done.Result))
	if rt.inside = max(1, rt.inside-done.Result); done.Flags&driver.More == 0 {
		c.send, rt.inside = 0, 0
	}
	l.mark(c)
	if done.Err != nil {
		l.end(c, done.Err)
	}
}
