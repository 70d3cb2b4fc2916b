package sys

import "golang.org/x/sys/unix"

// SocketPair is socketpair(2) of two connected Unix sockets, both non-blocking and
// close-on-exec.
func SocketPair(kind int) (a, b int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return pair[0], pair[1], err
}

// Pipe is pipe2(2), both ends non-blocking and close-on-exec.
func Pipe() (read, write int, err error) {
	var ends [2]int
	err = unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC)
	return ends[0], ends[1], err
}

// MsgUrgent is the flag of Send for TCP's urgent byte; see tcp(7).
const MsgUrgent = unix.MSG_OOB

// OpenRead is open(2) of a file for reading, close-on-exec.
func OpenRead(name string) (int, error) { return unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0) }

// SendDescriptor sends p over a Unix socket with copies of descriptors, at most MostDescriptors; see unix(7) on
// SCM_RIGHTS.
func SendDescriptor(fd int, p []byte, passed ...int) error {
	var control []byte
	if len(passed) > 0 {
		control = unix.UnixRights(passed...)
	}
	return unix.Sendmsg(fd, p, control, nil, unix.MSG_NOSIGNAL)
}
