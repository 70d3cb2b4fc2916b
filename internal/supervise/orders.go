package supervise

import (
	"fmt"
	"time"
)

// Scale changes how many workers there are to be. It is an error outside of 1 to MostWorkers.
func (m *Machine) Scale(now time.Duration, workers int) error {
	switch {
	case m.mode != running:
		return ErrStopping
	case workers < 1 || workers > m.policy.MostWorkers:
		return fmt.Errorf("%d workers are not between 1 and %d", workers, m.policy.MostWorkers)
	case workers == m.desired:
		return nil
	}
	m.desired = workers
	m.tell(Scaled, nil, func(e *Event) { e.Workers = workers })
	m.reconcile(now)
	return nil
}

// Desired is how many workers there are to be.
func (m *Machine) Desired() int { return m.desired }

// Roll has a new generation take over, a few workers at a time. The first worker of it that dies before it has settled
// brings the old one back. ErrRolling while another is under way; what has brought a server into a crash loop can be
// replaced all the same.
func (m *Machine) Roll(now time.Duration) (generation uint64, err error) {
	if m.mode != running {
		return 0, ErrStopping
	}
	if r := m.rolling; r != nil && !(r.back && m.looping) {
		return 0, ErrRolling
	}
	m.newest++
	m.rolling = &roll{from: m.good, to: m.newest}
	m.tell(RollBegan, nil, func(e *Event) { e.Generation = m.newest })
	m.forgive()
	m.reconcile(now)
	return m.newest, nil
}

// Retry ends the waiting of a crash loop and of the back-off: whoever asks has mended something.
func (m *Machine) Retry(now time.Duration) {
	m.forgive()
	m.reconcile(now)
}

// forgive forgets the deaths.
func (m *Machine) forgive() {
	if m.looping {
		m.looping = false
		m.tell(CrashLoopOver, nil, nil)
	}
	m.failures, m.early, m.retry = 0, nil, 0
}

// Drain ends everything in good order: every worker drains, gets SIGTERM after DrainFor and SIGKILL after TerminateFor.
func (m *Machine) Drain(now time.Duration) {
	if !m.stop() {
		return
	}
	for _, w := range m.workers {
		if w.live() {
			m.retire(now, w, Stopped)
		}
	}
	m.reconcile(now)
}

// Stop ends everything soon: every worker gets SIGTERM, and SIGKILL after TerminateFor, or when Stop is called again.
func (m *Machine) Stop(now time.Duration) {
	m.stop()
	for _, w := range m.workers {
		switch {
		case w.live():
			m.terminate(now, w, Stopped)
		case w.phase == Draining:
			m.terminate(now, w, w.cause)
		case w.phase == Terminating:
			m.kill(w, w.cause)
		}
	}
	m.reconcile(now)
}

// stop tells whether it is the first time.
func (m *Machine) stop() bool {
	if m.mode != running {
		return false
	}
	m.mode = stopping
	m.tell(StopBegan, nil, nil)
	if m.rolling != nil && !m.rolling.back {
		m.tell(RollFailed, nil, func(e *Event) { e.Generation, e.Text = m.rolling.to, ErrStopping.Error() })
	}
	m.rolling = nil
	return true
}
