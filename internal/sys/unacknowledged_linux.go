package sys

import "golang.org/x/sys/unix"

// Unacknowledged is how many bytes written to a stream socket its peer's machine has not acknowledged yet: SIOCOUTQ of
// tcp(7). Of a Unix socket it is about the memory of what the peer has not read. Zero when it cannot be told.
func Unacknowledged(fd int) int64 {
	n, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	if err != nil {
		return 0
	}
	return int64(n)
}
