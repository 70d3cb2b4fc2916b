package listen

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/myriad-server/myriad/internal/sys"
)

// Lent makes a group of one socket that is somebody else's, such as a service manager's, which keeps it: whoever serves
// it does so at that one alone, and nobody here ever removes the file of a unix socket. descriptor is non-blocking and
// close-on-exec, and belongs to the group until Open gives it away.
func Lent(s Spec, descriptor int) *Group {
	g := Inherited(s, []int{descriptor})
	g.lent = true
	return g
}

// Lent reports that the socket is somebody else's.
func (g *Group) Lent() bool { return g.lent }

// Adapt gives a socket that somebody else has opened, and listens, the options of s, but for those that it must have
// before it is bound: SO_REUSEPORT, IPV6_V6ONLY, the mode of a file; and the backlog, which is the opener's to choose.
func Adapt(fd int, s Spec) error {
	if err := sys.SetBlocking(fd, false); err != nil {
		return fmt.Errorf("listen on %s: %w", s, os.NewSyscallError("fcntl", err))
	}
	six := !s.unix() && s.Address.Addr().Is6()
	if err := setOptions(fd, s, six, true); err != nil {
		return fmt.Errorf("listen on %s: %w", s, err)
	}
	if s.Network == "unixgram" {
		widen(fd, s.SendBuffer)
	}
	return nil
}

// Named is the network and the address, or the name, of an open socket, as a Spec has them. It fails for what is bound
// to nothing, and for a stream socket that does not listen.
func Named(fd int) (s Spec, err error) {
	bound, err := sys.BoundOf(fd)
	if err != nil {
		return s, err
	}
	switch {
	case bound.Kind == sys.Stream && !bound.Listens:
		return s, fmt.Errorf("it does not listen")
	case bound.Kind != sys.Stream && bound.Kind != sys.Datagram:
		return s, fmt.Errorf("it is neither a stream nor a datagram socket")
	case bound.Family == sys.Unix && bound.Name == "":
		return s, fmt.Errorf("it has no name")
	case bound.Family == sys.Unix:
		return Spec{Network: choose(bound.Kind, "unix", "unixgram"), Name: bound.Name}, nil
	case bound.Family != sys.Inet4 && bound.Family != sys.Inet6:
		return s, fmt.Errorf("it is neither an internet nor a unix socket")
	}
	address, err := sys.LocalAddress(fd)
	if err == nil && address == (netip.AddrPort{}) {
		err = fmt.Errorf("it is bound to nothing")
	}
	return Spec{Network: choose(bound.Kind, "tcp", "udp"), Address: address}, err
}

func choose(kind int, stream, datagram string) string {
	if kind == sys.Stream {
		return stream
	}
	return datagram
}
