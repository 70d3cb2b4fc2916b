package supervise

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// process is a worker in a world that is played.
type process struct {
	id         ID
	slot, seat int
	generation uint64
	ready      bool
	signalled  Do // the strongest thing that was done to it; DoStart: nothing
}

// world plays the processes and the clock of a machine, and knows what must never happen.
type world struct {
	t       rapid.TB
	machine *Machine
	policy  Policy
	now     time.Duration

	processes []*process // that live, as far as the machine was told
	started   []time.Duration
	broken    map[uint64]bool // generations whose workers die at once
	rolling   bool
	undoing   bool
	looping   bool
	stopping  bool
	events    []Event
	heirs     []ID // in the order in which they were named
}

func newWorld(t rapid.TB, p Policy, seed uint64) *world {
	m, err := NewMachine(p, seed)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, machine: m, policy: p, broken: map[uint64]bool{}}
	w.act()
	return w
}

// act does what the machine has decided, and watches it.
func (w *world) act() {
	actions, events := w.machine.Take()
	for _, e := range events {
		w.hear(e)
	}
	for _, a := range actions {
		if a.Do == DoStart {
			w.start(a)
			continue
		}
		p := w.find(a.Worker)
		if p == nil {
			w.t.Fatalf("%s: worker %d, which has died or never was, is to be reached: %s", w.now, a.Worker, a.Do)
		}
		if a.Do != DoAsk {
			if a.Do <= p.signalled {
				w.t.Fatalf("%s: worker %d: %s after %s", w.now, a.Worker, a.Do, p.signalled)
			}
			p.signalled = a.Do
		}
		w.inherits(p, a)
	}
	if n, most := w.serving(), w.machine.Desired()+w.policy.Surge; n > most {
		w.t.Fatalf("%s: %d workers serve, and the limit is %d", w.now, n, most)
	}
	if at, due := w.machine.Next(w.now); due && at < w.now {
		w.t.Fatalf("%s: the machine wants to be woken at %s, which is over", w.now, at)
	}
}

// serving is how many count as those that there are to be: one that is leaving does not.
func (w *world) serving() (n int) {
	for _, p := range w.processes {
		if p.signalled <= DoAsk {
			n++
		}
	}
	return n
}

func (w *world) start(a Action) {
	for _, p := range w.processes {
		if p.slot == a.Slot {
			w.t.Fatalf("%s: workers %d and %d have slot %d", w.now, p.id, a.Worker, a.Slot)
		}
	}
	switch {
	case w.stopping:
		w.t.Fatalf("%s: worker %d is started while everything ends", w.now, a.Worker)
	case a.Slot < 0 || a.Slot >= w.policy.Slots:
		w.t.Fatalf("%s: there is no slot %d", w.now, a.Slot)
	}
	w.started = append(slices.DeleteFunc(w.started, func(at time.Duration) bool {
		return at <= w.now-w.policy.StartsWithin
	}), w.now)
	if len(w.started) > w.policy.StartsMost {
		w.t.Fatalf("%s: %d starts within %s", w.now, len(w.started), w.policy.StartsWithin)
	}
	w.processes = append(w.processes, &process{id: a.Worker, slot: a.Slot, seat: a.Seat, generation: a.Generation})
}

func (w *world) hear(e Event) {
	w.events = append(w.events, e)
	switch e.Kind {
	case RollBegan:
		if w.rolling && !(w.undoing && w.looping) {
			w.t.Fatalf("%s: two rolls at once", w.now)
		}
		w.rolling, w.undoing = true, false
	case RollDone, RollUndone:
		if !w.rolling {
			w.t.Fatalf("%s: %s, and there was none", w.now, e.Kind)
		}
		w.rolling = false
	case RollFailed:
		w.undoing = true
	case CrashLoop:
		w.looping = true
	case CrashLoopOver:
		w.looping = false
	case StopBegan:
		w.stopping = true
	}
}

func (w *world) find(id ID) *process {
	for _, p := range w.processes {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (w *world) ready(p *process) {
	p.ready = true
	w.machine.Ready(w.now, p.id)
	w.act()
}

// die ends a process, and tells of it.
func (w *world) die(p *process) {
	w.processes = slices.DeleteFunc(w.processes, func(other *process) bool { return other == p })
	w.machine.Died(w.now, p.id, "it died", 0)
	w.act()
}

// advance lets time pass and does what is due in between, to the moment.
func (w *world) advance(d time.Duration) {
	end := w.now + d
	for {
		at, due := w.machine.Next(w.now)
		if !due || at > end {
			break
		}
		w.now = max(w.now, at)
		w.machine.Tick(w.now)
		w.act()
		if next, due := w.machine.Next(w.now); due && next <= w.now {
			w.t.Fatalf("%s: the machine wants to be woken at once, again and again", w.now)
		}
	}
	w.now = end
}

// calm plays a world in which everybody does as told, until nothing changes any more. Workers of a broken generation
// die at once all the same.
func (w *world) calm(limit time.Duration) {
	for end := w.now + limit; w.now < end; {
		changed := false
		for _, p := range slices.Clone(w.processes) {
			switch {
			case p.signalled != DoStart || w.broken[p.generation]:
				w.die(p)
				changed = true
			case !p.ready:
				w.ready(p)
				changed = true
			}
		}
		if changed {
			continue
		}
		at, due := w.machine.Next(w.now)
		if !due {
			return
		}
		w.advance(max(at-w.now, 1))
	}
}

// settled tells what is not as it is to be, when all is calm.
func (w *world) settled() error {
	if w.stopping {
		if !w.machine.Ended() || len(w.processes) != 0 {
			return fmt.Errorf("%d processes are left, ended: %t", len(w.processes), w.machine.Ended())
		}
		return nil
	}
	s := w.machine.Status(w.now)
	if s.Condition != ConditionRunning || s.Ready != s.Desired || len(s.Workers) != s.Desired || w.rolling || w.looping {
		return fmt.Errorf("it is %s with %d of %d workers ready, %d in all", s.Condition, s.Ready, s.Desired, len(s.Workers))
	}
	for _, one := range s.Workers {
		if one.Generation != s.Generation {
			return fmt.Errorf("a worker of generation %d serves beside those of %d", one.Generation, s.Generation)
		}
	}
	return nil
}
