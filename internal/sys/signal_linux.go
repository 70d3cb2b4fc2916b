package sys

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SignalSet is a set of signals as the kernel has it; bit n-1 stands for signal n.
type SignalSet uint64

// signalSetBytes is the size of a SignalSet, which the raw calls want to be told.
const signalSetBytes = 8

// Signals makes a set.
func Signals(numbers ...int) (set SignalSet) {
	for _, n := range numbers {
		set |= 1 << (n - 1)
	}
	return set
}

// Signals that tell of descriptors. Numbers below 35 belong to the C library.
const (
	SignalIO    = int(unix.SIGIO) // the queue of real-time signals was full
	SignalFirst = 35              // the first real-time signal that nobody else uses
	SignalLast  = 64
)

// BlockSignals adds set to the mask of the calling thread, which must stay locked
// to its goroutine, and returns the mask as it was.
func BlockSignals(set SignalSet) (old SignalSet, err error) {
	_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&set)),
		uintptr(unsafe.Pointer(&old)), signalSetBytes, 0, 0)
	return old, errno(e)
}

// RestoreSignals sets the mask of the calling thread.
func RestoreSignals(mask SignalSet) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&mask)),
		0, signalSetBytes, 0, 0)
	return errno(e)
}

// SignalInfo is siginfo_t as it is for signals of descriptors.
type SignalInfo struct {
	Signal int32
	_      int32
	Code   int32 // one of the Signal codes for a descriptor, something else otherwise
	_      int32
	Band   int64 // events of poll(2)
	FD     int32
	_      [100]byte
}

// Codes of SignalInfo; see sigaction(2).
const (
	SignalIn     = 1 // POLL_IN
	SignalOut    = 2 // POLL_OUT
	SignalMsg    = 3 // POLL_MSG
	SignalError  = 4 // POLL_ERR
	SignalUrgent = 5 // POLL_PRI
	SignalHup    = 6 // POLL_HUP
)

// SignalWait is rt_sigtimedwait(2): it takes one pending signal of set, which must
// be blocked, and waits at most d for it; d < 0 waits for ever. Without a signal it
// returns EAGAIN; EINTR is returned.
func SignalWait(set SignalSet, info *SignalInfo, d time.Duration) (int, error) {
	limit := unix.NsecToTimespec(max(0, d.Nanoseconds()))
	if d < 0 {
		n, _, e := syscall.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)),
			uintptr(unsafe.Pointer(info)), 0, signalSetBytes, 0, 0)
		return waited(n, e)
	}
	if !brief(d) {
		n, _, e := syscall.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)),
			uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&limit)), signalSetBytes, 0, 0)
		return waited(n, e)
	}
	n, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)),
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&limit)), signalSetBytes, 0, 0)
	if d > 0 {
		SafePoint()
	}
	return waited(n, e)
}

// ownerThread is struct f_owner_ex with F_OWNER_TID.
type ownerThread struct{ kind, thread int32 }

// SignalArm has the kernel queue a signal to a thread whenever something happens to
// fd, which becomes or stays non-blocking. What happened before is not told.
func SignalArm(fd, signal, thread int) error {
	const setSignal, setOwner, thisThread = 10, 15, 0 // F_SETSIG, F_SETOWN_EX, F_OWNER_TID
	owner := ownerThread{kind: thisThread, thread: int32(thread)}
	_, _, e := syscall.RawSyscall6(unix.SYS_FCNTL, uintptr(fd), setOwner, uintptr(unsafe.Pointer(&owner)), 0, 0, 0)
	if e != 0 {
		return e
	}
	_, _, e = syscall.RawSyscall6(unix.SYS_FCNTL, uintptr(fd), setSignal, uintptr(signal), 0, 0, 0)
	if e != 0 {
		return e
	}
	_, _, e = syscall.RawSyscall6(unix.SYS_FCNTL, uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK|unix.O_ASYNC, 0, 0, 0)
	return errno(e)
}

// SignalDisarm ends the signals of fd, which stays non-blocking.
func SignalDisarm(fd int) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_FCNTL, uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK, 0, 0, 0)
	return errno(e)
}

// UnixDatagram tells whether fd is a Unix socket of messages. When the queue of its
// peer has room again, the kernel wakes who polls, but signals nobody.
func UnixDatagram(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_UNIX {
		return false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind != unix.SOCK_STREAM
}
