package sys

import (
	"errors"
	"fmt"
)

const censusAttempts = 3

// Established counts the established TCP connections over IPv4 of the whole network namespace with a local port, or
// with a remote one; 0 stands for any. The kernel lists its sockets for it (sock_diag(7)), so both ends of a
// connection within the machine count, each for its own ports.
func Established(localPort, remotePort uint16) (int, error) {
	q := SocketQuery{
		Family: Inet4, Protocol: ProtocolTCP, States: StateEstablished, LocalPort: localPort, RemotePort: remotePort,
	}
	for range censusAttempts {
		count := 0
		err := Diagnose(q.encode(), func([]byte) { count++ })
		if !errors.Is(err, ErrSocketsChanged) {
			return count, err
		}
	}
	return 0, fmt.Errorf("counted %d times: %w", censusAttempts, ErrSocketsChanged)
}
