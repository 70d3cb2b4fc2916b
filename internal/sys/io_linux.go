package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of Send, as in send(2).
const (
	MsgMore     = unix.MSG_MORE
	MsgNoSignal = unix.MSG_NOSIGNAL
	MsgDontWait = unix.MSG_DONTWAIT
	MsgWaitAll  = unix.MSG_WAITALL
	MsgPeek     = unix.MSG_PEEK
)

// errno turns zero into nil.
func errno(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// Recv is recv(2) on a non-blocking descriptor. EINTR is retried.
func Recv(fd int, p []byte, flags int) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(first(p)), uintptr(len(p)),
			uintptr(flags), 0, 0)
		if e == syscall.EINTR {
			continue
		}
		return int(n), errno(e)
	}
}

// Send is send(2) with MSG_NOSIGNAL on a non-blocking descriptor. EINTR is retried.
func Send(fd int, p []byte, flags int) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(first(p)), uintptr(len(p)),
			uintptr(flags|MsgNoSignal), 0, 0)
		if e == syscall.EINTR {
			continue
		}
		return int(n), errno(e)
	}
}

// SendVector is sendmsg(2) with MSG_NOSIGNAL of head and rest, at most 15 pieces
// of rest, on a non-blocking descriptor. EINTR is retried.
func SendVector(fd int, head []byte, rest [][]byte, flags int) (int, error) {
	var vector [16]unix.Iovec
	k := 0
	add := func(p []byte) {
		if len(p) == 0 || k == len(vector) {
			return
		}
		vector[k].Base = unsafe.SliceData(p)
		vector[k].SetLen(len(p))
		k++
	}
	add(head)
	for _, p := range rest {
		add(p)
	}
	var m unix.Msghdr
	m.Iov = &vector[0]
	m.SetIovlen(k)
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)),
			uintptr(flags|MsgNoSignal), 0, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		runtime.KeepAlive(rest)
		return int(n), errno(e)
	}
}

// SendFile is sendfile(2) to a non-blocking descriptor from a regular file at
// off. EINTR is retried. Zero bytes without an error is the file's end.
func SendFile(fd, from int, off int64, n int) (int, error) {
	for {
		at := off
		r, _, e := syscall.RawSyscall6(unix.SYS_SENDFILE, uintptr(fd), uintptr(from), uintptr(unsafe.Pointer(&at)),
			uintptr(n), 0, 0)
		if e == syscall.EINTR {
			continue
		}
		return int(r), errno(e)
	}
}

// SendTo is sendto(2) with MSG_NOSIGNAL on a non-blocking descriptor; addr is a
// raw socket address, empty for a connected socket. EINTR is retried. Where it
// would have to wait for the Unix socket of that name, the error is ENOBUFS.
func SendTo(fd int, p, addr []byte) (int, error) {
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(first(p)), uintptr(len(p)), MsgNoSignal,
			uintptr(first(addr)), uintptr(len(addr)))
		if e == syscall.EINTR {
			continue
		}
		return int(r), unixFull(errno(e), addr)
	}
}

// Close is close(2). The descriptor is gone whatever it returns.
func Close(fd int) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0, 0, 0)
	return errno(e)
}

// Shutdown is shutdown(2): how is 0 for reading, 1 for writing, 2 for both.
func Shutdown(fd, how int) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0, 0, 0, 0)
	return errno(e)
}

// Eventfd makes a non-blocking eventfd(2).
func Eventfd() (int, error) { return unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC) }

// Notify adds one to an eventfd. A full counter is as good as a notification.
func Notify(fd int) error {
	one := uint64(1)
	_, _, e := syscall.RawSyscall6(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8, 0, 0, 0)
	if e == syscall.EAGAIN {
		return nil
	}
	return errno(e)
}

// Quiet resets an eventfd.
func Quiet(fd int) {
	var n uint64
	_, _, _ = syscall.RawSyscall6(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&n)), 8, 0, 0, 0)
}

// RaiseDescriptors raises the soft limit on descriptors to the hard one and
// returns both as they are then.
func RaiseDescriptors() (soft, hard uint64, err error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, 0, err
	}
	if l.Cur < l.Max {
		l.Cur = l.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return 0, 0, err
		}
	}
	return l.Cur, l.Max, nil
}

// Limit reads a resource limit (unix.RLIMIT_...).
func Limit(resource int) (soft, hard uint64, err error) {
	var l unix.Rlimit
	err = unix.Getrlimit(resource, &l)
	return l.Cur, l.Max, err
}

// The resources of Limit and SetLimit.
const (
	LimitDescriptors = unix.RLIMIT_NOFILE
	LimitSignals     = unix.RLIMIT_SIGPENDING
	LimitMemory      = unix.RLIMIT_AS
)

// SetLimit sets a resource limit for the process.
func SetLimit(resource int, soft, hard uint64) error {
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: soft, Max: hard})
}
