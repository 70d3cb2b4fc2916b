package supervise

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// KeptMachine is a Machine at rest, as it is written down for the program that goes on with it. Times are those of the
// machine.
type KeptMachine struct {
	Desired  int             `json:"desired"`
	Last     ID              `json:"last"`
	Good     uint64          `json:"good"`
	Newest   uint64          `json:"newest"`
	Failures int             `json:"failures,omitempty"`
	Early    []time.Duration `json:"early,omitempty"`
	Retry    time.Duration   `json:"retry,omitempty"`
	Looping  bool            `json:"looping,omitempty"`
	Starts   []time.Duration `json:"starts,omitempty"`
	Held     bool            `json:"held,omitempty"`
	Workers  []KeptWorker    `json:"workers"`
}

// KeptWorker is a worker as the machine sees it.
type KeptWorker struct {
	ID         ID            `json:"id"`
	Slot       int           `json:"slot"`
	Seat       int           `json:"seat"`
	Generation uint64        `json:"generation"`
	Phase      Phase         `json:"phase"`
	Cause      Cause         `json:"cause,omitempty"`
	Began      time.Duration `json:"began"`
	Ready      time.Duration `json:"ready"`
	Settled    bool          `json:"settled,omitempty"`
	Deadline   time.Duration `json:"deadline,omitempty"`
	Open       uint64        `json:"open,omitempty"`
}

// ErrBusy means that something is under way: there will be a better moment.
var ErrBusy = errors.New("workers are being started or replaced")

// Keep writes the machine down. It is an error while it starts or replaces somebody, or ends: whoever goes on finds
// processes that have said that they are ready, or are told to go.
func (m *Machine) Keep() (*KeptMachine, error) {
	switch {
	case m.mode != running:
		return nil, ErrStopping
	case m.rolling != nil || len(m.actions) > 0 || m.count(func(w *worker) bool { return w.phase == Starting }) > 0:
		return nil, ErrBusy
	}
	k := &KeptMachine{
		Desired: m.desired, Last: m.last, Good: m.good, Newest: m.newest, Failures: m.failures, Early: m.early,
		Retry: m.retry, Looping: m.looping, Starts: m.starts, Held: m.held, Workers: []KeptWorker{},
	}
	for _, w := range m.workers {
		k.Workers = append(k.Workers, KeptWorker{
			ID: w.id, Slot: w.slot, Seat: w.seat, Generation: w.generation, Phase: w.phase, Cause: w.cause, Began: w.began,
			Ready: w.ready, Settled: w.settled, Deadline: w.deadline, Open: w.open,
		})
	}
	return k, nil
}

// GoOn makes the machine that was written down. Whoever was being asked whether it lives is looked at anew.
func (k *KeptMachine) GoOn(p Policy, seed uint64) (*Machine, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("supervise: %w", err)
	}
	if k.Desired < 1 || k.Desired > p.MostWorkers {
		return nil, fmt.Errorf("supervise: %d workers are not between 1 and %d", k.Desired, p.MostWorkers)
	}
	m := &Machine{
		policy: p, random: rand.New(rand.NewPCG(seed, 0)), desired: k.Desired, last: k.Last, good: k.Good, newest: k.Newest,
		failures: k.Failures, early: k.Early, retry: k.Retry, looping: k.Looping, starts: k.Starts, held: k.Held,
	}
	for _, w := range k.Workers {
		if w.Slot < 0 || w.Slot >= p.Slots || w.Phase == Starting || w.Phase > Killed || m.find(w.ID) != nil {
			return nil, fmt.Errorf("worker %d, %s in slot %d, cannot be gone on with", w.ID, w.Phase, w.Slot)
		}
		m.workers = append(m.workers, &worker{
			id: w.ID, slot: w.Slot, seat: w.Seat, generation: w.Generation, phase: w.Phase, cause: w.Cause, began: w.Began,
			ready: w.Ready, settled: w.Settled, deadline: w.Deadline, open: w.Open,
		})
	}
	return m, nil
}
