package upstream

import (
	"slices"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// A link moves between threads like this. The borrower makes an empty link for its want and asks (ask). The lender
// takes the link that has been idle longest and has its connection moved (lend, send); place and port go along. The
// borrower gets the connection (taken, arrived) and grants it, or keeps it if the want is gone. If there is nothing to
// lend, or the answer takes too long, the want dials.

const (
	spareAfter     = 5                     // milliseconds that a link has been idle when its thread has no use for it
	borrowPatience = 50 * time.Millisecond // for the lender's answer
)

// lender is an agent that has an idle link to an endpoint that nobody has asked for; spare: one that has not been used
// for a moment, because links would be carried to and fro if threads took them from each other under load.
func (a *Agent) lender(e *Endpoint, spare bool) *Agent {
	g := a.group
	if g.running.Load() < 2 {
		return nil
	}
	now := milliseconds(a.pick.now)
	for i := range g.top.Load() {
		s := e.shares[i].Load()
		if s == nil || s.agent == a || s.idle.Load() <= s.asked.Load() {
			continue
		}
		if spare && int32(now-s.coldest.Load()) < spareAfter {
			continue
		}
		return s.agent
	}
	return nil
}

// ask asks an agent for a link.
func (a *Agent) ask(lender *Agent, e *Endpoint, w *Want) {
	now := a.dialer.Now()
	l := &Link{Endpoint: e, want: w, phase: borrowing, since: milliseconds(now)}
	s := e.shares[lender.number].Load()
	if s == nil || s.agent != lender {
		a.placeAtHome(w)
		return
	}
	s.asked.Add(1)
	w.link = l
	a.borrows = append(a.borrows, l)
	if !lender.dialer.Do(func() { lender.lend(s, l, a) }) {
		s.asked.Add(-1)
		a.arrived(l, nil)
		return
	}
	a.arm(now + int64(borrowPatience))
}

// lend gives another agent a link, or tells it that there is none.
func (a *Agent) lend(s *share, to *Link, borrower *Agent) {
	s.asked.Add(-1)
	now := milliseconds(a.dialer.Now())
	for {
		l, handle, ok := s.shelf.Oldest()
		if !ok {
			borrower.dialer.Do(func() { borrower.arrived(to, nil) })
			return
		}
		a.links.Remove(handle)
		s.publish()
		if counter, due := a.isDue(l, now); due {
			a.retire(l, counter)
		} else if !l.Conn.Alive() {
			a.learn(l)
			a.retire(l, StaleFound)
		} else {
			a.send(l, to, borrower)
			return
		}
	}
}

// luggage is what goes along with a connection to another thread.
type luggage struct {
	held   linkFlags // place and port
	born   uint32
	source uint8
}

// send moves a link's connection to another agent, where it becomes that of link to.
func (a *Agent) send(l, to *Link, borrower *Agent) {
	l.clearBusy()
	with := luggage{held: l.flags & (holdsPlace | holdsPort), born: l.born, source: l.source}
	l.flags &^= with.held
	l.share.links--
	l.phase = moving
	l.Conn.Move(borrower.dialer, borrower, to, func(c conn.Conn) { borrower.taken(l, to, a, c, with) })
}

// taken is told that a connection came, or did not.
func (a *Agent) taken(from, to *Link, lender *Agent, c conn.Conn, with luggage) {
	if c == nil {
		if !lender.dialer.Do(func() { lender.takeBack(from, with) }) {
			with.drop(to.Endpoint, a.dialer.Now())
			a.loose = true
		}
		a.arrived(to, nil)
		return
	}
	to.share = a.shareOf(to.Endpoint)
	to.share.links++
	to.flags |= with.held
	to.born, to.source, to.Reused = with.born, with.source, true
	a.arrived(to, c)
}

// takeBack is told that a connection could not be moved. If it is still there, it is kept.
func (a *Agent) takeBack(l *Link, with luggage) {
	if l.phase != moving || l.Conn.State() != conn.Open {
		with.drop(l.Endpoint, a.dialer.Now())
		a.loose = true
		a.freed()
		return
	}
	l.flags |= with.held
	l.share.links++
	if !a.mayKeep(l) {
		a.leave(l)
		a.freed()
		return
	}
	l.phase = idle
	a.keep(l)
}

// drop gives up place and port.
func (with luggage) drop(e *Endpoint, now int64) {
	if with.held&holdsPlace != 0 {
		e.open.Add(-1)
	}
	if with.held&holdsPort != 0 {
		e.gauges[with.source].give(now, false)
	}
}

// arrived answers the want of a link that was borrowed, if it still waits; c is nil if nothing came.
func (a *Agent) arrived(l *Link, c conn.Conn) {
	if i := slices.Index(a.borrows, l); i >= 0 {
		a.borrows = slices.Delete(a.borrows, i, i+1)
	}
	w := l.want
	l.want = nil
	if w != nil {
		w.link = nil
	}
	good := c != nil
	if good {
		l.Conn = c
		a.tally.add(Borrowed)
		if good = a.mayKeep(l); !good {
			a.leave(l)
		}
	}
	switch {
	case w != nil && good:
		l.Conn.SetIdle(false)
		a.grant(l, w)
	case w != nil:
		a.placeAtHome(w)
	case good:
		l.phase = idle
		a.offer(l)
	default:
		a.freed()
	}
}

// placeAtHome finds a want a link without asking others.
func (a *Agent) placeAtHome(w *Want) {
	if !a.place(w, nil, true) {
		a.enqueue(w)
	}
}

// sweepBorrows gives up waiting for answers that do not come. What comes later goes into the pool.
func (a *Agent) sweepBorrows(now int64) (next int64) {
	patience := uint32(borrowPatience.Milliseconds())
	for len(a.borrows) > 0 {
		l := a.borrows[0]
		if waited := l.idleFor(milliseconds(now)); waited < patience {
			return now + int64(patience-waited)*int64(time.Millisecond)
		}
		a.borrows = slices.Delete(a.borrows, 0, 1)
		if w := l.want; w != nil {
			l.want, w.link = nil, nil
			a.placeAtHome(w)
		}
	}
	return 0
}
