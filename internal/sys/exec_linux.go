package sys

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Exec is execve(2): another program goes on in this process, with the descriptors of keep and the standard ones. It
// returns with an error alone; then the descriptors are close-on-exec again.
func Exec(path string, args, env []string, keep []int) (err error) {
	syscall.ForkLock.Lock() // no child is started while it would inherit them
	defer syscall.ForkLock.Unlock()
	for _, fd := range keep {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			break
		}
	}
	if err == nil {
		err = syscall.Exec(path, args, env)
	}
	for _, fd := range keep {
		_ = SetCloseOnExec(fd) // it is open, or else it was the error
	}
	return err
}

// BlockEverywhere adds signals to the masks of all threads, and returns what undoes it; the caller's goroutine stays on
// its thread until then. The mask of the calling thread is what outlives execve(2). Where the C library makes threads
// that Go does not know of, that one alone is changed.
func BlockEverywhere(set SignalSet) (undo func(), err error) {
	runtime.LockOSThread()
	if err := maskEverywhere(unix.SIG_BLOCK, set); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return func() {
		_ = maskEverywhere(unix.SIG_UNBLOCK, set) // it has the arguments of the call that went well
		runtime.UnlockOSThread()
	}, nil
}

// UnblockHere removes signals from the mask of the calling thread, which a process that is forked from it inherits.
func UnblockHere(set SignalSet) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, uintptr(unsafe.Pointer(&set)), 0,
		signalSetBytes, 0, 0)
	return errno(e)
}

func maskEverywhere(how uintptr, set SignalSet) error {
	held := new(SignalSet) // on the heap: the threads read it from their own stacks' side
	*held = set
	_, _, e := syscall.AllThreadsSyscall6(unix.SYS_RT_SIGPROCMASK, how, uintptr(unsafe.Pointer(held)), 0, signalSetBytes,
		0, 0)
	if errors.Is(e, syscall.ENOTSUP) {
		_, _, e = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, how, uintptr(unsafe.Pointer(held)), 0, signalSetBytes, 0, 0)
	}
	runtime.KeepAlive(held)
	return errno(e)
}

// SignalSelf is kill(2) of this process itself.
func SignalSelf(signal syscall.Signal) error { return unix.Kill(unix.Getpid(), signal) }
