package supervise

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// lost accounts for a worker that is no longer there although it was to be. It is called once for each, at the moment
// of the decision: the replacement does not wait for a process that takes its time to die.
func (m *Machine) lost(now time.Duration, w *worker, why string) {
	if m.mode != running {
		return
	}
	r := m.rolling
	switch {
	case w.settled:
		return // it has worked: another is started at once, below the limit of starts
	case r != nil && w.generation == r.to && r.back:
		return // it was to go
	case r != nil && w.generation == r.to:
		m.rollBack(why)
		return
	}
	m.failures++
	m.early = append(recent(m.early, now-m.policy.LoopWithin), now)
	wait := m.wait()
	if len(m.early) >= m.policy.LoopDeaths && !m.looping {
		m.looping = true
		m.tell(CrashLoop, nil, func(e *Event) {
			e.Wait, e.Generation = m.policy.LoopRetry, w.generation
			e.Text = fmt.Sprintf("%d workers died within %s, the last one so: %s", len(m.early), m.policy.LoopWithin, why)
		})
	}
	if m.looping {
		wait = m.policy.LoopRetry
	}
	m.retry = now + wait
}

// recent leaves out what was before.
func recent(times []time.Duration, before time.Duration) []time.Duration {
	return slices.DeleteFunc(times, func(at time.Duration) bool { return at <= before })
}

// wait doubles with each failure. The jitter makes it shorter, never longer.
func (m *Machine) wait() time.Duration {
	const longestShift = 30
	wait := m.policy.BackOffMost
	if shift := min(m.failures-1, longestShift); m.policy.BackOffFirst <= wait>>shift {
		wait = m.policy.BackOffFirst << shift
	}
	return wait - time.Duration(m.random.Float64()*m.policy.Jitter*float64(wait))
}

// rollBack has the old generation come back. Workers of it that still serve are left alone.
func (m *Machine) rollBack(why string) {
	m.rolling.back = true
	m.tell(RollFailed, nil, func(e *Event) { e.Generation, e.Text = m.rolling.to, why })
}

// target is the generation of which workers are started.
func (m *Machine) target() uint64 {
	if m.rolling != nil && !m.rolling.back {
		return m.rolling.to
	}
	return m.good
}

// reconcile brings what there is closer to what there is to be.
func (m *Machine) reconcile(now time.Duration) {
	if m.mode != running {
		if m.mode == stopping && len(m.workers) == 0 {
			m.mode = stopped
			m.tell(AllStopped, nil, nil)
		}
		return
	}
	m.settle(now)
	if m.rolling != nil {
		m.advance(now)
		return
	}
	for m.count(m.seated) < m.desired && m.count(m.isLive) < m.desired+m.policy.Surge && m.start(now) {
	}
	spare := min(m.desired-m.count(m.inPlace), m.desired+m.policy.Surge-m.count(m.seated))
	m.shrink(now, spare, m.displaced, ScaledDown)
	m.shrink(now, m.desired, m.seated, ScaledDown)
}

// settle finds the workers that have been ready for long enough.
func (m *Machine) settle(now time.Duration) {
	for _, w := range m.workers {
		if w.settled || w.phase != Serving || now-w.ready < m.policy.SettleAfter {
			continue
		}
		w.settled = true
		m.tell(WorkerSettled, w, nil)
		m.forgive()
	}
	// It is over as well when fewer are wanted, and those that work are enough.
	if m.looping && m.count(func(w *worker) bool { return w.live() && w.settled }) >= m.desired {
		m.forgive()
	}
}

// advance replaces workers: some of the target are started beside those that there are, and for each that has settled
// one of the others goes. The first of a new generation comes alone, so that a bad one costs one start. On the way back
// there is nothing to be proven, and what is missing comes at once.
func (m *Machine) advance(now time.Duration) {
	target, cause, together := m.target(), Replaced, m.policy.Surge
	fresh := func(w *worker) bool { return w.live() && w.generation == target }
	proven := func(w *worker) bool { return fresh(w) && w.settled }
	stale := func(w *worker) bool { return w.live() && w.generation != target }
	if m.rolling.back {
		cause, together = RolledBack, m.desired
	} else if m.count(proven) == 0 {
		together = 1
	}
	m.shrink(now, m.desired, fresh, ScaledDown)
	m.shrink(now, m.desired-m.count(proven), stale, cause)
	// Fewer may be wanted than when those that have not settled were started.
	m.shrink(now, m.desired+m.policy.Surge-m.count(fresh), stale, cause)
	if m.count(proven) == m.desired {
		m.finish()
		m.reconcile(now)
		return
	}
	for m.count(fresh)-m.count(proven) < together && m.count(fresh) < m.desired &&
		m.count(m.isLive) < m.desired+m.policy.Surge && m.start(now) {
	}
}

func (m *Machine) finish() {
	r := m.rolling
	m.rolling = nil
	if r.back {
		m.tell(RollUndone, nil, func(e *Event) { e.Generation = r.from })
		return
	}
	m.good = r.to
	m.tell(RollDone, nil, func(e *Event) { e.Generation = r.to })
}

func (m *Machine) isLive(w *worker) bool { return w.live() }

func (m *Machine) count(is func(*worker) bool) (n int) {
	for _, w := range m.workers {
		if is(w) {
			n++
		}
	}
	return n
}

// shrink retires workers until so many are left of those that are meant.
func (m *Machine) shrink(now time.Duration, left int, is func(*worker) bool, cause Cause) {
	for m.count(is) > max(left, 0) {
		var meant []*worker
		for _, w := range m.workers {
			if is(w) {
				meant = append(meant, w)
			}
		}
		m.retire(now, slices.MaxFunc(meant, m.rather), cause)
	}
}

// rather orders workers by who is to go: the greatest first. One that is not ready is missed least.
func (m *Machine) rather(a, b *worker) int {
	byPhase := cmp.Compare(b.phase, a.phase)
	byLoad := 0
	switch m.policy.Retire {
	case FewestConnections:
		byLoad = cmp.Compare(b.open, a.open)
	case LastSeat:
		byPhase = cmp.Or(cmp.Compare(m.priority(a), m.priority(b)), cmp.Compare(a.seat, b.seat), byPhase)
	}
	return cmp.Or(byPhase, byLoad, cmp.Compare(a.id, b.id))
}

// start starts a worker of the target, if one may be started now.
func (m *Machine) start(now time.Duration) bool {
	slot := m.freeSlot()
	if slot < 0 || now < m.retry {
		return false
	}
	if m.looping && m.count(func(w *worker) bool { return w.live() && !w.settled }) > 0 {
		return false // one at a time
	}
	m.starts = recent(m.starts, now-m.policy.StartsWithin)
	if len(m.starts) >= m.policy.StartsMost {
		if !m.held {
			m.held = true
			m.tell(StartsHeld, nil, func(e *Event) { e.Wait = m.starts[0] + m.policy.StartsWithin - now })
		}
		return false
	}
	m.held = false
	m.starts = append(m.starts, now)
	m.last++
	w := &worker{
		id: m.last, slot: slot, seat: m.freeSeat(), generation: m.target(), began: now,
		deadline: now + m.policy.ReadyWithin,
	}
	m.workers = append(m.workers, w)
	m.do(DoStart, w)
	return true
}

// freeSlot is the lowest slot that no process has, or -1.
func (m *Machine) freeSlot() int {
	taken := make([]bool, m.policy.Slots)
	for _, w := range m.workers {
		taken[w.slot] = true
	}
	return slices.Index(taken, false)
}

// Next is when Tick has something to do; none: nothing is due until something happens.
func (m *Machine) Next(now time.Duration) (at time.Duration, due bool) {
	consider := func(t time.Duration) {
		if !due || t < at {
			at, due = t, true
		}
	}
	for _, w := range m.workers {
		if w.deadline != 0 {
			consider(w.deadline)
		}
		if w.phase == Serving && !w.settled {
			consider(w.ready + m.policy.SettleAfter)
		}
	}
	if m.mode == running && (m.rolling != nil || m.count(m.seated) < m.desired) {
		if m.retry > now {
			consider(m.retry)
		}
		if m.held && m.starts[0]+m.policy.StartsWithin > now {
			consider(m.starts[0] + m.policy.StartsWithin)
		}
	}
	return at, due
}
