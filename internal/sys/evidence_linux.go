package sys

import "golang.org/x/sys/unix"

// Ends is what the kernel knows of how far a TCP connection came; see TCP_INFO in tcp(7).
type Ends struct {
	// Acknowledged counts what the peer has acknowledged since the connection began, the handshake included.
	Acknowledged uint64
	// Received counts what came in order. The peer's end counts as one byte.
	Received uint64
	// Over says that the connection is gone: by a reset, by a timeout, or in order.
	Over bool
}

const tcpClose = 7 // TCP_CLOSE

// EndsOf asks for the ends of a TCP socket.
func EndsOf(fd int) (Ends, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return Ends{}, err
	}
	return Ends{Acknowledged: info.Bytes_acked, Received: info.Bytes_received, Over: info.State == tcpClose}, nil
}

// TakeError is SO_ERROR of socket(7): what went wrong with a socket and was not told yet. Asking clears it.
func TakeError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	return errno(unix.Errno(n))
}
