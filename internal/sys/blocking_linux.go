package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Await is one descriptor of AwaitAny and the conditions that are waited for.
// It has the layout of struct pollfd; a negative FD is passed over.
type Await struct {
	FD    int32
	Want  int16
	Found int16
}

// Conditions of Await; see poll(2). Failed and HungUp are found without being wanted.
const (
	Readable = unix.POLLIN
	Writable = unix.POLLOUT
	Failed   = unix.POLLERR
	HungUp   = unix.POLLHUP
)

// AwaitAny is ppoll(2) by which the calling thread really blocks: until a condition
// holds or ns nanoseconds have passed (ns < 0: for ever). It returns how many of list
// have something in Found. A signal ends it early with none.
func AwaitAny(list []Await, ns int64) (int, error) {
	var limit unix.Timespec
	var until *unix.Timespec
	if ns >= 0 {
		limit = unix.NsecToTimespec(ns)
		until = &limit
	}
	n, _, e := syscall.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(list))), uintptr(len(list)),
		uintptr(unsafe.Pointer(until)), 0, 0, 0)
	if e == syscall.EINTR {
		for i := range list {
			list[i].Found = 0
		}
		return 0, nil
	}
	return int(n), errno(e)
}

// IsReady reports whether a condition holds for a descriptor now, or it would answer with
// an error. It does not block.
func IsReady(fd int, want int16) bool {
	list := [1]Await{{FD: int32(fd), Want: want}}
	var none unix.Timespec
	n, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&list)), 1,
		uintptr(unsafe.Pointer(&none)), 0, 0, 0)
	return e == 0 && n == 1
}

// ChangeMode is fchmod(2). On a socket that is not bound yet, it is the mode of the
// file that bind(2) makes for it, less the process's umask.
func ChangeMode(fd int, mode uint32) error { return unix.Fchmod(fd, mode) }

// SendFileSlowly is SendFile for threads that may block: the disk may have to be read,
// which no non-blocking descriptor avoids.
func SendFileSlowly(fd, from int, off int64, n int) (int, error) {
	for {
		at := off
		r, _, e := syscall.Syscall6(unix.SYS_SENDFILE, uintptr(fd), uintptr(from), uintptr(unsafe.Pointer(&at)),
			uintptr(n), 0, 0)
		if e == syscall.EINTR {
			continue
		}
		return int(r), errno(e)
	}
}
