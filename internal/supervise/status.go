package supervise

import (
	"time"

	"github.com/myriad-server/myriad/internal/proc"
)

// Condition is how the whole is.
type Condition string

// The conditions, the most urgent first.
const (
	ConditionStopped     Condition = "stopped"      // nothing runs
	ConditionStopping    Condition = "stopping"     // workers end, and none is started
	ConditionCrashLoop   Condition = "crash loop"   // workers die as fast as they are started
	ConditionRollingBack Condition = "rolling back" // a new generation has failed
	ConditionRolling     Condition = "rolling"      // a new generation takes over
	ConditionShort       Condition = "short"        // there are fewer workers ready than there are to be
	ConditionRunning     Condition = "running"
)

// Status is what can be said of everything at one moment.
type Status struct {
	Condition  Condition      `json:"condition"`
	Desired    int            `json:"desired"`
	Ready      int            `json:"ready"`
	Generation uint64         `json:"generation"`      // that is known to work
	Next       uint64         `json:"next_generation"` // that takes over; 0: none
	RetryIn    time.Duration  `json:"retry_in_ns"`     // until the next start; 0: none is waited for
	Failures   int            `json:"failures"`        // deaths before settling, since a worker has settled
	Workers    []WorkerStatus `json:"workers"`         // in the order of their start
}

// WorkerStatus is what can be said of one worker.
type WorkerStatus struct {
	ID         ID            `json:"id"`
	Slot       int           `json:"slot"`
	Seat       int           `json:"seat"` // whoever has it has its listening sockets
	PID        int           `json:"pid"`
	Generation uint64        `json:"generation"`
	Phase      string        `json:"phase"`
	Cause      string        `json:"cause,omitempty"` // why it goes
	Asked      bool          `json:"asked,omitempty"` // a loop of it stands still
	Age        time.Duration `json:"age_ns"`          // since its start
	Board      *proc.Report  `json:"board,omitempty"` // what it tells itself; nil: nothing
	Usage      *proc.Usage   `json:"usage,omitempty"` // nil: it has ended, or it cannot be found out
}

// Status is what the machine knows.
func (m *Machine) Status(now time.Duration) Status {
	s := Status{
		Desired: m.desired, Generation: m.good, Failures: m.failures, Workers: []WorkerStatus{},
		Ready: m.count(func(w *worker) bool { return w.phase == Serving }), Condition: m.condition(),
	}
	if m.rolling != nil {
		s.Next = m.rolling.to
	}
	if m.mode == running && m.count(m.isLive) < m.desired {
		s.RetryIn = max(0, m.retry-now)
	}
	for _, w := range m.workers {
		status := WorkerStatus{
			ID: w.id, Slot: w.slot, Seat: w.seat, Generation: w.generation, Phase: w.phase.String(), Asked: w.isAsked,
			Age: now - w.began,
		}
		if w.cause != None {
			status.Cause = w.cause.String()
		}
		s.Workers = append(s.Workers, status)
	}
	return s
}

func (m *Machine) condition() Condition {
	switch {
	case m.mode == stopped:
		return ConditionStopped
	case m.mode == stopping:
		return ConditionStopping
	case m.looping:
		return ConditionCrashLoop
	case m.rolling != nil && m.rolling.back:
		return ConditionRollingBack
	case m.rolling != nil:
		return ConditionRolling
	case m.count(func(w *worker) bool { return w.phase == Serving }) < m.desired:
		return ConditionShort
	}
	return ConditionRunning
}
