package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SendSpace is how many bytes the kernel would take for the peer of a stream socket now; zero until a third of the send
// buffer is free, as poll(2) has it. What the kernel counts is memory (SO_MEMINFO, sock_diag(7)), of which a byte takes
// up to two. It reports false for what is no socket.
func SendSpace(fd int) (space int64, ok bool) {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return 0, false
	}
	queued := int64(max(info[unix.SK_MEMINFO_WMEM_QUEUED], info[unix.SK_MEMINFO_WMEM_ALLOC]))
	free := int64(info[unix.SK_MEMINFO_SNDBUF]) - queued
	if free <= 0 || free < queued/2 {
		return 0, true
	}
	return free / 2, true
}
