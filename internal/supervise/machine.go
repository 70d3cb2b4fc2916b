package supervise

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Do is what is to be done.
type Do uint8

// What is to be done with a worker.
const (
	DoStart     Do = iota // start it, in its slot and of its generation
	DoAsk                 // have its loops beat
	DoDrain               // have it end when nobody is left
	DoTerminate           // SIGTERM
	DoKill                // SIGKILL
)

// String is the deed's name.
func (d Do) String() string { return name(int(d), "start", "ask", "drain", "terminate", "kill") }

// Action is one thing to be done.
type Action struct {
	Do         Do
	Worker     ID
	Slot       int
	Seat       int
	Generation uint64
	Heir       ID // of DoDrain: who may take over what the worker has; 0: nobody
}

// Vital is what can be seen of a worker from outside.
type Vital struct {
	Worker ID
	Age    time.Duration // of the oldest beat of its loops
	Open   uint64        // connections
}

// Errors of commands.
var (
	// ErrRolling means that a new generation is taking over, or is being rolled back: one at a time.
	ErrRolling = errors.New("another reload or upgrade is under way")
	// ErrStopping means that everything ends.
	ErrStopping = errors.New("the server is stopping")
)

// worker is a process as the machine sees it.
type worker struct {
	id         ID
	slot       int
	seat       int
	generation uint64
	phase      Phase
	cause      Cause
	began      time.Duration
	ready      time.Duration // when it was, in the phases after Starting
	settled    bool
	deadline   time.Duration // of the phase; 0: none
	isAsked    bool
	asked      time.Duration
	open       uint64
}

// live tells whether the worker counts as one of those that there are to be.
func (w *worker) live() bool { return w.phase <= Serving }

// roll is a new generation that takes over.
type roll struct {
	from, to uint64
	back     bool // it has failed, and from takes over again
}

// mode is how far the whole has come. It only moves forward.
type mode uint8

const (
	running mode = iota
	stopping
	stopped
)

// Machine decides. Times are those since its begin, and never go back. After each call Take has what is to be done, in
// order; a call that changes nothing costs little. It is not safe for use by several goroutines.
type Machine struct {
	policy  Policy
	random  *rand.Rand
	mode    mode
	desired int
	workers []*worker // in the order of their start
	last    ID

	good    uint64 // the generation that is known to work
	newest  uint64 // the last number given
	rolling *roll

	failures int             // deaths of workers that had not settled, since one has
	early    []time.Duration // when they were, those within LoopWithin
	retry    time.Duration   // no start before
	looping  bool
	starts   []time.Duration // those within StartsWithin
	held     bool            // StartsHeld was told

	observed time.Duration // when vitals were seen last; 0: never
	trusted  time.Duration // from when on they are believed

	actions []Action
	events  []Event
}

// NewMachine makes a machine that begins at time 0 with generation 1. The seed is for the jitter.
func NewMachine(p Policy, seed uint64) (*Machine, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("supervise: %w", err)
	}
	m := &Machine{policy: p, desired: p.Workers, good: 1, newest: 1, random: rand.New(rand.NewPCG(seed, 0))}
	m.reconcile(0)
	return m, nil
}

// Take returns what is to be done and what is to be told since the last call.
func (m *Machine) Take() ([]Action, []Event) {
	actions, events := m.actions, m.events
	m.actions, m.events = nil, nil
	return actions, events
}

// Ended tells that there is no worker left and none will be started.
func (m *Machine) Ended() bool { return m.mode == stopped }

func (m *Machine) find(id ID) *worker {
	for _, w := range m.workers {
		if w.id == id {
			return w
		}
	}
	return nil
}

func (m *Machine) do(d Do, w *worker) {
	m.actions = append(m.actions, Action{Do: d, Worker: w.id, Slot: w.slot, Seat: w.seat, Generation: w.generation})
}

func (m *Machine) tell(kind Kind, w *worker, change func(*Event)) {
	e := Event{Kind: kind}
	if w != nil {
		e.Worker, e.Slot, e.Seat, e.Generation, e.Cause = w.id, w.slot, w.seat, w.generation, w.cause
	}
	if change != nil {
		change(&e)
	}
	m.events = append(m.events, e)
}

// Ready tells that a worker has said that it is ready.
func (m *Machine) Ready(now time.Duration, id ID) {
	if w := m.find(id); w != nil && w.phase == Starting {
		w.phase, w.ready, w.deadline = Serving, now, 0
		m.tell(WorkerReady, w, nil)
	}
	m.reconcile(now)
}

// Refused tells that a worker has said why it cannot be ready. It is taken at its word, and ended.
func (m *Machine) Refused(now time.Duration, id ID, why string) {
	if w := m.find(id); w != nil && w.phase == Starting {
		m.terminate(now, w, NotReady)
		m.events[len(m.events)-1].Text = why
		m.lost(now, w, why)
	}
	m.reconcile(now)
}

// NotStarted tells that a DoStart has failed: there is no process.
func (m *Machine) NotStarted(now time.Duration, id ID, why string) {
	if w := m.find(id); w != nil {
		was := w.live()
		m.remove(w)
		w.cause = NotStarted
		m.tell(WorkerDied, w, func(e *Event) { e.Text = why })
		if was {
			m.lost(now, w, why)
		}
	}
	m.reconcile(now)
}

// Died tells that the process of a worker has ended, how, and with how many connections.
func (m *Machine) Died(now time.Duration, id ID, how string, open uint64) {
	if w := m.find(id); w != nil {
		was := w.live()
		m.remove(w)
		if was {
			w.cause = Crashed
		}
		m.tell(WorkerDied, w, func(e *Event) { e.Text, e.Open = how, open })
		if was {
			m.lost(now, w, how)
		}
	}
	m.reconcile(now)
}

func (m *Machine) remove(w *worker) {
	m.workers = slices.DeleteFunc(m.workers, func(other *worker) bool { return other == w })
}

// Tick does what is due. See Next.
func (m *Machine) Tick(now time.Duration) {
	for _, w := range m.workers {
		if w.deadline == 0 || now < w.deadline {
			continue
		}
		switch w.phase {
		case Starting:
			m.terminate(now, w, NotReady)
			m.lost(now, w, fmt.Sprintf("it was not ready within %s", m.policy.ReadyWithin))
		case Draining:
			m.terminate(now, w, w.cause)
			m.tell(WorkerLeaving, w, func(e *Event) {
				e.Text = fmt.Sprintf("it has not drained within %s, and gets SIGTERM", m.policy.DrainFor)
			})
		case Terminating:
			m.kill(w, w.cause)
		}
	}
	m.reconcile(now)
}

// Observe tells what was seen of the workers. It is called at an interval well below HangAfter. When it was not called
// for long, because the machine slept or this process was stopped, beats are old everywhere and prove nothing.
func (m *Machine) Observe(now time.Duration, vitals []Vital) {
	if m.observed != 0 && now-m.observed > m.policy.HangAfter/2 {
		m.trusted = now + m.policy.HangAfter
	}
	m.observed = max(now, 1)
	for _, v := range vitals {
		w := m.find(v.Worker)
		if w == nil {
			continue
		}
		w.open = v.Open
		if w.phase == Serving {
			m.judge(now, w, v.Age)
		}
	}
	m.Tick(now)
}

// judge asks a worker that stands still, and kills it when it goes on to.
func (m *Machine) judge(now time.Duration, w *worker, age time.Duration) {
	// What it did before it was ready does not count: it may have read files for a long time.
	age = min(age, now-w.ready)
	switch {
	case age <= m.policy.HangAfter:
		if w.isAsked {
			w.isAsked = false
			m.tell(WorkerRecovered, w, nil)
		}
	case now < m.trusted:
		w.isAsked = false
	case !w.isAsked:
		w.isAsked, w.asked = true, now
		m.do(DoAsk, w)
		m.tell(WorkerAsked, w, func(e *Event) { e.Text = fmt.Sprintf("a loop has not turned for %s", age) })
	case now-w.asked >= m.policy.AskFor:
		m.kill(w, Hung)
		m.lost(now, w, fmt.Sprintf("a loop has not turned for %s", age))
	}
}

// retire has a worker go in good order.
func (m *Machine) retire(now time.Duration, w *worker, cause Cause) {
	if w.phase == Starting { // nobody is there to be waited for
		m.terminate(now, w, cause)
		return
	}
	w.phase, w.cause, w.deadline = Draining, cause, now+m.policy.DrainFor
	m.do(DoDrain, w)
	heir := m.heir(w)
	m.actions[len(m.actions)-1].Heir = heir
	m.tell(WorkerLeaving, w, func(e *Event) { e.Heir = heir })
}

func (m *Machine) terminate(now time.Duration, w *worker, cause Cause) {
	fresh := w.live()
	w.phase, w.cause, w.deadline = Terminating, cause, now+m.policy.TerminateFor
	m.do(DoTerminate, w)
	if fresh {
		m.tell(WorkerLeaving, w, nil)
	}
}

func (m *Machine) kill(w *worker, cause Cause) {
	w.phase, w.cause, w.deadline = Killed, cause, 0
	m.do(DoKill, w)
	m.tell(WorkerKilled, w, nil)
}
