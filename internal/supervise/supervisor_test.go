package supervise

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/proc"
)

// TestStartAndDrain starts four workers, looks at them, and ends them in good order.
func TestStartAndDrain(t *testing.T) {
	r := run(t, quick(4), "good")
	s := r.running()
	if s.Desired != 4 || s.Ready != 4 || s.Generation != 1 {
		t.Errorf("it is %+v", s)
	}
	for _, w := range s.Workers {
		if w.PID == 0 || w.Board == nil || w.Board.PID != w.PID || w.Board.State != proc.Serving || w.Usage == nil ||
			w.Usage.ResidentBytes == 0 || w.Board.Total.Open != 40+uint64(w.Slot) {
			t.Errorf("a worker is %+v", w)
		}
	}
	if err := r.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, before := r.await(AllStopped, nil)
	if before[WorkerDied] != 4 || before[WorkerKilled] != 0 {
		t.Errorf("before the end there was %v", before)
	}
}

// TestWorkersThatFail has a worker go wrong in every way. One that was well before and one after show that it is
// replaced, with the cause.
func TestWorkersThatFail(t *testing.T) {
	tests := []struct {
		role   string
		change func(*Policy)
		cause  Cause
		text   string
	}{
		{"dying", nil, Crashed, "exit status 3"},
		{"refusing", nil, NotReady, ""},
		{"short", func(p *Policy) { p.SettleAfter = time.Minute }, Crashed, "exit status 5"},
		{"mute", func(p *Policy) { p.ReadyWithin = 2 * time.Second }, NotReady, ""},
		{"hanging", hastily, Hung, "signal: killed"},
		{"stopped", hastily, Hung, "signal: killed"},
	}
	for _, test := range tests {
		t.Run(test.role, func(t *testing.T) {
			p := quick(1)
			if test.change != nil {
				test.change(&p)
			}
			r := run(t, p, test.role)
			died, _ := r.await(WorkerDied, func(e Event) bool { return e.Cause == test.cause })
			if !strings.Contains(died.Text, test.text) || died.PID == 0 {
				t.Errorf("it was told that %+v", died)
			}
			r.next("good")
			r.await(WorkerReady, func(e Event) bool { return e.Worker > died.Worker })
		})
	}
}

// hastily finds a worker that hangs soon.
func hastily(p *Policy) { p.HangAfter, p.AskFor = 300*time.Millisecond, 200*time.Millisecond }

// TestKilledWorkers kills workers that have settled, one after the other: each is replaced at once, with its slot.
func TestKilledWorkers(t *testing.T) {
	p := quick(2)
	p.BackOffFirst, p.BackOffMost = patience, patience // which is not waited for
	r := run(t, p, "good")
	s := r.running()
	for range 5 {
		victim := s.Workers[0]
		r.settled(victim.ID)
		r.kill(victim.ID)
		died, _ := r.await(WorkerDied, nil)
		if died.Worker != victim.ID || died.PID != victim.PID || died.Cause != Crashed || died.Text != "signal: killed" ||
			died.Open != 40+uint64(victim.Slot) {
			t.Errorf("it was told that %+v", died)
		}
		r.await(WorkerReady, func(e Event) bool { return e.Slot == victim.Slot })
		s = r.running()
	}
}

// TestCrashLoopOfProcesses has real workers die at once, and ends it with a new generation.
func TestCrashLoopOfProcesses(t *testing.T) {
	p := quick(2)
	p.LoopDeaths = 4
	r := run(t, p, "dying")
	loop, before := r.await(CrashLoop, nil)
	if before[WorkerDied] < 3 || !strings.Contains(loop.Text, "exit status 3") {
		t.Errorf("after %v: %+v", before, loop)
	}
	if s := r.status(); s.Condition != ConditionCrashLoop || s.RetryIn <= 0 {
		t.Errorf("it is %+v", s)
	}
	r.next("good")
	if err := r.Roll(context.Background(), r.launch); err != nil {
		t.Fatal(err)
	}
	if s := r.running(); s.Generation != 2 {
		t.Errorf("it is %+v", s)
	}
}

// TestRollOfProcesses replaces workers by those of a new launch, and by those that fail.
func TestRollOfProcesses(t *testing.T) {
	r := run(t, quick(2), "good")
	first := r.running()
	ctx := context.Background()
	failing := func(name string) Launch { return func(Place) (proc.Command, error) { return role(name), nil } }
	missing := func(Place) (proc.Command, error) { return proc.Command{Path: "/nonexistent/myriad"}, nil }
	refused := func(Place) (proc.Command, error) { return proc.Command{}, errors.New("no configuration") }
	for text, launch := range map[string]Launch{
		"the port is taken": failing("refusing"), "exit status 3": failing("dying"), "no such file": missing,
		"no configuration": refused,
	} {
		if err := r.Roll(ctx, launch); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("a roll that fails: %v, want %q", err, text)
		}
		if s := r.running(); s.Generation != 1 || s.Workers[0].PID != first.Workers[0].PID ||
			s.Workers[1].PID != first.Workers[1].PID {
			t.Errorf("the workers were touched: %+v", s)
		}
	}
	if err := r.Roll(ctx, r.launch); err != nil {
		t.Fatal(err)
	}
	s := r.running()
	for _, w := range s.Workers {
		if w.Generation != s.Generation || w.Board.Generation != s.Generation {
			t.Errorf("a worker is %+v", w)
		}
	}
}

// TestScaleOfProcesses has more and fewer workers.
func TestScaleOfProcesses(t *testing.T) {
	r := run(t, quick(1), "good")
	for _, n := range []int{4, 1, 3} {
		if err := r.Scale(context.Background(), n); err != nil {
			t.Fatal(err)
		}
		if s := r.running(); s.Ready != n {
			t.Errorf("there are %d, want %d", s.Ready, n)
		}
	}
	if err := r.ScaleBy(context.Background(), 2); err == nil {
		t.Error("there are more than the limit")
	}
}

// TestStubbornWorkers has workers that listen to nothing be killed in the end.
func TestStubbornWorkers(t *testing.T) {
	p := quick(2)
	p.DrainFor, p.TerminateFor = 10*time.Millisecond, 10*time.Millisecond
	r := run(t, p, "stubborn")
	r.running()
	if err := r.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, before := r.await(AllStopped, nil)
	if before[WorkerKilled] != 2 || before[WorkerDied] != 2 {
		t.Errorf("before the end there was %v", before)
	}
	if err := r.Scale(context.Background(), 1); err == nil {
		t.Error("it was scaled at its end")
	}
}

// TestSupervisorKilled kills the supervisor with SIGKILL: its workers notice, and end.
func TestSupervisorKilled(t *testing.T) {
	leaksNothing(t)
	child, held := startSupervisor(t, "supervisor", true)
	if err := child.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	if err := child.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The pipe is at its end when nobody holds it any more.
	if err := held.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(held); err != nil {
		t.Errorf("its workers still live: %v", err)
	}
}

// TestForkBombOfProcesses starts a supervisor as a worker: it can start nothing.
func TestForkBombOfProcesses(t *testing.T) {
	leaksNothing(t)
	child, _ := startSupervisor(t, "fork bomb", false)
	var failure *proc.Failure
	if err := child.AwaitReady(patience); !errors.As(err, &failure) || failure.Text != proc.ErrTooDeep.Error() {
		t.Errorf("it said %v", err)
	}
}

func startSupervisor(t *testing.T, name string, peer bool) (*proc.Child, *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := role(name)
	c.Peer, c.Files = peer, []proc.Named{{Name: "held", FD: int(write.Fd())}}
	child, err := proc.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	t.Cleanup(func() {
		_ = child.Signal(syscall.SIGKILL) // it may have ended already
		<-child.Died()
		child.Close()
		_ = read.Close()
	})
	return child, read
}

// TestCommands obeys signals.
func TestCommands(t *testing.T) {
	r := run(t, quick(2), "good")
	r.running()
	prepared := make(chan Command)
	ctx, cancel := context.WithCancel(context.Background())
	signals, obeyed := make(chan os.Signal, 1), make(chan struct{}) // it may have ended before the last signal
	go func() {
		r.Obey(ctx, signals, func(_ context.Context, c Command) error {
			prepared <- c
			return errors.New("not today")
		})
		close(obeyed)
	}()
	defer func() { cancel(); <-obeyed }()
	signals <- syscall.SIGWINCH // which means nothing
	for s, want := range map[syscall.Signal]Command{
		syscall.SIGHUP: Reload, syscall.SIGUSR2: Upgrade, syscall.SIGUSR1: Reopen,
	} {
		signals <- s
		if got := <-prepared; got != want {
			t.Errorf("%s is %s, want %s", s, got, want)
		}
	}
	for i, want := range []int{3, 4, 3} {
		signals <- []os.Signal{syscall.SIGTTIN, syscall.SIGTTIN, syscall.SIGTTOU}[i]
		if e, _ := r.await(Scaled, nil); e.Workers != want {
			t.Errorf("there are to be %d workers, want %d", e.Workers, want)
		}
	}
	signals <- syscall.SIGQUIT
	r.await(StopBegan, nil)
	signals <- syscall.SIGTERM
	r.await(AllStopped, nil)
}

func TestSignals(t *testing.T) {
	seen := map[os.Signal]bool{}
	for _, s := range Signals() {
		if _, known := CommandOf(s); !known || seen[s] {
			t.Errorf("%s means nothing, or twice", s)
		}
		seen[s] = true
	}
	if _, known := CommandOf(syscall.SIGWINCH); known {
		t.Error("SIGWINCH means something")
	}
}
