package loop

import (
	"context"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
)

// tracedMost is how many connections of a loop can be traced at a time.
const tracedMost = 256

// ring holds the last events of a connection. It is taken when the connection is still at work at the end of a turn, or
// something is noted of it, and given back when it goes idle, so that those at work use the same few again and again.
type ring struct {
	events [conn.EventsKept]conn.Event
	count  uint32 // of all events ever
	seen   flags  // of the connection, when it was last looked at
	state  conn.State
	traced bool
}

// recorder is the flight recorder of a loop. There is none unless something is to be recorded: whoever meets a nil one
// goes on.
type recorder struct {
	loop    *Loop
	keeps   conn.Recording
	rings   []*ring
	free    []uint32
	traced  int
	clients []netip.Prefix
	lent    [conn.EventsKept]conn.Event
}

// record gives the loop a recorder, if there is anything to record.
func (l *Loop) record(r conn.Recording) {
	l.recording = r
	if r.Connections > 0 {
		l.recorder = &recorder{loop: l, keeps: r}
	}
}

// ringOf is the ring of a connection; nil if it has none.
func (r *recorder) ringOf(index uint32) *ring {
	if place := r.loop.aside(index).ring; place != 0 {
		return r.rings[place-1]
	}
	return nil
}

// take gives a connection a ring; nil if there are enough.
func (r *recorder) take(c *connection, most int) *ring {
	n := len(r.free)
	if n == 0 {
		if len(r.rings) >= most {
			return nil
		}
		r.rings = append(r.rings, new(ring))
		r.free = append(r.free, uint32(len(r.rings)))
		n = 1
	}
	place := r.free[n-1]
	r.free = r.free[:n-1]
	r.loop.aside(c.index).ring = place
	c.flags |= flagNoted
	g := r.rings[place-1]
	g.count, g.seen, g.state, g.traced = 1, c.flags, min(c.state, conn.Open), false
	g.events[0] = conn.MakeEvent(r.loop.now, conn.Began, 0, c.bytesIn)
	return g
}

// drop takes the ring of a connection back.
func (r *recorder) drop(c *connection) {
	if c.flags&flagNoted == 0 {
		return
	}
	c.flags &^= flagNoted
	beside := r.loop.aside(c.index)
	if r.rings[beside.ring-1].traced {
		r.traced--
	}
	r.free = append(r.free, beside.ring)
	beside.ring = 0
}

// add records an event of a connection that is at work, or that fails.
func (r *recorder) add(c *connection, k conn.Kind, code int, number uint64) {
	g := r.ringOf(c.index)
	if g == nil {
		if g = r.take(c, r.keeps.Connections); g == nil {
			return
		}
	}
	e := conn.MakeEvent(r.loop.now, k, code, number)
	g.events[g.count%conn.EventsKept] = e
	g.count++
	if g.traced && r.keeps.Traced != nil {
		r.keeps.Traced(c.ID(), e)
	}
}

// saw records what a completion says about a connection.
func (r *recorder) saw(done *driver.Completion) {
	kind := conn.Got
	switch done.Code {
	case driver.Recv, driver.SpliceIn:
		if done.Result == 0 && done.Err == nil {
			kind = conn.PeerDone
		}
	case driver.Send, driver.SendFile, driver.SpliceOut:
		kind = conn.Gave
	case driver.Connect:
		kind = conn.Established
	case driver.Shutdown:
		kind = conn.LastSent
	default:
		return
	}
	c := r.loop.at(uint32(done.User))
	if done.Err == nil {
		if c.flags&flagNoted != 0 {
			r.add(c, kind, 0, uint64(done.Result))
		}
		return
	}
	if done.Err != driver.ErrNoBlock && done.Err != driver.ErrCanceled {
		r.add(c, kind, conn.CodeOf(done.Err), uint64(max(done.Result, 0)))
	}
}

// timed records that a timer of a connection has fired.
func (r *recorder) timed(c *connection) {
	if c.flags&flagNoted != 0 {
		r.add(c, conn.TimedOut, 0, 0)
	}
}

// look records at the end of a turn how a connection stands, if that has changed, and forgets those that are idle. It
// begins to record those that are still at work: one that was answered in the turn that brought its request is not
// worth it, and pays nothing.
func (r *recorder) look(c *connection) {
	if c.flags&flagNoted == 0 {
		if c.flags&flagIdle == 0 && c.state <= conn.Draining {
			r.take(c, r.keeps.Connections)
		}
		return
	}
	g := r.ringOf(c.index)
	if (c.flags^g.seen)&flagPaused != 0 {
		g.seen = c.flags
		kind := conn.ReadOn
		if c.flags&flagPaused != 0 {
			kind = conn.Halted
		}
		r.add(c, kind, 0, 0)
	}
	r.moveOn(c, g)
	if c.flags&flagIdle != 0 && c.state == conn.Open && !g.traced {
		r.drop(c)
	}
}

// moveOn records that a connection drains, or is being closed. That may happen when it has been looked at in its last
// turn already.
func (r *recorder) moveOn(c *connection, g *ring) {
	switch {
	case c.state < conn.Draining || c.state <= g.state || g.state >= conn.Closing:
	case c.state == conn.Draining:
		r.add(c, conn.Drains, 0, uint64(c.Queued()))
	default:
		r.add(c, conn.Ends, r.why(c), 0)
	}
	g.state = c.state
}

// why is the code of the reason that a connection is closed for.
func (r *recorder) why(c *connection) int {
	if w := r.loop.has(c); w != nil {
		return conn.CodeOf(w.why)
	}
	return 0
}

// recall appends the events of a ring in their order.
func (g *ring) recall(dst []conn.Event) []conn.Event {
	if g == nil {
		return dst
	}
	from := max(g.count, conn.EventsKept) - conn.EventsKept
	for i := from; i < g.count; i++ {
		dst = append(dst, g.events[i%conn.EventsKept])
	}
	return dst
}

// recordEnd tells of a connection that has ended for a reason, if that is wanted. Its record is that which parts.
func (l *Loop) recordEnd(c *connection) {
	if l.recording.Ended == nil || l.parting.Why == nil {
		return
	}
	var events []conn.Event
	if r := l.recorder; r != nil {
		if g := r.ringOf(c.index); g != nil {
			r.moveOn(c, g)
			events = g.recall(r.lent[:0])
		}
	}
	l.recording.Ended(&l.parting, events)
}

// Note records an event. An answer is worth it only if something is known of what was before.
func (c *connection) Note(k conn.Kind, code int, number uint64) {
	if k == conn.Answered && c.flags&flagNoted == 0 {
		return
	}
	if r := c.on().recorder; r != nil {
		r.add(c, k, code, number)
	}
}

// CountPrompt counts what took less than a turn.
func (c *connection) CountPrompt() bool {
	l := c.on()
	if l.recording.Prompt == nil {
		return false
	}
	l.prompt++
	return true
}

// CountRequest counts a request.
func (c *connection) CountRequest() { c.requests++ }

// Recall appends the last events.
func (c *connection) Recall(dst []conn.Event) []conn.Event {
	if r := c.on().recorder; r != nil {
		dst = r.ringOf(c.index).recall(dst)
	}
	return dst
}

// RecallAsked appends the last events of the connection to an upstream that was asked last.
func (c *connection) RecallAsked(dst []conn.Event) []conn.Event {
	l := c.on()
	if l.recorder == nil {
		return dst
	}
	events := l.recorder.ringOf(c.index).recall(l.recorder.lent[:0])
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].Kind() != conn.Asks {
			continue
		}
		if link := l.known(events[i].Number); link != nil {
			dst = l.recorder.ringOf(link.index).recall(dst)
		}
		break
	}
	return dst
}

// Events copies the last events of a connection.
func (l *Loop) Events(ctx context.Context, id uint64) (events []conn.Event, now time.Duration, known bool, err error) {
	err = l.ask(ctx, func() {
		c := l.known(id)
		if now = time.Duration(l.now); c == nil {
			return
		}
		known, events = true, c.Recall(nil)
	})
	if err != nil {
		return nil, 0, false, err
	}
	return events, now, known, nil
}

// Trace begins or ends the tracing of connections.
func (l *Loop) Trace(ctx context.Context, ids []uint64, on bool) (n int, err error) {
	err = l.ask(ctx, func() {
		for _, id := range ids {
			if c := l.known(id); c != nil && l.traces().trace(c, on) {
				n++
			}
		}
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// traces is the recorder, made if there was nothing to record before.
func (l *Loop) traces() *recorder {
	if l.recorder == nil {
		l.recorder = &recorder{loop: l, keeps: l.recording}
	}
	return l.recorder
}

// trace begins or ends the tracing of a connection, which then keeps its ring also while it is idle.
func (r *recorder) trace(c *connection, on bool) bool {
	g := r.ringOf(c.index)
	if g == nil && on && r.traced < tracedMost {
		g = r.take(c, r.keeps.Connections+tracedMost)
	}
	switch {
	case g == nil, on && !g.traced && r.traced >= tracedMost:
		return false
	case on && !g.traced:
		r.traced++
	case !on && g.traced:
		r.traced--
	}
	g.traced = on
	return true
}

// TraceClients has connections traced that come from some addresses.
func (l *Loop) TraceClients(ctx context.Context, from []netip.Prefix) error {
	return l.ask(ctx, func() {
		if len(from) > 0 || l.recorder != nil {
			l.traces().clients = from
		}
	})
}

// admitted begins to trace a connection that was just accepted, if it is one of those.
func (r *recorder) admitted(c *connection) {
	if len(r.clients) == 0 {
		return
	}
	client := c.Remote().Addr()
	for _, from := range r.clients {
		if from.Contains(client) {
			r.trace(c, true)
			return
		}
	}
}
