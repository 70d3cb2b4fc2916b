package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of a Ring that a client needs besides those of a server.
const (
	RingSocket = 45
	RingBind   = 56
)

// Linked makes the next Submission wait until this one has succeeded; when it fails those that are linked behind it
// are cancelled. If it is also SkipSuccess, the only outcome of such a chain is that of the one that failed.
const Linked = 1 << 2

// SocketDirect makes a socket (socket(2)) in a slot of the ring's table.
func (s *Submission) SocketDirect(family, kind, slot int, user uint64) {
	*s = Submission{
		Opcode: RingSocket, FD: int32(family), Off: uint64(kind), FileIndex: uint32(slot) + 1, UserData: user,
	}
}

// BindDirect binds the socket in a slot to a raw socket address, which is copied. s must be the entry taken last
// with Next.
func (r *Ring) BindDirect(s *Submission, slot int, addr []byte, user uint64) {
	a := r.annex()
	n := copy(a.address[:], addr)
	*s = Submission{
		Opcode: RingBind, Flags: FixedFile, FD: int32(slot), Addr: uint64(uintptr(unsafe.Pointer(&a.address))),
		Off: uint64(n), UserData: user,
	}
}

// RecvInto receives into p, which must stay where it is until the outcome.
func (s *Submission) RecvInto(fd int, p []byte, flags int, user uint64) {
	*s = Submission{
		Opcode: RingRecv, FD: int32(fd), Addr: uint64(uintptr(first(p))), Len: uint32(len(p)),
		OpFlags: uint32(flags), UserData: user,
	}
}

// EnterMany submits and waits until there are least outcomes or ns nanoseconds have passed, which is ETIME. The wait
// goes past the scheduler, so ns must not be more than a few milliseconds.
func (r *Ring) EnterMany(least int, ns int64) error {
	r.scratch.timeout = [2]int64{ns / 1e9, ns % 1e9}
	_, _, e := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, r.enterFD, r.show(), uintptr(least),
		r.enterFlags|enterExtent, uintptr(unsafe.Pointer(&r.scratch.extent)), unsafe.Sizeof(ringExtent{}))
	SafePoint()
	return errno(e)
}
