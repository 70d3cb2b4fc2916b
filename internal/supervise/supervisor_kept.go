package supervise

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

// KeptSupervisor is a supervisor at rest, as it is written down for the program that goes on with it in this process.
type KeptSupervisor struct {
	// At is the time of the machine when the clock of proc.Now showed Clock.
	At       time.Duration `json:"at_ns"`
	Clock    time.Duration `json:"clock_ns"`
	Machine  *KeptMachine  `json:"machine"`
	Children []KeptMember  `json:"children"`
}

// KeptMember is the process of a worker.
type KeptMember struct {
	Worker ID             `json:"worker"`
	Child  proc.KeptChild `json:"child"`
}

// markSignal means nothing: what a terminal sends when it changes its size. It has the highest number of all that are
// listened to, so whatever came before it has been passed on when it comes.
const markSignal = syscall.SIGWINCH

// keep writes the supervisor down. On the goroutine of Run.
func (s *Supervisor) keep() (k KeptSupervisor, err error) {
	if len(s.rolled) > 0 || s.underway.Load() > 0 {
		return k, ErrBusy
	}
	k = KeptSupervisor{At: s.now(), Clock: proc.Now()}
	if k.Machine, err = s.machine.Keep(); err != nil {
		return k, err
	}
	for _, w := range k.Machine.Workers {
		child := s.children[w.ID]
		if child == nil {
			return k, ErrBusy
		}
		select {
		case <-child.Died():
			return k, ErrBusy // it is told soon
		default:
		}
		kept, err := child.Kept()
		if err != nil {
			return k, err
		}
		k.Children = append(k.Children, KeptMember{Worker: w.ID, Child: kept})
	}
	return k, nil
}

// goOn takes over what was written down.
func (s *Supervisor) goOn(k *KeptSupervisor) (err error) {
	s.began = time.Now().Add(-k.At - (proc.Now() - k.Clock))
	if s.machine, err = k.Machine.GoOn(s.options.Policy, rand.Uint64()); err != nil {
		return err
	}
	s.launches = map[uint64]Launch{k.Machine.Good: s.options.Launch}
	for _, of := range k.Children {
		w := s.machine.find(of.Worker)
		if w == nil || s.children[of.Worker] != nil {
			return fmt.Errorf("process %d is not that of any worker", of.Child.PID)
		}
		child, err := proc.AdoptChild(of.Child)
		if err != nil {
			return err
		}
		s.children[w.id] = child
		go s.follow(Place{Worker: w.id, Slot: w.slot, Seat: w.seat, Generation: w.generation}, child)
	}
	if len(s.children) != len(s.machine.workers) {
		return fmt.Errorf("%d processes are left of %d workers", len(s.children), len(s.machine.workers))
	}
	return nil
}

// quiet finds out that nobody has asked for anything: no signal is on its way to Obey, and nothing waits to be done.
// It is called on the goroutine of Run while signals are held back.
func (s *Supervisor) quiet() error {
	select {
	case <-s.marks:
	default:
	}
	if err := sys.SignalSelf(markSignal); err != nil {
		return os.NewSyscallError("kill", err)
	}
	const patience = time.Second
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.marks: // what came before it, Obey has done
	case call := <-s.calls:
		call()
		return ErrBusy
	case <-timer.C:
		return ErrBusy
	}
	if s.underway.Load() > 0 || len(s.machine.actions)+len(s.machine.events) > 0 {
		return ErrBusy
	}
	return nil
}

// mark passes on that the mark has come.
func (s *Supervisor) mark(got os.Signal) {
	if got != markSignal {
		return
	}
	select {
	case s.marks <- struct{}{}:
	default: // one is there already
	}
}
