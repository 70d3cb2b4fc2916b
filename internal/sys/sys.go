// Package sys is the one place with unsafe and raw system calls. Everything in it
// is a thin, checked form of what the manual pages describe; no policy lives here.
//
// Two ways lead into the kernel. Calls that cannot block (a receive on a
// non-blocking socket) go through RawSyscall, which leaves the scheduler out and
// is some 80 ns cheaper. Calls that may block go through Syscall, unless their
// wait is bounded to a few milliseconds and SafePoint follows. An address is turned
// into a number in the call expression itself, as package unsafe demands: a helper
// in between would let the stack move under the kernel.
package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// SafePoint is a place where the collector and the scheduler can stop the
// calling goroutine. A loop that waits in RawSyscall must pass here after every
// wait: the assembly of a raw call and the functions inlined around it have no
// such place, and a collection would wait for ever.
//
//go:noinline
func SafePoint() {
	// A function that is not inlined and not a leaf has a stack check at its
	// entry, and that is the point.
	safePoint(0)
}

//go:noinline
func safePoint(n int) int {
	var room [64]byte
	room[n&63] = 1
	return int(room[0])
}

// Map returns n bytes of anonymous memory outside the Go heap, zeroed and
// page-aligned. It is never given back; see Unmap.
func Map(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

// Unmap gives memory of Map back.
func Unmap(b []byte) error { return unix.Munmap(b) }

// Gettid is the id of the calling thread.
func Gettid() int { return unix.Gettid() }

// first is the address of the first byte, or nil.
func first(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
