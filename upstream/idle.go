package upstream

import (
	"time"
)

// keep lays a link into the pool.
func (a *Agent) keep(l *Link) {
	s, now := l.share, a.dialer.Now()
	l.clearBusy()
	if !a.hasRoom(s) {
		if s.shelf.Len() == 0 {
			a.retire(l, RetiredSurplus)
			return
		}
		a.retireOldest(s, RetiredSurplus)
	}
	l.phase, l.since = idle, milliseconds(now)
	handle, out, full := s.shelf.Put(l)
	l.handle = handle
	if full {
		out.share.publish()
		a.retire(out, RetiredSurplus)
	}
	s.publish()
	l.Conn.SetIdle(true)
	a.arm(now + int64(l.Endpoint.idleLimit.Load())*int64(time.Millisecond))
}

// hasRoom reports that one more link to the endpoint may be idle. The links of other agents are counted only when this
// one has its part, because it means looking at what they write.
func (a *Agent) hasRoom(s *share) bool {
	most, agents := a.group.options.Pool.MaxIdle, int(a.group.running.Load())
	if agents <= 1 || (s.shelf.Len()+1)*agents <= most {
		return s.shelf.Len() < most
	}
	idle := 0
	for i := range a.group.top.Load() {
		if other := s.endpoint.shares[i].Load(); other != nil {
			idle += int(other.idle.Load())
		}
	}
	return idle < most
}

// publish tells other agents what is on the shelf.
func (s *share) publish() {
	s.idle.Store(int32(s.shelf.Len()))
	if l, _, ok := s.shelf.Oldest(); ok && l.since != s.coldest.Load() {
		s.coldest.Store(l.since)
	}
}

// takeIdle takes the link on top that is still good. Those that are not are closed.
func (a *Agent) takeIdle(s *share, look bool) *Link {
	now := milliseconds(a.dialer.Now())
	patience := uint32(a.group.options.Pool.LookAfter.Milliseconds())
	for {
		l, ok := s.shelf.Take()
		s.publish()
		if !ok {
			return nil
		}
		if counter, due := a.isDue(l, now); due {
			a.retire(l, counter)
			continue
		}
		if (look || l.idleFor(now) > patience) && !l.Conn.Alive() {
			a.learn(l)
			a.retire(l, StaleFound)
			continue
		}
		if idle := l.idleFor(now); idle > uint32(leastAge/time.Millisecond) {
			l.Endpoint.outlived(idle, a.dialer.Now())
		}
		l.Conn.SetIdle(false)
		return l
	}
}

// isDue reports that an idle link is to be closed, and why.
func (a *Agent) isDue(l *Link, now uint32) (Counter, bool) {
	o := &a.group.options.Pool
	if l.age(now) >= uint32(o.MaxAge.Milliseconds()) {
		return RetiredAge, true
	}
	limit := l.Endpoint.idleLimit.Load()
	if l.idleFor(now) < limit {
		return 0, false
	}
	if limit < uint32(o.IdleTimeout.Milliseconds()) {
		return RetiredLearned, true
	}
	return RetiredIdle, l.Endpoint.open.Load() > int64(o.Min)
}

// retire closes a link that is in the pool no more.
func (a *Agent) retire(l *Link, counter Counter) {
	a.tally.add(counter)
	a.leave(l)
}

// retireOldest closes the link at the bottom of the shelf.
func (a *Agent) retireOldest(s *share, counter Counter) {
	if l, handle, ok := s.shelf.Oldest(); ok {
		a.links.Remove(handle)
		s.publish()
		a.retire(l, counter)
	}
}

// leave closes a link when what is queued has been sent.
func (a *Agent) leave(l *Link) {
	l.phase = leaving
	l.vacate()
	l.Conn.SetTimer(0)
	l.Conn.Drain()
}

// unshelve takes a link that has ended by itself out of the pool.
func (a *Agent) unshelve(l *Link) {
	a.links.Remove(l.handle)
	l.share.publish()
}

// poke has the agent look at what has changed, soon and once. From any goroutine.
func (a *Agent) poke() {
	if !a.poked.Swap(true) && !a.dialer.Do(a.wake) {
		a.poked.Store(false) // its thread has ended
	}
}

// wake looks at everything.
func (a *Agent) wake() {
	a.poked.Store(false)
	now := a.dialer.Now()
	next := a.sweep(now)
	if next > 0 {
		a.arm(next)
	} else if a.stop != nil && a.group.closed.Load() {
		a.stop() // nothing will ever be due
		a.stop, a.armed = nil, 0
	}
}

// arm has tick called at a time, unless it is called before. Once armed, the usual release of a link only compares.
func (a *Agent) arm(at int64) {
	if a.armed != 0 && a.armed <= at {
		return
	}
	if a.stop != nil {
		a.stop()
	}
	a.armed = max(at, 1)
	a.stop = a.dialer.Every(time.Duration(at-a.dialer.Now()), a.tick)
}

// tick is called when something is due.
func (a *Agent) tick() {
	a.stop()
	a.stop, a.armed = nil, 0
	a.wake()
}

// sweep closes what is due, denies those who have waited too long, and makes what is missing. It returns when
// something is due next; 0: nothing is.
func (a *Agent) sweep(now int64) (next int64) {
	closed := a.group.closed.Load()
	if set := a.group.set.Load(); set != a.known && !closed {
		a.known = set
		for _, e := range set.endpoints {
			a.shareOf(e)
		}
	}
	for i := 0; i < len(a.shares); i++ { // a call may add one
		next = earliest(next, a.sweepShare(a.shares[i], now, closed))
	}
	kept := a.shares[:0]
	for _, s := range a.shares {
		if s.links == 0 && s.endpoint.status.Load()&statusGone != 0 {
			a.links.Forget(s.endpoint, nil)
			s.endpoint.shares[a.number].CompareAndSwap(s, nil)
			continue
		}
		kept = append(kept, s)
	}
	clear(a.shares[len(kept):])
	a.shares = kept
	next = earliest(next, a.sweepBorrows(now))
	next = earliest(next, a.sweepQueue(now))
	a.yieldIdle()
	a.freed()
	return next
}

// earliest is the earlier of two times, of which 0 is never.
func earliest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// sweepShare closes the idle links of an endpoint that are due, and makes those that are missing.
func (a *Agent) sweepShare(s *share, now int64, closed bool) (next int64) {
	e := s.endpoint
	if closed || e.status.Load()&(statusDown|statusGone) != 0 {
		for s.shelf.Len() > 0 {
			l, _ := s.shelf.Take()
			a.retire(l, RetiredUnwell)
		}
		s.publish()
		return 0
	}
	e.forget(now)
	for s.shelf.Len() > 0 {
		l, _, _ := s.shelf.Oldest()
		counter, due := a.isDue(l, milliseconds(now))
		if !due {
			left := int64(e.idleLimit.Load()) - int64(l.idleFor(milliseconds(now)))
			if left <= 0 { // one of the last few, which stay until they are too old
				left = a.group.options.Pool.MaxAge.Milliseconds() - int64(l.age(milliseconds(now)))
			}
			next = now + max(left, 1)*int64(time.Millisecond)
			break
		}
		a.retireOldest(s, counter)
		if e.open.Load() < int64(a.group.options.Pool.Min) {
			a.group.poke() // it may be the turn of another to make one
		}
	}
	a.warm(s, now)
	return next
}

// sweepQueue denies those who have waited too long.
func (a *Agent) sweepQueue(now int64) (next int64) {
	patience := int64(a.group.options.Queue.Timeout)
	for w := a.queue.first; w != nil; w = a.queue.first {
		if due := w.since + patience; now < due {
			return due
		}
		a.unqueue(w)
		a.deny(w, ErrQueueTimeout)
	}
	return 0
}

// yieldIdle closes idle links when others wait that cannot have them as they are.
func (a *Agent) yieldIdle() {
	g := a.group
	if !g.options.Pool.Alone {
		return
	}
	for others := g.waiting.Load() - int64(a.queue.length); others > 0 && a.links.Len() > 0; others-- {
		for _, s := range a.shares {
			if s.shelf.Len() > 0 {
				a.retireOldest(s, RetiredSurplus)
				break
			}
		}
	}
}
