package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/proc"
)

// Place is what a worker is started for.
type Place struct {
	Worker     ID
	Slot       int // of the board
	Seat       int // whoever has it has the same part of the work; in a roll two have it
	Generation uint64
}

// Launch gives the command of a worker. The supervisor adds the board and the place, for Join.
type Launch func(Place) (proc.Command, error)

// Options are what a Supervisor is made of.
type Options struct {
	Policy Policy
	// Launch starts the workers of the first generation.
	Launch Launch
	// Board has a slot for each of the policy's. It stays the caller's, and outlives Run.
	Board *proc.Board
	// Log is told of every event.
	Log *slog.Logger
	// Notify is told of every event too, if it is not nil, on the goroutine that all decisions wait for.
	Notify func(Event)
	// Started, if set, is called with each worker that was started, on a goroutine of its own.
	Started func(Place, *proc.Child)
	// Succeed, if set, has a worker that is to drain give what it has to another one, and drain then. It is called on a
	// goroutine of its own. If it fails the worker is told to drain.
	Succeed func(from, heir ID) error
	// Resize, if set, changes the number of workers for ScaleUp and ScaleDown, which is Supervisor.ScaleBy otherwise.
	Resize func(ctx context.Context, more int) error
	// Kept, if set, is what the program before this one has left in this process: its workers are gone on with.
	Kept *KeptSupervisor
	// ObserveEvery is how often the board is looked at; a second, or less where HangAfter asks for it, if it is zero.
	ObserveEvery time.Duration
}

// Supervisor keeps workers running. All its methods but Run may be called by any goroutine; they answer with ErrStopped
// when Run has ended, and wait for it to begin.
type Supervisor struct {
	options  Options
	machine  *Machine
	began    time.Time
	calls    chan func()
	ended    chan struct{}
	children map[ID]*proc.Child
	launches map[uint64]Launch
	rolled   map[uint64]chan error // waiters for the end of a roll, by generation
	underway atomic.Int64          // commands of signals that are being carried out, and hand-overs
	marks    chan struct{}         // told by Obey; see quiet
}

// ErrStopped means that the supervisor has ended.
var ErrStopped = errors.New("the supervisor has ended")

// New makes a supervisor that Run sets to work.
func New(o Options) (*Supervisor, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ObserveEvery <= 0 {
		const usual, part = time.Second, 8
		o.ObserveEvery = min(usual, o.Policy.HangAfter/part)
	}
	if o.Board == nil || o.Launch == nil {
		return nil, errors.New("supervise: a board and a way to start workers are needed")
	}
	if o.Board.Slots() < o.Policy.Slots {
		return nil, fmt.Errorf("supervise: the board has %d slots, and the policy %d", o.Board.Slots(), o.Policy.Slots)
	}
	s := &Supervisor{
		options: o, calls: make(chan func()), ended: make(chan struct{}), marks: make(chan struct{}, 1),
		children: map[ID]*proc.Child{}, launches: map[uint64]Launch{1: o.Launch}, rolled: map[uint64]chan error{},
	}
	var err error
	if o.Kept != nil {
		err = s.goOn(o.Kept)
	} else {
		s.machine, err = NewMachine(o.Policy, rand.Uint64())
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Run starts the workers and keeps them until Drain or Stop, and until the last has ended. The end of ctx is a Drain.
// It is called once.
func (s *Supervisor) Run(ctx context.Context) error {
	defer close(s.ended)
	if s.options.Kept == nil {
		s.began = time.Now()
	}
	timer, ticker := time.NewTimer(0), time.NewTicker(s.options.ObserveEvery)
	defer timer.Stop()
	defer ticker.Stop()
	cancelled := ctx.Done()
	for {
		s.act()
		if s.machine.Ended() && len(s.children) == 0 {
			return nil
		}
		// Without anything due the timer stands: what happens wakes the loop.
		timer.Stop()
		if at, due := s.machine.Next(s.now()); due {
			timer.Reset(at - s.now())
		}
		select {
		case call := <-s.calls:
			call()
		case <-timer.C:
			s.machine.Tick(s.now())
		case <-ticker.C:
			s.machine.Observe(s.now(), s.vitals())
		case <-cancelled:
			cancelled = nil
			s.machine.Drain(s.now())
		}
	}
}

func (s *Supervisor) now() time.Duration { return time.Since(s.began) }

// call runs a function on the goroutine of Run.
func (s *Supervisor) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case s.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-s.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// act does what the machine has decided, and tells of it. What is done may bring about more.
func (s *Supervisor) act() {
	for {
		actions, events := s.machine.Take()
		if len(actions)+len(events) == 0 {
			return
		}
		for _, e := range events {
			s.tell(e)
		}
		for _, a := range actions {
			if a.Do == DoStart {
				s.start(Place{Worker: a.Worker, Slot: a.Slot, Seat: a.Seat, Generation: a.Generation})
				continue
			}
			if child := s.children[a.Worker]; child != nil {
				s.reach(child, a)
			}
		}
	}
}

func (s *Supervisor) tell(e Event) {
	e.At = time.Now()
	if child := s.children[e.Worker]; child != nil {
		e.PID = child.PID()
	}
	switch e.Kind {
	case RollDone:
		s.answer(e.Generation, nil)
	case RollFailed:
		s.answer(e.Generation, fmt.Errorf("generation %d has failed and was rolled back: %s", e.Generation, e.Text))
	case WorkerDied:
		s.bury(e.Worker)
	}
	s.options.Log.LogAttrs(context.Background(), e.Level(), e.Kind.String(), e.Attributes()...)
	if s.options.Notify != nil {
		s.options.Notify(e)
	}
}

func (s *Supervisor) answer(generation uint64, err error) {
	if waiter := s.rolled[generation]; waiter != nil {
		waiter <- err // it has room for the one answer
		delete(s.rolled, generation)
	}
}

// bury lets go of a worker that has died, and of how to start workers of a generation that is over.
func (s *Supervisor) bury(id ID) {
	if child := s.children[id]; child != nil {
		child.Close()
		delete(s.children, id)
	}
	status := s.machine.Status(s.now())
	for generation := range s.launches {
		if generation != status.Generation && generation != status.Next {
			delete(s.launches, generation)
		}
	}
}

func (s *Supervisor) start(p Place) {
	command, err := s.launches[p.Generation](p)
	if err == nil {
		err = s.options.Board.Clear(p.Slot) // of the worker that had it; it is dead, or the slot would be taken
	}
	var child *proc.Child
	if err == nil {
		command.Files = append([]proc.Named{{Name: boardName, FD: s.options.Board.FD()}}, command.Files...)
		child, err = proc.Start(p.into(command))
	}
	if err != nil {
		s.machine.NotStarted(s.now(), p.Worker, err.Error())
		return
	}
	s.children[p.Worker] = child
	s.tell(Event{Kind: WorkerStarting, Worker: p.Worker, Slot: p.Slot, Seat: p.Seat, Generation: p.Generation})
	if s.options.Started != nil {
		go s.options.Started(p, child)
	}
	go s.follow(p, child)
}

// follow passes on what a child says and that it has died, in this order.
func (s *Supervisor) follow(p Place, child *proc.Child) {
	// Run does not end before it has seen every child's death, so these calls are taken.
	ctx := context.Background()
	_ = s.call(ctx, s.said(p, child.Ready(), child.Died()))
	<-child.Died()
	_ = s.call(ctx, func() {
		report, _ := s.options.Board.Read(p.Slot)
		open := uint64(0)
		if report.Worker == uint64(p.Worker) {
			open = report.Total.Open
		}
		s.machine.Died(s.now(), p.Worker, child.Ending().String(), open)
	})
}

// said waits for a child's word on its readiness, and gives what is to be done about it. A child that has died has said
// everything that it will ever say, but what it said may lie in the pipe, held open by a process that it has left.
func (s *Supervisor) said(p Place, ready <-chan error, died <-chan struct{}) func() {
	var err error
	select {
	case err = <-ready:
	case <-died:
		const lastWords = time.Second
		timer := time.NewTimer(lastWords)
		defer timer.Stop()
		select {
		case err = <-ready:
		case <-timer.C:
			err = proc.ErrSilent
		}
	}
	return func() {
		var failure *proc.Failure
		switch {
		case err == nil:
			s.machine.Ready(s.now(), p.Worker)
		case errors.As(err, &failure):
			s.machine.Refused(s.now(), p.Worker, failure.Text)
		}
	}
}

// reach does something with a worker. That it has died already is told soon, and no error here.
func (s *Supervisor) reach(child *proc.Child, a Action) {
	var err error
	switch a.Do {
	case DoAsk:
		// Whoever does not read its messages is not waited for: it is asked to show that it lives.
		soon, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		_ = child.Control().Send(soon, proc.Message{Kind: KindAsk})
		cancel()
	case DoDrain:
		if a.Heir != 0 && s.options.Succeed != nil {
			s.underway.Add(1)
			go func() {
				defer s.underway.Add(-1)
				s.bequeath(child, a)
			}()
			return
		}
		err = child.Signal(SignalDrain)
	case DoTerminate:
		err = child.Signal(syscall.SIGTERM)
	case DoKill:
		err = child.Signal(syscall.SIGKILL)
	}
	if err != nil && !errors.Is(err, proc.ErrGone) {
		s.options.Log.Error("a worker cannot be reached", "worker", uint64(a.Worker), "pid", child.PID(), "to", a.Do.String(),
			"error", err)
	}
}

// bequeath has a worker give what it has to its heir, or drain when that cannot be.
func (s *Supervisor) bequeath(child *proc.Child, a Action) {
	err := s.options.Succeed(a.Worker, a.Heir)
	if err == nil {
		return
	}
	s.options.Log.Warn("a worker drains by itself: its connections were not taken over", "worker", uint64(a.Worker),
		"heir", uint64(a.Heir), "cause", err)
	if err := child.Signal(SignalDrain); err != nil && !errors.Is(err, proc.ErrGone) {
		s.options.Log.Error("a worker cannot be told to drain", "worker", uint64(a.Worker), "error", err)
	}
}

// vitals reads the board.
func (s *Supervisor) vitals() (list []Vital) {
	now := proc.Now()
	for _, w := range s.machine.workers {
		report, ok := s.options.Board.Read(w.slot)
		if !ok || report.Worker != uint64(w.id) || len(report.Loops) == 0 {
			continue // it has not come so far, or shows nothing
		}
		list = append(list, Vital{Worker: w.id, Age: now - report.Beat, Open: report.Total.Open})
	}
	return list
}

// into adds the place to a command.
func (p Place) into(c proc.Command) proc.Command {
	env := c.Env
	if env == nil {
		env = os.Environ()
	}
	place := strconv.FormatUint(uint64(p.Worker), 10) + " " + strconv.Itoa(p.Slot) + " " +
		strconv.FormatUint(p.Generation, 10) + " " + strconv.Itoa(p.Seat)
	c.Env = append(append([]string(nil), env...), placeVariable+"="+place)
	return c
}
