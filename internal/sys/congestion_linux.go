package sys

import "golang.org/x/sys/unix"

// SetCongestion is TCP_CONGESTION of tcp(7): the name of a congestion control, which accepted connections inherit.
func SetCongestion(fd int, name string) error {
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
}

// Congestion reads TCP_CONGESTION.
func Congestion(fd int) (string, error) {
	return unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
}
