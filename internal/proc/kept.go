package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// KeptChild is a child as its parent writes it down before it goes on as another program in the same process
// (execve(2)): the numbers of its descriptors, which stay.
type KeptChild struct {
	PID     int `json:"pid"`
	Process int `json:"process"` // the pidfd
	Life    int `json:"life"`
	Control int `json:"control"`
	// Began is when the child was started, by the clock of Now.
	Began time.Duration `json:"began_ns"`
}

// Descriptors are those that must outlive execve(2).
func (k KeptChild) Descriptors() []int { return []int{k.Process, k.Life, k.Control} }

// Kept writes a child down that has said that it is ready.
func (c *Child) Kept() (k KeptChild, err error) {
	k = KeptChild{PID: c.pid, Began: Now() - time.Since(c.began)}
	for _, of := range []struct {
		file *os.File
		fd   *int
	}{{c.process, &k.Process}, {c.life, &k.Life}, {c.control.file, &k.Control}} {
		raw, err := of.file.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { *of.fd = int(fd) })
		}
		if err != nil {
			return k, fmt.Errorf("process %d cannot be kept: %w", c.pid, err)
		}
	}
	return k, nil
}

// AdoptChild is the child that this process had before it was this program. It owns the descriptors, whatever it
// returns; they become close-on-exec. Of a child that has ended and was reaped just before, how it ended is lost.
func AdoptChild(k KeptChild) (*Child, error) {
	control, err := NewChannel(k.Control)
	for _, fd := range k.Descriptors() {
		err = errors.Join(err, sys.SetCloseOnExec(fd))
	}
	child := &Child{
		pid: k.PID, process: os.NewFile(uintptr(k.Process), "pidfd"), life: os.NewFile(uintptr(k.Life), lifeName),
		control: control, began: time.Now().Add(k.Began - Now()), said: make(chan error, 1), died: make(chan struct{}),
	}
	if err == nil {
		child.raw, err = child.process.SyscallConn()
	}
	if err != nil {
		return nil, fmt.Errorf("process %d is no child of this one any more: %w", k.PID, err)
	}
	child.said <- nil
	close(child.said)
	go child.watch()
	return child, nil
}

// Exec goes on as another program in this process (execve(2)), which has the descriptors of keep besides the standard
// ones. Signals of held that come before that program asks for them wait for it. quiet is called when none comes any
// more, before the point of no return. It returns with an error alone, and then everything is as before.
func Exec(path string, args, env []string, keep []int, held []os.Signal, quiet func() error) error {
	undo, err := sys.BlockEverywhere(signalSet(held))
	if err != nil {
		return os.NewSyscallError("rt_sigprocmask", err)
	}
	defer undo()
	if err := quiet(); err != nil {
		return err
	}
	return &os.PathError{Op: "execve", Path: path, Err: sys.Exec(path, args, env, keep)}
}

func signalSet(signals []os.Signal) (set sys.SignalSet) {
	for _, s := range signals {
		if number, ok := s.(syscall.Signal); ok {
			set |= sys.Signals(int(number))
		}
	}
	return set
}

// ReleaseSignals has the children that are started from now on not inherit that Exec has held back signals, in the
// program that it goes on as.
func ReleaseSignals(held []os.Signal) { released.Store(uint64(signalSet(held))) }

// released are the signals that this process was started with held back; see ReleaseSignals.
var released atomic.Uint64

// spawn is sys.Spawn from a thread that holds nothing back.
func spawn(c sys.ChildSpec) (pid, pidfd int, err error) {
	if set := sys.SignalSet(released.Load()); set != 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := sys.UnblockHere(set); err != nil {
			return 0, -1, os.NewSyscallError("rt_sigprocmask", err)
		}
	}
	return sys.Spawn(c)
}
