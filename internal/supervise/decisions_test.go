package supervise

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// TestBackOff measures the waits between starts of a worker that dies at once.
func TestBackOff(t *testing.T) {
	w := newWorld(t, func() Policy {
		p := Sensible(1)
		p.Jitter, p.LoopDeaths, p.StartsMost = 0, 100, 200
		return p
	}(), 1)
	var waits []time.Duration
	for range 10 {
		w.die(w.processes[0])
		at, due := w.machine.Next(w.now)
		if !due {
			t.Fatal("nothing is due")
		}
		waits = append(waits, at-w.now)
		w.advance(at - w.now)
	}
	const ms = time.Millisecond
	want := []time.Duration{
		100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12800 * ms,
		15 * time.Second, 15 * time.Second,
	}
	if !slices.Equal(waits, want) {
		t.Errorf("the waits are %v, want %v", waits, want)
	}
	// One that settles begins anew.
	w.ready(w.processes[0])
	w.advance(w.policy.SettleAfter)
	w.die(w.processes[0])
	if len(w.processes) != 1 {
		t.Error("a worker that had settled was not replaced at once")
	}
}

// TestJitterShortens draws many waits: never longer than without, and not all the same.
func TestJitterShortens(t *testing.T) {
	m, err := NewMachine(Sensible(1), 7)
	if err != nil {
		t.Fatal(err)
	}
	m.failures = 1
	seen := map[time.Duration]bool{}
	for range 100 {
		wait := m.wait()
		if low := time.Duration(float64(m.policy.BackOffFirst) * (1 - m.policy.Jitter)); wait > m.policy.BackOffFirst ||
			wait < low {
			t.Fatalf("it waits %s", wait)
		}
		seen[wait] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different waits of 100", len(seen))
	}
	for m.failures = 1; m.failures <= 100; m.failures++ {
		if wait := m.wait(); wait <= 0 || wait > m.policy.BackOffMost {
			t.Fatalf("after %d failures it waits %s", m.failures, wait)
		}
	}
}

// TestForkBomb has workers settle and die, which starts the next at once each time: no more than the limit.
func TestForkBomb(t *testing.T) {
	w := steady(t, func(p *Policy) { p.SettleAfter = time.Millisecond })
	began, before := w.now, w.machine.last
	for w.now < began+w.policy.StartsWithin {
		for _, p := range slices.Clone(w.processes) {
			if !p.ready {
				w.ready(p)
			}
		}
		w.advance(w.policy.SettleAfter)
		for _, p := range slices.Clone(w.processes) {
			w.die(p)
		}
		w.advance(time.Millisecond)
	}
	if started := int(w.machine.last - before); started > w.policy.StartsMost || started < w.policy.StartsMost/2 {
		t.Errorf("%d starts within %s, the limit is %d", started, w.policy.StartsWithin, w.policy.StartsMost)
	}
	if w.told(StartsHeld) == 0 {
		t.Error("it was not told of")
	}
	w.calm(time.Hour)
	if err := w.settled(); err != nil {
		t.Error(err)
	}
}

// TestHang has a loop of a worker stand still.
func TestHang(t *testing.T) {
	second := time.Second
	tests := []struct {
		name   string
		ages   []time.Duration // second by second; the others are well
		asked  int
		killed bool
	}{
		{"well", []time.Duration{0, second, 0, 9 * second, 10 * second}, 0, false},
		{"asked, and goes on", []time.Duration{11 * second, 12 * second, 0, 0, 0, 0, 0, 0}, 1, false},
		{
			"goes on at the last moment",
			[]time.Duration{11 * second, 12 * second, 13 * second, 14 * second, 15 * second, 0},
			1, false,
		},
		{"hangs", []time.Duration{11 * second, 12 * second, 13 * second, 14 * second, 15 * second, 16 * second}, 1, true},
		{"twice", []time.Duration{11 * second, 0, 11 * second, 12 * second, 0}, 2, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := steady(t, nil)
			w.advance(time.Minute)
			w.look(0, time.Second)
			w.advance(w.policy.HangAfter) // the machine had not looked for a minute
			victim := w.processes[0]
			for range 20 {
				w.look(0, time.Second)
			}
			for _, age := range test.ages {
				w.look(age, time.Second)
			}
			if n := w.told(WorkerAsked); n != test.asked || (victim.signalled == DoKill) != test.killed {
				t.Errorf("it was asked %d times, and got %s", n, victim.signalled)
			}
			if n := w.told(WorkerRecovered); !test.killed && n != test.asked {
				t.Errorf("it has recovered %d times", n)
			}
			w.calm(time.Minute)
			if err := w.settled(); err != nil {
				t.Error(err)
			}
			if (w.find(victim.id) == nil) != test.killed {
				t.Error("another worker was killed")
			}
		})
	}
}

// look observes a world in which the first worker has not beaten for a while, and lets time pass.
func (w *world) look(age, then time.Duration) {
	var vitals []Vital
	for i, p := range w.processes {
		if i == 0 {
			vitals = append(vitals, Vital{Worker: p.id, Age: age})
		} else {
			vitals = append(vitals, Vital{Worker: p.id})
		}
	}
	w.machine.Observe(w.now, vitals)
	w.act()
	w.advance(then)
}

// TestSleepOfTheMachine has everything stand still for an hour, the supervisor as well: nobody hangs.
func TestSleepOfTheMachine(t *testing.T) {
	w := steady(t, nil)
	for range 20 {
		w.look(0, time.Second)
	}
	w.advance(time.Hour)
	for range int(w.policy.HangAfter / time.Second) {
		w.look(time.Hour, time.Second)
	}
	if w.told(WorkerAsked) != 0 || w.told(WorkerKilled) != 0 {
		t.Error("a worker was taken for one that hangs")
	}
	for range 8 {
		w.look(time.Hour, time.Second)
	}
	if w.told(WorkerKilled) != 1 {
		t.Error("the one that hangs since then was not found")
	}
}

// TestScaleDown tells which worker goes.
func TestScaleDown(t *testing.T) {
	tests := []struct {
		name  string
		which Choice
		open  []uint64
		want  []ID // that stay
	}{
		{"newest", Newest, []uint64{9, 0, 9, 9}, []ID{1, 2}},
		{"fewest connections", FewestConnections, []uint64{7, 9, 8, 1}, []ID{2, 3}},
		{"as few connections: newest", FewestConnections, []uint64{5, 5, 5, 5}, []ID{1, 2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := steady(t, func(p *Policy) { p.Retire = test.which })
			var vitals []Vital
			for i, open := range test.open {
				vitals = append(vitals, Vital{Worker: ID(i + 1), Open: open})
			}
			w.machine.Observe(w.now, vitals)
			if err := w.machine.Scale(w.now, 2); err != nil {
				t.Fatal(err)
			}
			w.act()
			w.calm(time.Minute)
			var stay []ID
			for _, p := range w.processes {
				stay = append(stay, p.id)
			}
			if !slices.Equal(stay, test.want) {
				t.Errorf("workers %d stay, want %d", stay, test.want)
			}
			if n := w.machine.Status(w.now).Failures; n != 0 {
				t.Errorf("%d of those that went were taken for failures", n)
			}
		})
	}
}

// TestScaleWhileRolling wants fewer workers while new ones are on their way, and more after.
func TestScaleWhileRolling(t *testing.T) {
	for _, surge := range []int{1, 3} {
		w := steady(t, func(p *Policy) { p.Surge = surge })
		if _, err := w.machine.Roll(w.now); err != nil {
			t.Fatal(err)
		}
		w.act()
		if len(w.processes) != 5 {
			t.Errorf("the first of a new generation came with %d others", len(w.processes)-5)
		}
		w.ready(w.processes[4])
		w.advance(w.policy.SettleAfter)
		if n := w.serving(); n != 4-1+1+surge {
			t.Errorf("%d workers serve beside one that has settled", n)
		}
		for _, n := range []int{1, 4} {
			if err := w.machine.Scale(w.now, n); err != nil {
				t.Fatal(err)
			}
			w.act() // which counts
		}
		w.calm(time.Minute)
		if err := w.settled(); err != nil || w.machine.Status(w.now).Generation != 2 {
			t.Errorf("%v, generation %d", err, w.machine.Status(w.now).Generation)
		}
	}
}

// TestBadGenerationIsNotHeldAgainstTheOld has the old workers die while new ones are on their way, which then turn out
// to be bad: the old generation comes back at once, nothing that happens to the bad one counts as its failure, and
// there are never more than there may be.
func TestBadGenerationIsNotHeldAgainstTheOld(t *testing.T) {
	w := steady(t, func(p *Policy) { p.Surge = 3 })
	if _, err := w.machine.Roll(w.now); err != nil {
		t.Fatal(err)
	}
	w.act()
	w.ready(w.processes[4])
	w.advance(w.policy.SettleAfter)
	of := func(generation uint64) (list []*process) {
		for _, p := range w.processes {
			if p.generation == generation && p.signalled == DoStart {
				list = append(list, p)
			}
		}
		return list
	}
	for _, p := range of(1) {
		w.die(p)
	}
	for _, p := range of(2)[1:3] { // of those that have not settled
		w.die(p)
	}
	if failures := w.machine.Status(w.now).Failures; failures != 0 || w.told(RollFailed) != 1 {
		t.Errorf("%d failures, and the roll has failed %d times", failures, w.told(RollFailed))
	}
	if n := len(of(1)); n != 4 {
		t.Errorf("%d workers of the old generation come back at once, want 4", n)
	}
	for _, n := range []int{3, 2, 1, 4} {
		if err := w.machine.Scale(w.now, n); err != nil {
			t.Fatal(err)
		}
		w.act() // which counts
	}
	w.calm(time.Minute)
	if err := w.settled(); err != nil || w.machine.Status(w.now).Generation != 1 {
		t.Error(err)
	}
}

// TestScaleWhileRollingBack wants fewer workers when many of the old generation are on their way back.
func TestScaleWhileRollingBack(t *testing.T) {
	w := steady(t, nil)
	if _, err := w.machine.Roll(w.now); err != nil {
		t.Fatal(err)
	}
	w.act()
	for range 2 { // of the new generation serve
		w.ready(w.processes[len(w.processes)-1])
		w.advance(w.policy.SettleAfter)
		for _, p := range slices.Clone(w.processes) {
			if p.signalled != DoStart {
				w.die(p)
			}
		}
	}
	w.die(w.processes[len(w.processes)-1]) // the third fails
	for _, p := range slices.Clone(w.processes) {
		if p.generation == 1 && p.ready {
			w.die(p)
		}
	}
	if w.serving() != 5 {
		t.Errorf("%d workers serve or are on their way back, want 5", w.serving())
	}
	for n := 3; n >= 1; n-- {
		if err := w.machine.Scale(w.now, n); err != nil {
			t.Fatal(err)
		}
		w.act() // which counts
	}
	w.calm(time.Minute)
	if err := w.settled(); err != nil {
		t.Error(err)
	}
}

// TestCrashLoopEndsWithFewer has one of two workers fail, and scales to the one that works.
func TestCrashLoopEndsWithFewer(t *testing.T) {
	w := steady(t, func(p *Policy) { p.LoopDeaths = 1 })
	w.machine.Refused(w.now, w.processes[0].id, "it is ready, and cannot refuse")
	if err := w.machine.Scale(w.now, 5); err != nil {
		t.Fatal(err)
	}
	w.act()
	w.machine.Refused(w.now, w.processes[4].id, "no")
	w.act()
	if s := w.machine.Status(w.now); s.Condition != ConditionCrashLoop || s.Failures != 1 {
		t.Errorf("it is %s after %d failures", s.Condition, s.Failures)
	}
	w.die(w.processes[4])
	if n := w.machine.Status(w.now).Failures; n != 1 {
		t.Errorf("one failure was counted as %d", n)
	}
	if err := w.machine.Scale(w.now, 4); err != nil {
		t.Fatal(err)
	}
	w.act()
	if err := w.settled(); err != nil {
		t.Error(err)
	}
}

// TestScaleDownWhileStarting ends one that is not ready: there is nobody to drain.
func TestScaleDownWhileStarting(t *testing.T) {
	w := steady(t, nil)
	for _, n := range []int{5, 4} {
		if err := w.machine.Scale(w.now, n); err != nil {
			t.Fatal(err)
		}
		w.act()
	}
	if p := w.processes[4]; p.signalled != DoTerminate {
		t.Errorf("it got %s", p.signalled)
	}
}

// TestLongStart has a worker be ready late, whose loops have not turned until then.
func TestLongStart(t *testing.T) {
	p := Sensible(1)
	w := newWorld(t, p, 1)
	for range int(p.ReadyWithin/time.Second) - 1 {
		w.look(w.now, time.Second)
	}
	w.ready(w.processes[0])
	for range 1 + int(p.HangAfter/time.Second) {
		w.look(w.now, time.Second)
	}
	if w.told(WorkerAsked) != 0 {
		t.Error("it was taken for one that hangs")
	}
	w.look(w.now, time.Second)
	if w.told(WorkerAsked) != 1 {
		t.Error("it was not found to hang since then")
	}
}

// TestEnd escalates: who drains too long is told, and who does not listen is killed.
func TestEnd(t *testing.T) {
	signals := func(w *world) (list []Do) {
		for _, p := range w.processes {
			list = append(list, p.signalled)
		}
		return slices.Compact(list)
	}
	type step struct {
		does func(w *world)
		want Do
	}
	drain := func(w *world) { w.machine.Drain(w.now); w.act() }
	stop := func(w *world) { w.machine.Stop(w.now); w.act() }
	drainFor := func(w *world) { w.advance(w.policy.DrainFor) }
	terminateFor := func(w *world) { w.advance(w.policy.TerminateFor) }
	tests := map[string][]step{
		"drain":            {{drain, DoDrain}, {drain, DoDrain}, {drainFor, DoTerminate}, {terminateFor, DoKill}},
		"stop":             {{stop, DoTerminate}, {terminateFor, DoKill}},
		"drain, then stop": {{drain, DoDrain}, {stop, DoTerminate}, {drain, DoTerminate}, {stop, DoKill}, {stop, DoKill}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			w := steady(t, nil)
			for i, s := range steps {
				s.does(w)
				if got := signals(w); !slices.Equal(got, []Do{s.want}) {
					t.Fatalf("step %d: the workers got %s, want %s", i, got, s.want)
				}
			}
			if err := w.machine.Scale(w.now, 1); !errors.Is(err, ErrStopping) {
				t.Errorf("scaled while it ends: %v", err)
			}
			if _, err := w.machine.Roll(w.now); !errors.Is(err, ErrStopping) {
				t.Errorf("rolled while it ends: %v", err)
			}
			for len(w.processes) > 0 {
				if w.machine.Ended() {
					t.Fatal("it has ended before its workers")
				}
				w.die(w.processes[0])
			}
			if err := w.settled(); err != nil || w.told(AllStopped) != 1 {
				t.Error(err)
			}
		})
	}
}

// TestEndOfARoll answers whoever waits for it.
func TestEndOfARoll(t *testing.T) {
	w := steady(t, nil)
	if _, err := w.machine.Roll(w.now); err != nil {
		t.Fatal(err)
	}
	w.act()
	w.machine.Drain(w.now)
	w.act()
	if w.told(RollFailed) != 1 {
		t.Error("nobody was told")
	}
	w.calm(time.Minute)
	if err := w.settled(); err != nil {
		t.Error(err)
	}
}

func TestPolicyCheck(t *testing.T) {
	tests := map[string]func(*Policy){
		"no workers":      func(p *Policy) { p.Workers = 0 },
		"too many":        func(p *Policy) { p.Workers = p.MostWorkers + 1 },
		"no surge":        func(p *Policy) { p.Surge = 0 },
		"few slots":       func(p *Policy) { p.Slots = p.MostWorkers },
		"many slots":      func(p *Policy) { p.Slots = 100_000 },
		"jitter":          func(p *Policy) { p.Jitter = 1.1 },
		"no deaths":       func(p *Policy) { p.LoopDeaths = 0 },
		"few starts":      func(p *Policy) { p.StartsMost = p.Workers },
		"back off":        func(p *Policy) { p.BackOffMost = p.BackOffFirst - 1 },
		"no ready":        func(p *Policy) { p.ReadyWithin = 0 },
		"no drain":        func(p *Policy) { p.DrainFor = 0 },
		"negative hang":   func(p *Policy) { p.HangAfter = -1 },
		"no terminate":    func(p *Policy) { p.TerminateFor = 0 },
		"no starts limit": func(p *Policy) { p.StartsWithin = 0 },
	}
	for name, change := range tests {
		p := Sensible(2)
		p.MostWorkers = 4
		if p.Check() != nil {
			t.Fatal("the sensible policy is refused")
		}
		change(&p)
		if _, err := NewMachine(p, 1); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}
