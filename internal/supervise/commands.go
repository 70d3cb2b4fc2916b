package supervise

import (
	"context"
	"os"
	"syscall"

	"github.com/myriad-server/myriad/internal/proc"
)

// SignalDrain is what a worker gets that is to drain; SIGTERM is what it gets to end soon.
const SignalDrain = syscall.SIGQUIT

// Command is what an operator can have done, by a signal or otherwise.
type Command uint8

// The commands. Those that need something new, a configuration or a binary, are for the caller to prepare.
const (
	Reload    Command = iota // a new configuration
	Upgrade                  // a new binary
	Reopen                   // log files that were moved away
	Quit                     // end in good order
	Terminate                // end soon; again: at once
	ScaleUp                  // one worker more
	ScaleDown                // one worker less
)

// String is the command's name.
func (c Command) String() string {
	return name(int(c), "reload", "upgrade", "reopen", "drain", "stop", "scale up", "scale down")
}

// meanings are what signals mean, as with other servers of this kind.
var meanings = []struct {
	signal  os.Signal
	command Command
}{
	{syscall.SIGHUP, Reload},
	{syscall.SIGUSR2, Upgrade},
	{syscall.SIGUSR1, Reopen},
	{syscall.SIGQUIT, Quit},
	{syscall.SIGTERM, Terminate},
	{os.Interrupt, Terminate},
	{syscall.SIGTTIN, ScaleUp},
	{syscall.SIGTTOU, ScaleDown},
}

// CommandOf is what a signal means.
func CommandOf(s os.Signal) (Command, bool) {
	for _, m := range meanings {
		if m.signal == s {
			return m.command, true
		}
	}
	return 0, false
}

// Signals are those that mean something.
func Signals() (list []os.Signal) {
	for _, m := range meanings {
		list = append(list, m.signal)
	}
	return list
}

// Listened are the signals that Obey is to be given, for signal.Notify: those that mean something, and the mark by
// which it is known that none of them is on its way.
func Listened() []os.Signal { return append(Signals(), markSignal) }

// Obey turns signals into commands until ctx ends. The channel is the caller's, which has it filled before Run begins:
// no signal is lost then. Those that end or scale are carried out; for Reload, Upgrade and Reopen prepare is called,
// each on a goroutine of its own, so that a long reload does not hold up the end. The error of a command is logged.
func (s *Supervisor) Obey(
	ctx context.Context, signals <-chan os.Signal, prepare func(context.Context, Command) error,
) {
	for {
		select {
		case got := <-signals:
			command, known := CommandOf(got)
			if !known {
				s.mark(got)
				continue
			}
			s.options.Log.Info("signal", "signal", got.String(), "command", command.String())
			switch command {
			case Reload, Upgrade, Reopen:
				s.underway.Add(1)
				go func() {
					defer s.underway.Add(-1)
					s.complain(command, prepare(ctx, command))
				}()
			default:
				s.complain(command, s.carryOut(ctx, command))
			}
		case <-ctx.Done():
			return
		case <-s.ended:
			return
		}
	}
}

func (s *Supervisor) complain(c Command, err error) {
	if err != nil {
		s.options.Log.Error("a command was not carried out", "command", c.String(), "error", err)
	}
}

func (s *Supervisor) carryOut(ctx context.Context, c Command) error {
	switch c {
	case Quit:
		return s.Drain(ctx)
	case Terminate:
		return s.Stop(ctx)
	case ScaleUp:
		return s.resize(ctx, 1)
	case ScaleDown:
		return s.resize(ctx, -1)
	}
	return nil
}

func (s *Supervisor) resize(ctx context.Context, more int) error {
	if s.options.Resize != nil {
		return s.options.Resize(ctx, more)
	}
	return s.ScaleBy(ctx, more)
}

// Scale changes the number of workers. It does not wait for them.
func (s *Supervisor) Scale(ctx context.Context, workers int) (err error) {
	return either(s.call(ctx, func() { err = s.machine.Scale(s.now(), workers) }), &err)
}

// ScaleBy changes the number of workers by some.
func (s *Supervisor) ScaleBy(ctx context.Context, more int) (err error) {
	return either(s.call(ctx, func() { err = s.machine.Scale(s.now(), s.machine.Desired()+more) }), &err)
}

// Roll has workers of a new launch take over one at a time, and waits for it. The error says why it was refused, or
// why the new generation has failed, in the words of its worker; the old one serves then as if nothing had happened.
// The end of ctx ends the waiting and nothing else.
func (s *Supervisor) Roll(ctx context.Context, launch Launch) (err error) {
	waiter := make(chan error, 1)
	err = either(s.call(ctx, func() {
		var generation uint64
		// What the machine starts for it is started after this call.
		if generation, err = s.machine.Roll(s.now()); err == nil {
			s.launches[generation], s.rolled[generation] = launch, waiter
		}
	}), &err)
	if err != nil {
		return err
	}
	select {
	case err = <-waiter:
		return err
	case <-s.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Drain ends everything in good order. It does not wait for it: Run does.
func (s *Supervisor) Drain(ctx context.Context) error {
	return s.call(ctx, func() { s.machine.Drain(s.now()) })
}

// Stop ends everything soon, and at once when it is called again. It does not wait for it: Run does.
func (s *Supervisor) Stop(ctx context.Context) error {
	return s.call(ctx, func() { s.machine.Stop(s.now()) })
}

// Retry ends the waiting of a crash loop.
func (s *Supervisor) Retry(ctx context.Context) error {
	return s.call(ctx, func() { s.machine.Retry(s.now()) })
}

// Status is a snapshot for people and the admin API. It reads some files of /proc for each worker.
func (s *Supervisor) Status(ctx context.Context) (status Status, err error) {
	children := map[ID]*proc.Child{}
	err = s.call(ctx, func() {
		status = s.machine.Status(s.now())
		for i := range status.Workers {
			w := &status.Workers[i]
			child := s.children[w.ID]
			if child == nil {
				continue
			}
			w.PID = child.PID()
			if report, ok := s.options.Board.Read(w.Slot); ok && report.Worker == uint64(w.ID) {
				w.Board = &report
			}
			children[w.ID] = child
		}
	})
	for i := range status.Workers {
		w := &status.Workers[i]
		if child := children[w.ID]; child != nil {
			if usage, err := child.Usage(); err == nil { // else it has ended in the meantime
				w.Usage = &usage
			}
		}
	}
	return status, err
}

// either is the error of a call that was not taken, or of what it did.
func either(taken error, did *error) error {
	if taken != nil {
		return taken
	}
	return *did
}
