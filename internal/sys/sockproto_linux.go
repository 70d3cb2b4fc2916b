package sys

import (
	"strings"

	"golang.org/x/sys/unix"
)

// SocketProtocol is what kind of socket an entry of /proc/PID/fd is: "TCP", "TCPv6", "UNIX-STREAM". The kernel tells it
// as the attribute system.sockprotoname (getxattr(2)), also of sockets that are in no list any more.
func SocketProtocol(file string) (string, error) {
	name := make([]byte, 64)
	n, err := unix.Getxattr(file, "system.sockprotoname", name)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(name[:n]), "\x00"), nil
}
