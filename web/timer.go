package web

import (
	"math"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
)

// never is a time that does not come.
const never = math.MaxInt64

// after is d behind t, or never. t is negative for what began in another process before this one did.
func after(t int64, d time.Duration) int64 {
	if d == Unlimited || int64(d) > math.MaxInt64-max(t, 0) {
		return math.MaxInt64
	}
	return t + int64(d)
}

// arm sets the connection's one timer to the first of the deadlines that hold now.
func (x *Exchange) arm() {
	deadline := min(x.inputDeadline(), x.requestDeadline(), x.outputDeadline())
	if x.reading == leaving && x.until > 0 {
		deadline = min(deadline, x.until)
	}
	if deadline == math.MaxInt64 {
		x.c.SetTimer(0)
		return
	}
	x.c.SetTimer(max(1, deadline-x.c.Now()))
}

// inputDeadline is when the client must have sent more.
func (x *Exchange) inputDeadline() int64 {
	switch {
	case x.reading == inHead && !x.held:
		return after(x.began, x.rules.timeouts.Head)
	case x.reading == inBody && !x.bodyHeld:
		return after(x.heard, x.rules.timeouts.Body)
	}
	return math.MaxInt64
}

// requestDeadline is when the answer must be complete.
func (x *Exchange) requestDeadline() int64 {
	if x.reading == waiting || x.reading == leaving || x.held || x.answering == ending {
		return math.MaxInt64
	}
	if x.onExpired != nil {
		return x.deadline
	}
	return after(x.began, x.rules.timeouts.Request)
}

// Expired acts on the deadline that has come.
func (h *handler) Expired(c conn.Conn) {
	x, taken := exchangeOf(c)
	switch {
	case taken != nil:
		taken.Expired(c)
		return
	case x == nil:
		h.expiredIdle(c)
		return
	}
	now := c.Now()
	switch {
	case x.outputDeadline() <= now:
		why := x.stalled()
		if why == nil {
			x.arm()
			return
		}
		h.count(meter.TimeoutsWrite)
		h.abandon(x, why)
		c.Abort(why)
	case x.reading == leaving:
		if x.until > 0 && x.until <= now {
			x.until = 0
		}
		if x.until == 0 && c.Queued() <= smallBytes {
			h.drain(x)
			return
		}
		x.arm()
	case x.inputDeadline() <= now:
		if x.reading == inHead {
			h.count(meter.TimeoutsHead)
		} else {
			h.count(meter.TimeoutsBody)
		}
		h.tooSlow(x)
	case x.requestDeadline() <= now && x.onExpired != nil:
		x.expired()
	case x.requestDeadline() <= now:
		h.count(meter.TimeoutsRequest)
		h.tooSlow(x)
	default:
		x.arm()
	}
}

// expiredIdle closes a connection that has been idle for long enough, without a word.
func (h *handler) expiredIdle(c conn.Conn) {
	switch {
	case c.Queued() > 0 && c.State() > conn.Open:
		// The same, with nothing behind it.
		x := h.take(c)
		x.reading, x.answering, x.fate = leaving, answered, last
		x.stir()
		x.look()
		h.attach(x)
		x.arm()
	case c.State() > conn.Open:
		h.count(meter.TimeoutsWrite)
		c.Abort(conn.ErrTimeout)
	case c.Queued() > 0:
		// Its last answer, a small one, has not left in all this time: from now on it is watched.
		x := h.take(c)
		x.stir()
		h.attach(x)
		x.arm()
	default:
		h.count(meter.TimeoutsIdle)
		h.drainIdle(c)
	}
}

// tooSlow ends a request that took too long: with 408 while the client is sending it (RFC 9110 section 15.5.9), and
// otherwise without an answer.
func (h *handler) tooSlow(x *Exchange) {
	switch {
	case x.answering == streaming || x.answering == ending:
		h.abandon(x, conn.ErrTimeout)
		x.c.Abort(conn.ErrTimeout)
		return
	case x.answering == unanswered && x.reading <= inBody:
		closed := x.onClosed
		if x.noted {
			x.cause = clientTimeout
		}
		x.onClosed, x.malformed = nil, x.reading == inHead
		x.driven = true
		x.refuse(408, "the request took too long")
		x.driven = false
		if closed != nil {
			x.lost = true
			closed(conn.ErrTimeout)
		}
	default:
		h.abandon(x, conn.ErrTimeout)
	}
	h.settle(x)
}
