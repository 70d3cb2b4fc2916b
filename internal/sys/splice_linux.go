package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// PipeBytes is the size that RoomyPipe asks for: beyond it a call of splice(2) is no cheaper per byte.
const PipeBytes = 1 << 20

// RoomyPipe is pipe2(2), both ends non-blocking and close-on-exec, with room for PipeBytes if the limits of pipe(7)
// allow it, else with what the kernel gives.
func RoomyPipe() (read, write int, err error) {
	if read, write, err = Pipe(); err == nil {
		_, _, _ = syscall.RawSyscall(unix.SYS_FCNTL, uintptr(write), unix.F_SETPIPE_SZ, PipeBytes)
	}
	return read, write, err
}

// Splice is splice(2) of at most n bytes between a pipe and a descriptor that is not one. It waits for neither. EINTR
// is retried. EAGAIN says that the source is empty or that the target is full, without saying which.
func Splice(to, from, n int) (int, error) {
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n),
			unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), nil
	}
}
