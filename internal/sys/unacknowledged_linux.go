package sys

import "golang.org/x/sys/unix"

// Unacknowledged is how many bytes written to a stream socket its peer's machine has not acknowledged yet: SIOCOUTQ of
// tcp(7). Zero when it cannot be told, and always of a Unix socket: there it would be the memory of what the peer has
// not read, hundreds of bytes for a message of five, and the kernel takes no more than fits into one buffer anyway.
func Unacknowledged(fd int) int64 {
	n, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	if err != nil || n == 0 {
		return 0
	}
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain == unix.AF_UNIX {
		return 0
	}
	return int64(n)
}
