package sys

import (
	"math"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BriefWait is the longest wait that goes through RawSyscall. The scheduler does
// not hear of such a wait, which saves it two switches per wake, and a collection
// waits for it at most this long; SafePoint follows each of them.
const BriefWait = 2 * time.Millisecond

// brief tells whether a wait of d is short enough for RawSyscall; d < 0 is for ever.
func brief(d time.Duration) bool { return d >= 0 && d <= BriefWait }

// waited turns the outcome of a waiting call into a count. EINTR is handed up: the
// caller looks at the clock and decides.
func waited(n uintptr, e syscall.Errno) (int, error) {
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// EpollEvent is struct epoll_event with a descriptor as its data.
type EpollEvent = unix.EpollEvent

// Events and operations of epoll; see epoll_ctl(2).
const (
	EpollIn      = unix.EPOLLIN
	EpollOut     = unix.EPOLLOUT
	EpollUrgent  = unix.EPOLLPRI
	EpollError   = unix.EPOLLERR
	EpollHup     = unix.EPOLLHUP
	EpollReadHup = unix.EPOLLRDHUP
	EpollEdge    = unix.EPOLLET

	EpollAdd    = unix.EPOLL_CTL_ADD
	EpollModify = unix.EPOLL_CTL_MOD
	EpollDelete = unix.EPOLL_CTL_DEL
)

// Epoll makes an epoll(7) instance, close-on-exec.
func Epoll() (int, error) { return unix.EpollCreate1(unix.EPOLL_CLOEXEC) }

// EpollControl is epoll_ctl(2); events has EpollEdge or not.
func EpollControl(epoll, operation, fd int, events uint32) error {
	event := EpollEvent{Events: events, Fd: int32(fd)}
	_, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(operation), uintptr(fd),
		uintptr(unsafe.Pointer(&event)), 0, 0)
	return errno(e)
}

// EpollWait is epoll_pwait(2) for at most d, rounded up to milliseconds; d < 0
// waits for ever. EINTR is returned.
func EpollWait(epoll int, dst []EpollEvent, d time.Duration) (int, error) {
	milliseconds := -1
	if d >= 0 {
		milliseconds = int(min((d+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
	}
	if !brief(d) {
		n, _, e := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(dst))),
			uintptr(len(dst)), uintptr(milliseconds), 0, 0)
		return waited(n, e)
	}
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(dst))),
		uintptr(len(dst)), uintptr(milliseconds), 0, 0)
	if d > 0 {
		SafePoint()
	}
	return waited(n, e)
}

// PollEntry is struct pollfd.
type PollEntry = unix.PollFd

// Events of poll besides PollIn and PollOut; see poll(2).
const (
	PollError   = unix.POLLERR
	PollHup     = unix.POLLHUP
	PollInvalid = unix.POLLNVAL
	PollReadHup = unix.POLLRDHUP
)

// Poll is ppoll(2) for at most d; d < 0 waits for ever. EINTR is returned, and
// EINVAL when there are more entries than RLIMIT_NOFILE.
func Poll(entries []PollEntry, d time.Duration) (int, error) {
	limit := unix.NsecToTimespec(max(0, d.Nanoseconds()))
	if d < 0 {
		n, _, e := syscall.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(entries))),
			uintptr(len(entries)), 0, 0, 0, 0)
		return waited(n, e)
	}
	if !brief(d) {
		n, _, e := syscall.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(entries))),
			uintptr(len(entries)), uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
		return waited(n, e)
	}
	n, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(entries))),
		uintptr(len(entries)), uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if d > 0 {
		SafePoint()
	}
	return waited(n, e)
}

// Select is pselect6(2) on the first n descriptors of two bit sets, which must
// each have a bit for every one of them, for at most d; d < 0 waits for ever. The
// call itself knows no FD_SETSIZE. EINTR is returned.
func Select(n int, read, write []uint64, d time.Duration) (int, error) {
	limit := unix.NsecToTimespec(max(0, d.Nanoseconds()))
	if d < 0 {
		r, _, e := syscall.Syscall6(unix.SYS_PSELECT6, uintptr(n), uintptr(unsafe.Pointer(unsafe.SliceData(read))),
			uintptr(unsafe.Pointer(unsafe.SliceData(write))), 0, 0, 0)
		return waited(r, e)
	}
	if !brief(d) {
		r, _, e := syscall.Syscall6(unix.SYS_PSELECT6, uintptr(n), uintptr(unsafe.Pointer(unsafe.SliceData(read))),
			uintptr(unsafe.Pointer(unsafe.SliceData(write))), 0, uintptr(unsafe.Pointer(&limit)), 0)
		return waited(r, e)
	}
	r, _, e := syscall.RawSyscall6(unix.SYS_PSELECT6, uintptr(n), uintptr(unsafe.Pointer(unsafe.SliceData(read))),
		uintptr(unsafe.Pointer(unsafe.SliceData(write))), 0, uintptr(unsafe.Pointer(&limit)), 0)
	if d > 0 {
		SafePoint()
	}
	return waited(r, e)
}

// TCPSocket tells whether fd is a socket of TCP, in which a short read means that
// nothing is left. It does not in a datagram socket, nor in a Unix one, where
// descriptors that the peer passes cut a read short.
func TCPSocket(fd int) bool {
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return err == nil && protocol == unix.IPPROTO_TCP
}
