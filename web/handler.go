package web

import (
	"syscall"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/proto/http1"
)

const (
	// reserveBytes is the most that is asked of Conn.Reserve: the smallest block that can be configured.
	reserveBytes = 4 << 10
	// smallBytes is how much output may be left to the connection alone. What is more is watched until it has gone:
	// its client may be slow, and is cut off only when it takes nothing at all.
	smallBytes = 16 << 10
	// freeExchanges is how many exchanges are kept for reuse.
	freeExchanges = 1024
	// keptBytes is the largest buffer that an exchange keeps from one use to the next.
	keptBytes = 64 << 10
)

// handler is what one thread of control has for its connections. What is attached to a connection says what it does:
// nothing or a tally, it is between requests; an exchange, something has begun or is still going out.
type handler struct {
	*rules  // those of the next request
	set     *meter.Set
	owned   bool   // set belongs to this thread
	second  int64  // the Unix second of stamp
	stamp   []byte // the Server and Date lines
	scratch []byte // heads that do not go straight into the connection's buffer
	text    []byte // the content of a refusal
	free    *Exchange
	spare   int // exchanges in free
	due     float64
	record  Record
	remotes *remotes
}

// tally is what an idle connection holds when its requests are counted.
type tally struct{ requests int }

// count adds one to a counter.
func (h *handler) count(c meter.Counter) {
	if h.owned {
		h.set.Add(c, 1)
	} else {
		h.set.AddShared(c, 1)
	}
}

// Started tells the server of a thread that can dial.
func (h *handler) Started(d conn.Dialer) {
	if f := h.server.Started; f != nil {
		f(d)
	}
}

// Opened begins the wait for the first request.
func (h *handler) Opened(c conn.Conn) {
	c.SetIdle(true)
	c.SetTimer(int64(h.timeouts.Idle))
}

// Received takes requests, or pieces of them.
func (h *handler) Received(c conn.Conn, in []byte) int {
	attached := c.Attached()
	x, _ := attached.(*Exchange)
	if x == nil {
		if t, taken := attached.(conn.Handler); taken {
			return t.Received(c, in)
		}
		x = h.take(c)
	} else if len(x.pending) > 0 || x.blocked() {
		x.pending = append(x.pending, in...)
		h.proceed(x)
		return len(in)
	}
	x.heard = c.Now()
	used := x.run(in)
	if used == len(in) && x.reading == waiting && x.fate == keep {
		h.rest(x)
		return used
	}
	switch {
	case used == len(in):
	case x.blocked():
		x.pending = append(x.pending, in[used:]...)
		used = len(in)
	case x.fate == last && x.answering == answered:
		used = len(in) // nobody will look at the rest, and a full block must not stay full
		x.unread = x.unread || x.reading == inBody
	}
	h.settle(x)
	return used
}

// proceed goes on with an exchange outside of Received: with what is pending, if it can be dealt with now.
func (h *handler) proceed(x *Exchange) {
	if !x.blocked() {
		x.heard = x.c.Now()
		used := x.run(x.pending)
		x.keepHead()
		x.pending = x.pending[:copy(x.pending, x.pending[used:])]
	}
	h.settle(x)
}

// settle decides how the connection waits.
func (h *handler) settle(x *Exchange) {
	c := x.c
	if c == nil || c.State() > conn.Open {
		return // it ended while the handler ran; Closed tidies up
	}
	switch {
	case x.fate == last && x.answering == answered && x.reading != leaving:
		if h.leave(x) {
			return
		}
	case x.reading == leaving && x.until == 0 && c.Queued() <= smallBytes:
		h.drain(x)
		return
	case x.reading == waiting && len(x.pending) == 0 && !x.held:
		h.rest(x)
		return
	case x.forsaken():
		h.forsake(x)
		return
	case x.ended && !x.blocked() && x.reading < complete:
		h.abandon(x, nil) // the rest of it will never come
		if h.leave(x) {
			return
		}
	}
	x.keepHead()
	h.attach(x)
	x.regulate()
	x.arm()
}

// rest is the end of an exchange whose connection stays open, with nothing left to read.
func (h *handler) rest(x *Exchange) {
	c := x.c
	if c.State() > conn.Open {
		return
	}
	queued := c.Queued()
	switch {
	case x.ended || c.Stopping():
		x.fate = last
		if !h.leave(x) {
			h.attach(x)
			x.arm()
		}
		return
	case queued > smallBytes:
		h.attach(x)
		x.regulate()
		x.stir()
		x.arm()
		return
	}
	x.regulate()
	h.detach(x)
	c.SetIdle(true)
	c.SetTimer(int64(h.timeouts.Idle))
}

// leave begins the end of a connection whose last answer is queued. It reports whether the exchange is done with.
//
// While the client may still be sending, the connection stays, for a while, so that what comes is not answered with a
// reset, which would destroy an answer that is not read yet (RFC 9112 section 9.6). The client is told at once that
// there will be no more.
func (h *handler) leave(x *Exchange) bool {
	c := x.c
	x.until = 0
	unread := x.unread || x.reading == inBody || len(x.pending) > 0
	if unread && !x.ended && x.breaks == nil && x.rules.timeouts.Linger > 0 {
		x.until = after(c.Now(), x.rules.timeouts.Linger)
		x.skipping = x.reading == inBody && !x.unread && len(x.pending) == 0
		x.shut = true
		c.CloseWrite()
	}
	x.reading, x.pending = leaving, x.pending[:0]
	if x.until == 0 && c.Queued() <= smallBytes {
		h.drain(x)
		return true
	}
	x.stir()
	return false
}

// drain closes the connection behind what is queued, which is little.
func (h *handler) drain(x *Exchange) {
	c := x.c
	if x.breaks != nil {
		h.breakAway(x)
		return
	}
	h.detach(x)
	h.drainIdle(c)
}

// drainIdle closes a connection that nothing is attached to.
func (h *handler) drainIdle(c conn.Conn) {
	c.SetTimer(int64(h.timeouts.Write))
	c.Drain()
}

// abandon tells whoever answers that it is of no use any more.
func (h *handler) abandon(x *Exchange, why error) {
	begun := x.answering != answered && (x.reading == inBody || x.reading == complete)
	cut := x.answering == streaming || x.answering == ending
	x.answering, x.fate = answered, last
	x.dropWaits()
	if !begun {
		return
	}
	if (x.noted || cut) && x.cause == "" {
		switch why {
		case conn.ErrTimeout:
			x.cause = clientTimeout
		case conn.ErrStopping:
			x.cause = stopping
		case syscall.ENOBUFS:
			x.cause = noMemory
		case conn.ErrStalled:
			x.cause = clientStalled
		default:
			x.cause = clientGone
		}
	}
	if x.noted && !cut {
		x.status = statusGone
	}
	if cut || x.noted {
		x.short()
		x.account()
	}
	x.lost = true
	if f := x.onClosed; f != nil {
		x.onClosed = nil
		f(why)
	}
}

// Ended acts on the peer's last byte: what was received whole is still answered.
func (h *handler) Ended(c conn.Conn) {
	x, taken := exchangeOf(c)
	switch {
	case taken != nil:
		taken.Ended(c)
		return
	case x == nil:
		h.drainIdle(c)
		return
	}
	x.ended = true
	if x.reading == leaving {
		x.until = 0
		if c.Queued() <= smallBytes {
			h.drain(x)
		}
		return
	}
	h.proceed(x)
}

// Flushed goes on with what waited for the output to leave.
func (h *handler) Flushed(c conn.Conn) {
	x, taken := exchangeOf(c)
	switch {
	case taken != nil:
		taken.Flushed(c)
	case x == nil:
		c.SetIdle(true)
	case x.reading == leaving:
		if x.until == 0 {
			h.drain(x)
		}
	case len(x.waits) > 0:
		x.pump()
		if len(x.waits) == 0 && x.answering == ending {
			x.finish()
		} else {
			h.settle(x)
		}
	case x.held:
		x.held = false
		h.proceed(x)
	case x.onFlushed != nil && x.answering == streaming:
		x.flushed()
		if x.answering == streaming {
			x.arm()
		}
	default:
		h.settle(x)
	}
}

// Stopped lets idle connections go. Busy ones answer first, and say that they close.
func (h *handler) Stopped(c conn.Conn) {
	switch x, taken := exchangeOf(c); {
	case taken != nil:
		taken.Stopped(c)
	case x == nil:
		h.drainIdle(c)
	case x.reading == waiting:
		h.settle(x)
	}
}

// Closed forgets the connection.
func (h *handler) Closed(c conn.Conn, why error) {
	x, taken := exchangeOf(c)
	if taken != nil {
		taken.Closed(c, why)
		return
	}
	if x == nil {
		c.Attach(nil) // its tally, if its requests are counted
		return
	}
	if why == nil && (x.answering == streaming || x.answering == ending) {
		why = conn.ErrAborted
	}
	h.abandon(x, why)
	h.detach(x)
}

// take begins to use an exchange for a connection that had none.
func (h *handler) take(c conn.Conn) *Exchange {
	x := h.free
	if x == nil {
		x = &Exchange{handler: h}
	} else {
		h.free = x.next
		h.spare--
	}
	x.c, x.rules = c, h.current()
	if x.rules.limits.Requests < uncounted {
		if t, _ := c.Attached().(*tally); t != nil {
			x.tally = t
		} else {
			x.tally = new(tally)
		}
	}
	c.SetIdle(false)
	return x
}

// attach keeps the exchange with its connection.
func (h *handler) attach(x *Exchange) {
	if !x.attached {
		x.attached = true
		x.c.Attach(x)
	}
}

// detach ends the use of an exchange. One that a handler was still answering is not used again: a handler that did
// not listen may hold it.
func (h *handler) detach(x *Exchange) {
	switch {
	case x.tally != nil && x.fate == keep:
		x.c.Attach(x.tally)
	case x.attached:
		x.c.Attach(nil)
	}
	if x.lost || x.driven || h.spare >= freeExchanges {
		*x = Exchange{handler: h, rules: x.rules, answering: answered, fate: last, reading: leaving, lost: true}
		return
	}
	x.renew()
	x.next, h.free = h.free, x
	h.spare++
}

// stamped returns the Server and Date lines of this second.
func (h *handler) stamped(c conn.Conn) []byte {
	if now := c.Wall(); now != h.second {
		h.second = now
		b := append(h.stamp[:0], h.name...)
		b = append(b, "Date: "...)
		b = http1.FormatTime(b, now)
		h.stamp = append(b, "\r\n"...)
	}
	return h.stamp
}
