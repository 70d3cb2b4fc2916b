package upstream

import (
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// The agent is the handler of its connections. What happens to a leased one is its holder's; the rest is here.

// Opened is told of a connection that has been made, or has come from another thread: then taken has it next.
func (a *Agent) Opened(c conn.Conn) {
	if l := LinkOf(c); l.phase == dialling {
		a.dialled(l)
	}
}

// Received passes bytes on. To an idle link nobody has anything to say: what comes must not be taken for the answer to
// the next request.
func (a *Agent) Received(c conn.Conn, in []byte) int {
	l := LinkOf(c)
	switch l.phase {
	case leased:
		l.flags |= hasHeard
		return l.handler.Received(c, in)
	case idle:
		a.unshelve(l)
		a.learn(l) // an endpoint may say that it is about to end the link
		a.retire(l, Unasked)
		a.freed()
		a.lost(l.share)
	case borrowing, moving:
		l.flags |= endedFirst // not to be used
	}
	return len(in)
}

// Ended passes the endpoint's end on, or takes an idle link out of the pool.
func (a *Agent) Ended(c conn.Conn) {
	l := LinkOf(c)
	l.flags |= endedFirst
	switch l.phase {
	case leased:
		a.wasStale(l)
		l.handler.Ended(c)
	case idle:
		a.unshelve(l)
		a.learn(l)
		a.retire(l, StaleEnded)
		a.freed()
		a.lost(l.share)
	}
}

// Flushed passes on that everything was sent.
func (a *Agent) Flushed(c conn.Conn) {
	if l := LinkOf(c); l.phase == leased {
		l.handler.Flushed(c)
	}
}

// Expired passes the timer on, or gives up a connection that takes too long to be made.
func (a *Agent) Expired(c conn.Conn) {
	switch l := LinkOf(c); l.phase {
	case leased:
		l.handler.Expired(c)
	case dialling:
		c.Abort(ErrConnectTimeout)
	}
}

// Stopped passes on that the server winds down. Idle links go at once.
func (a *Agent) Stopped(c conn.Conn) {
	switch l := LinkOf(c); l.phase {
	case leased:
		l.handler.Stopped(c)
	case idle:
		a.unshelve(l)
		a.leave(l)
	case dialling:
		if l.want == nil {
			c.Abort(conn.ErrStopping)
		}
	}
}

// Closed ends a link.
func (a *Agent) Closed(c conn.Conn, why error) {
	l := LinkOf(c)
	was := l.phase
	l.phase = gone
	// Whoever closes first has the port linger; a reset leaves nothing behind.
	l.givePort(a.dialer.Now(), why == nil && l.flags&endedFirst == 0)
	switch was {
	case dialling:
		a.notDialled(l, why)
	case leased:
		if why == syscall.ECONNRESET || why == syscall.EPIPE {
			a.wasStale(l)
		}
		l.vacate()
		h := l.handler
		l.handler = nil
		h.Closed(c, why)
		a.freed()
		if why != conn.ErrMoved {
			a.lost(l.share)
		}
	case idle:
		a.unshelve(l)
		l.vacate()
		if why == syscall.ECONNRESET {
			a.learn(l)
			a.tally.add(StaleEnded)
		}
		a.freed()
		a.lost(l.share)
	}
}

// wasStale learns from a link that had been used before and ended without an answer: it may have been idle for just
// too long. A request that breaks its server looks the same, so what was hardly idle teaches nothing: nobody is to talk
// us out of keeping links.
func (a *Agent) wasStale(l *Link) {
	if l.Reused && l.flags&hasHeard == 0 {
		l.flags |= hasHeard // once
		a.tally.add(StaleUsed)
		if l.idleFor(milliseconds(a.dialer.Now())) >= leastStale {
			a.learn(l)
		}
	}
}

// learn takes the age of an idle link that the endpoint ended.
func (a *Agent) learn(l *Link) {
	now := a.dialer.Now()
	l.Endpoint.endedIdle(time.Duration(l.idleFor(milliseconds(now)))*time.Millisecond, now)
}

// lost has a connection that went be replaced, here or by another agent, if there are to be that many.
func (a *Agent) lost(s *share) {
	if s.endpoint.open.Load() < int64(a.group.options.Pool.Min) {
		now := a.dialer.Now()
		s.warmAt = max(s.warmAt, now+int64(firstWarmDelay))
		a.group.poke()
	}
}
