package supervise

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawPolicy draws all kinds of policies.
func drawPolicy(t *rapid.T) Policy {
	p := Sensible(rapid.IntRange(1, 5).Draw(t, "workers"))
	p.MostWorkers = rapid.IntRange(p.Workers, 6).Draw(t, "most")
	p.Surge = rapid.IntRange(1, 3).Draw(t, "surge")
	p.Slots = p.MostWorkers + p.Surge + rapid.IntRange(0, 4).Draw(t, "spare")
	p.Retire = rapid.SampledFrom([]Choice{Newest, FewestConnections, LastSeat}).Draw(t, "retire")
	p.LoopDeaths = rapid.IntRange(1, 6).Draw(t, "deaths")
	p.Jitter = rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "jitter")
	p.StartsMost = p.Workers + max(p.Surge, p.LoopDeaths) + rapid.IntRange(0, 30).Draw(t, "starts")
	return p
}

// TestMachine plays everything that can happen, in any order, and then a calm world: whatever happened, there are as
// many workers again as there are to be, of one generation; or none, if it was told to end.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, drawPolicy(t), rapid.Uint64().Draw(t, "seed"))
		anyone := func(t *rapid.T) *process {
			if len(w.processes) == 0 {
				t.Skip("there is no process")
			}
			return rapid.SampledFrom(w.processes).Draw(t, "process")
		}
		t.Repeat(map[string]func(*rapid.T){
			"ready":  func(t *rapid.T) { w.ready(anyone(t)) },
			"die":    func(t *rapid.T) { w.die(anyone(t)) },
			"refuse": func(t *rapid.T) { w.machine.Refused(w.now, anyone(t).id, "no"); w.act() },
			"not started": func(t *rapid.T) {
				p := anyone(t)
				w.processes = slices.DeleteFunc(w.processes, func(other *process) bool { return other == p })
				w.machine.NotStarted(w.now, p.id, "no")
				w.act()
			},
			"observe": func(t *rapid.T) { w.observe(t) },
			"time":    func(t *rapid.T) { w.advance(time.Duration(rapid.Int64Range(0, 2e10).Draw(t, "ns"))) },
			"due": func(*rapid.T) {
				if at, due := w.machine.Next(w.now); due {
					w.advance(max(0, at-w.now))
				}
			},
			"scale": func(t *rapid.T) {
				n := rapid.IntRange(0, w.policy.MostWorkers+1).Draw(t, "workers")
				err := w.machine.Scale(w.now, n)
				if (err == nil) != (!w.stopping && n >= 1 && n <= w.policy.MostWorkers) {
					t.Fatalf("scale to %d: %v", n, err)
				}
				w.act()
			},
			"roll": func(t *rapid.T) {
				before := w.rolling && !(w.undoing && w.looping)
				_, err := w.machine.Roll(w.now)
				if (err == nil) != (!before && !w.stopping) {
					t.Fatalf("roll: %v, while another is under way: %t", err, before)
				}
				w.act()
			},
			"retry": func(*rapid.T) { w.machine.Retry(w.now); w.act() },
			"end": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") != 0 {
					return
				}
				if rapid.Bool().Draw(t, "drain") {
					w.machine.Drain(w.now)
				} else {
					w.machine.Stop(w.now)
				}
				w.act()
			},
		})
		w.calm(24 * time.Hour)
		if err := w.settled(); err != nil {
			t.Fatalf("after a calm day: %v", err)
		}
		if err := w.seated(); err != nil && w.policy.Retire == LastSeat {
			t.Fatalf("after a calm day: %v", err)
		}
	})
}

// observe shows the machine beats of all ages.
func (w *world) observe(t *rapid.T) {
	var vitals []Vital
	for _, p := range w.processes {
		age := rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "age")
		vitals = append(vitals, Vital{Worker: p.id, Age: age, Open: rapid.Uint64Range(0, 9).Draw(t, "open")})
	}
	w.machine.Observe(w.now, vitals)
	w.act()
}

// TestCrashLoop has every worker die at once: the machine backs off, says so, and goes on trying slowly, one at a time.
func TestCrashLoop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		w := newWorld(t, p, rapid.Uint64().Draw(t, "seed"))
		w.broken[1] = true
		w.calm(time.Hour)
		if s := w.machine.Status(w.now); s.Condition != ConditionCrashLoop || s.Ready != 0 {
			t.Fatalf("it is %s with %d workers ready", s.Condition, s.Ready)
		}
		// From now on there is one start in each interval.
		before := w.machine.last
		w.calm(100 * p.LoopRetry)
		if tried := w.machine.last - before; tried < 99 || tried > 101 {
			t.Errorf("%d starts in 100 intervals", tried)
		}
		if n := w.told(CrashLoop); n != 1 {
			t.Errorf("the crash loop was told of %d times", n)
		}
		// A new generation that works ends it.
		if _, err := w.machine.Roll(w.now); err != nil {
			t.Fatal(err)
		}
		w.act()
		w.calm(time.Hour)
		if err := w.settled(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) told(k Kind) (n int) {
	for _, e := range w.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// steady is a world with four workers that have settled.
func steady(t *testing.T, change func(*Policy)) *world {
	t.Helper()
	p := Sensible(4)
	p.Jitter = 0
	if change != nil {
		change(&p)
	}
	w := newWorld(t, p, 1)
	w.calm(time.Minute)
	if err := w.settled(); err != nil {
		t.Fatal(err)
	}
	w.events = nil
	return w
}

// TestRollKeepsEnough replaces all workers: never are there fewer ready than before, nor more than the surge beside
// them, and none is started twice.
func TestRollKeepsEnough(t *testing.T) {
	for _, surge := range []int{1, 2, 3, 7} {
		w := steady(t, func(p *Policy) { p.Surge = surge })
		if _, err := w.machine.Roll(w.now); err != nil {
			t.Fatal(err)
		}
		w.act()
		if _, err := w.machine.Roll(w.now); !errors.Is(err, ErrRolling) {
			t.Errorf("a second roll: %v", err)
		}
		for range 100 {
			for _, p := range slices.Clone(w.processes) {
				if p.signalled != DoStart {
					w.die(p)
				} else if !p.ready {
					w.ready(p)
				}
			}
			if s := w.machine.Status(w.now); s.Ready < 4 || len(w.processes) > 4+surge {
				t.Fatalf("%d workers are ready, of %d processes", s.Ready, len(w.processes))
			}
			if at, due := w.machine.Next(w.now); due {
				w.advance(at - w.now)
			}
		}
		if err := w.settled(); err != nil {
			t.Error(err)
		}
		if s := w.machine.Status(w.now); s.Generation != 2 || w.told(RollDone) != 1 || w.machine.last != 8 {
			t.Errorf("the generation is %d after %d starts", s.Generation, w.machine.last)
		}
	}
}

// TestRollBack has the new generation fail in every way; the old workers are never touched.
func TestRollBack(t *testing.T) {
	tests := map[string]func(w *world, p *process){
		"dies before it is ready": func(w *world, p *process) { w.die(p) },
		"dies at once after it": func(w *world, p *process) {
			w.ready(p)
			w.advance(w.policy.SettleAfter - 1)
			w.die(p)
		},
		"says that it cannot": func(w *world, p *process) { w.machine.Refused(w.now, p.id, "no port"); w.act() },
		"is never ready":      func(w *world, _ *process) { w.advance(w.policy.ReadyWithin) },
		"hangs": func(w *world, p *process) {
			w.ready(p)
			for range 12 {
				w.advance(w.policy.HangAfter / 4)
				if p.signalled == DoKill {
					break
				}
				w.machine.Observe(w.now, []Vital{{Worker: p.id, Age: time.Hour}})
				w.act()
			}
			if p.signalled != DoKill {
				w.t.Errorf("it was not killed: %s", p.signalled)
			}
		},
		"cannot be started": func(w *world, p *process) {
			w.processes = slices.DeleteFunc(w.processes, func(other *process) bool { return other == p })
			w.machine.NotStarted(w.now, p.id, "no such file")
			w.act()
		},
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			w := steady(t, func(p *Policy) {
				p.HangAfter, p.AskFor = p.SettleAfter/8, p.SettleAfter/8
			})
			old := slices.Clone(w.processes)
			if _, err := w.machine.Roll(w.now); err != nil {
				t.Fatal(err)
			}
			w.act()
			fail(w, w.processes[len(w.processes)-1])
			if w.told(RollFailed) != 1 {
				t.Error("it was not told that it has failed")
			}
			w.calm(time.Minute)
			if err := w.settled(); err != nil {
				t.Error(err)
			}
			if !slices.Equal(old, w.processes) || w.machine.Status(w.now).Generation != 1 || w.looping {
				t.Errorf("the workers of the old generation were touched")
			}
		})
	}
}

// TestRollBackHalfWay has the third worker of a new generation die: the two that serve are replaced again.
func TestRollBackHalfWay(t *testing.T) {
	w := steady(t, nil)
	if _, err := w.machine.Roll(w.now); err != nil {
		t.Fatal(err)
	}
	w.act()
	for range 100 {
		for _, p := range slices.Clone(w.processes) {
			switch {
			case p.signalled != DoStart, p.id == 7:
				w.die(p)
			case !p.ready:
				w.ready(p)
			}
		}
		if at, due := w.machine.Next(w.now); due {
			w.advance(at - w.now)
		}
	}
	w.calm(time.Minute)
	if err := w.settled(); err != nil {
		t.Error(err)
	}
	if s := w.machine.Status(w.now); s.Generation != 1 || w.told(RollUndone) != 1 || w.told(RollDone) != 0 {
		t.Errorf("the generation is %d", s.Generation)
	}
}
