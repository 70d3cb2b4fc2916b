package sys

import "golang.org/x/sys/unix"

// SetLinger sets SO_LINGER: close waits for up to the given seconds, and with zero sends a reset instead of a FIN.
func SetLinger(fd, seconds int) error {
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(seconds)})
}
