package supervise

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/internal/proc"
)

// patience is when a test that waits for an event calls it a hang.
const patience = 30 * time.Second

const roleVariable = "SUPERVISE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(roles[role]())
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // or every child under the race detector ends a second later
	_ = flag.Set("rapid.checks", "1000")         // a play takes some 0.1 ms
	_ = flag.Set("rapid.nofailfile", "true")     // the seed replays a failure
	// The library of the bus keeps a goroutine of its own for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.init.0.func1"))
}

// roles are what the test binary does as a child. They are filled in by init, as they start the supervisor that starts
// them.
var roles map[string]func() int

func init() {
	roles = map[string]func() int{
		"good":      func() int { return work(behaviour{}) },
		"hanging":   func() int { return work(behaviour{hangs: true}) },
		"stopped":   func() int { return work(behaviour{stops: true}) },
		"stubborn":  func() int { return work(behaviour{deaf: true}) },
		"mute":      func() int { return work(behaviour{mute: true}) },
		"dying":     func() int { return 3 },
		"short":     func() int { return work(behaviour{dies: true}) },
		"fork bomb": func() int { return supervisor() }, // a worker that takes itself for a supervisor
		"refusing": func() int {
			own, err := Join(1)
			if err == nil {
				_ = own.Fail(errors.New("the port is taken"))
			}
			return 4
		},
		"supervisor": supervisor,
	}
}

// behaviour is what a worker does wrong.
type behaviour struct{ hangs, stops, deaf, mute, dies bool }

// work is a worker whose loop is a goroutine.
func work(b behaviour) int {
	own, err := Join(1)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, SignalDrain, syscall.SIGTERM)
	posts := make(chan func(), 1)
	go func() {
		for f := range posts {
			f()
			if b.hangs {
				select {}
			}
		}
	}()
	own.Slot.Loop(0).Show(proc.Figures{Open: 40 + uint64(own.Place.Slot)})
	pulse := proc.NewPulse(own.Slot, 10*time.Millisecond, func(f func()) bool { posts <- f; return true })
	go func() { _ = own.Attend(context.Background(), pulse, nil) }()
	if !b.mute {
		_ = own.Ready()
	}
	if b.dies {
		return 5
	}
	if b.stops {
		if own, err := os.FindProcess(os.Getpid()); err == nil {
			_ = own.Signal(syscall.SIGSTOP)
		}
	}
	for {
		select {
		case <-signals:
			if !b.deaf {
				return 0
			}
		case <-own.Orphaned():
			return 0
		}
	}
}

// supervisor is a process that supervises two workers, each of which holds the pipe that it has inherited.
func supervisor() int {
	own, err := proc.Adopt()
	if err != nil {
		return 97
	}
	board, err := proc.NewBoard(8, 1)
	if err != nil {
		return 96
	}
	p := quick(2)
	if os.Getenv("SUPERVISE_TEST_BOMB") != "" {
		p.SettleAfter = time.Hour
	}
	workers := atomic.Int32{}
	s, err := New(Options{
		Policy: p, Board: board,
		Launch: func(Place) (proc.Command, error) {
			c := role("good")
			for _, named := range own.Files() {
				if named.Name != boardName {
					c.Files = append(c.Files, named)
				}
			}
			return c, nil
		},
		Notify: func(e Event) {
			switch {
			case e.Kind == WorkerReady && workers.Add(1) == 2:
				_ = own.Ready()
			case e.Kind == WorkerDied && strings.Contains(e.Text, proc.ErrTooDeep.Error()):
				_ = own.Fail(proc.ErrTooDeep)
			}
		},
	})
	if err != nil {
		_ = own.Fail(err)
		return 95
	}
	if err := s.Run(context.Background()); err != nil {
		return 94
	}
	return 0
}

func role(name string) proc.Command {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return proc.Command{Path: path, Env: append(os.Environ(), roleVariable+"="+name), Stderr: os.Stderr}
}

// quick is a policy whose waits are short and whose limits are generous.
func quick(workers int) Policy {
	p := Sensible(workers)
	p.MostWorkers, p.Slots = 4, 8
	p.ReadyWithin, p.DrainFor, p.TerminateFor, p.HangAfter = patience, patience, patience, patience
	p.SettleAfter, p.BackOffFirst, p.BackOffMost = 10*time.Millisecond, time.Millisecond, 200*time.Millisecond
	p.LoopDeaths, p.StartsMost = 100, 200 // far from what a slow machine comes to
	return p
}

// rig is a supervisor that runs in the test.
type rig struct {
	*Supervisor
	t      *testing.T
	events chan Event
	ended  chan error
	role   atomic.Pointer[string] // of the workers that are started next
}

// run starts a supervisor whose workers have a role, and ends it with the test. Nothing is left of it then.
func run(t *testing.T, p Policy, first string) *rig {
	t.Helper()
	leaksNothing(t)
	const slots, loops = 8, 1
	board, err := proc.NewBoard(slots, loops)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, events: make(chan Event, 10_000), ended: make(chan error, 1)}
	r.role.Store(&first)
	r.Supervisor, err = New(Options{
		Policy: p, Board: board, Launch: r.launch, ObserveEvery: 10 * time.Millisecond,
		Notify: func(e Event) { r.events <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		err := r.Run(ctx)
		board.Close()
		r.ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		for range 3 {
			_ = r.Stop(context.Background())
		}
		select {
		case err := <-r.ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the supervisor does not end")
		}
	})
	return r
}

func (r *rig) launch(Place) (proc.Command, error) { return role(*r.role.Load()), nil }

func (r *rig) next(name string) { r.role.Store(&name) }

// await waits for an event of a kind, and returns it and how many of each kind came before.
func (r *rig) await(k Kind, is func(Event) bool) (Event, map[Kind]int) {
	r.t.Helper()
	limit := time.After(patience)
	before := map[Kind]int{}
	for {
		select {
		case e := <-r.events:
			if e.Kind == k && (is == nil || is(e)) {
				return e, before
			}
			before[e.Kind]++
		case <-limit:
			r.t.Fatalf("there was no event %q, but %v", k, before)
		}
	}
}

// settled waits until a worker has been ready for a while. Its event may have been taken while others were awaited.
func (r *rig) settled(id ID) {
	r.t.Helper()
	for end := time.Now().Add(patience); ; {
		done := false
		if err := r.call(context.Background(), func() {
			w := r.machine.find(id)
			done = w != nil && w.settled
		}); err != nil {
			r.t.Fatal(err)
		}
		if done {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("worker %d does not settle", id)
		}
		select {
		case <-r.events:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// running waits until there are as many workers as there are to be, all of them ready.
func (r *rig) running() Status {
	r.t.Helper()
	for end := time.Now().Add(patience); ; {
		s := r.status()
		if s.Condition == ConditionRunning && len(s.Workers) == s.Desired {
			return s
		}
		if time.Now().After(end) {
			r.t.Fatalf("it is %+v", s)
		}
		select {
		case <-r.events:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// kill kills a worker behind the supervisor's back, if it still lives.
func (r *rig) kill(id ID) {
	r.t.Helper()
	err := r.call(context.Background(), func() {
		if child := r.children[id]; child != nil {
			_ = child.Signal(syscall.SIGKILL) // it may have ended just now
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) status() Status {
	r.t.Helper()
	s, err := r.Status(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// leaksNothing checks at the test's end that as many descriptors are open as now, and that no child is left.
func leaksNothing(t *testing.T) {
	t.Helper()
	// The poller of the runtime has descriptors of its own, from its first use on.
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = read.Close(), write.Close()
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := count()
	t.Cleanup(func() {
		if after := count(); after != before {
			t.Errorf("%d descriptors were open before and %d are after", before, after)
		}
		files, err := filepath.Glob("/proc/self/task/*/children")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if list, err := os.ReadFile(name); err == nil && len(list) > 0 {
				t.Errorf("children are left: %s", list)
			}
		}
	})
}
