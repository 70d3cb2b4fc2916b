// Package listen opens listening sockets from a description, and puts what went wrong into words that name the
// address and the mend.
//
// Options of connections (nodelay, keepalive, user timeout, buffer sizes) are set on the listening socket: Linux hands
// them down to what it accepts, so a connection costs no system call for them.
package listen

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Spec describes a listening socket. The zero value of an option leaves it as the kernel has it.
type Spec struct {
	// Network is "tcp", "udp", "unix" (a stream socket) or "unixgram" (a datagram socket with the name of a unix one).
	Network string
	// Address is that of a tcp or udp socket; port 0 takes a free one. [::] without V6Only is IPv4 too, and IPv4 alone
	// where there is no IPv6.
	Address netip.AddrPort
	// Name is that of a unix or unixgram socket: the path of its file, or "@" and an abstract name.
	Name string
	// Backlog is how many complete connections wait to be accepted; 1,024 if zero. The kernel cuts it to
	// net.core.somaxconn.
	Backlog int
	// SendBuffer and ReceiveBuffer are the bytes of the socket's buffers (SO_SNDBUF, SO_RCVBUF). The kernel then stops
	// fitting them to the path. The send buffer of a unixgram socket holds what its peers have not read, 4 MiB if zero.
	SendBuffer, ReceiveBuffer int
	// NoDelay sends at once instead of waiting for a full segment (TCP_NODELAY).
	NoDelay bool
	// KeepAlive is the kernel's probing of silent connections.
	KeepAlive KeepAlive
	// UserTimeout is how long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT), in milliseconds' steps.
	UserTimeout time.Duration
	// DeferAccept is how long the kernel waits for a first byte before a connection is accepted (TCP_DEFER_ACCEPT),
	// in seconds' steps.
	DeferAccept time.Duration
	// FastOpen is how many connections at a time may bring data with their first packet (TCP_FASTOPEN).
	FastOpen int
	// Congestion is the congestion control of accepted connections (TCP_CONGESTION); empty leaves the kernel's default.
	Congestion string
	// ReusePort lets several sockets share the address (SO_REUSEPORT).
	ReusePort bool
	// V6Only keeps IPv4 off an IPv6 socket (IPV6_V6ONLY).
	V6Only bool
	// Mode is that of the file of a unix socket; 0666 less the umask if zero.
	Mode fs.FileMode
}

// KeepAlive is the kernel's probing of silent connections; see tcp(7). Durations go in seconds' steps.
type KeepAlive struct {
	On       bool
	Idle     time.Duration // silence before the first probe (TCP_KEEPIDLE)
	Interval time.Duration // between two probes (TCP_KEEPINTVL)
	Count    int           // probes without an answer before the connection is given up (TCP_KEEPCNT)
}

// unix reports that the socket has a name and no address.
func (s Spec) unix() bool { return s.Network == "unix" || s.Network == "unixgram" }

// stream reports that the socket takes connections.
func (s Spec) stream() bool { return s.Network == "tcp" || s.Network == "unix" }

// String is the address in the form that Parse reads.
func (s Spec) String() string {
	switch s.Network {
	case "unix", "unixgram":
		return "unix:" + s.Name
	case "udp":
		return "udp://" + s.Address.String()
	}
	return s.Address.String()
}

// Parse reads "host:port", ":port" (every address of the machine), "[::]:80", each also behind "tcp://" or "udp://", and
// "unix:/path" or "unix:@abstract", which is a stream socket. The host is an IP address or "localhost", which is
// 127.0.0.1; no name is looked up.
func Parse(address string) (Spec, error) {
	if name, ok := strings.CutPrefix(address, "unix:"); ok {
		name = strings.TrimPrefix(name, "//")
		if name == "" || name == "@" {
			return Spec{}, fmt.Errorf("address %q has no name: write unix:/run/name.sock or unix:@name", address)
		}
		return Spec{Network: "unix", Name: name}, nil
	}
	s := Spec{Network: "tcp"}
	rest := address
	if network, after, ok := strings.Cut(address, "://"); ok {
		if network != "tcp" && network != "udp" {
			return Spec{}, fmt.Errorf("address %q: %q is no network, write tcp://, udp:// or unix:/path", address, network)
		}
		s.Network, rest = network, after
	}
	colon := strings.LastIndexByte(rest, ':')
	if colon < 0 {
		return Spec{}, fmt.Errorf("address %q has no port: write host:port, such as 127.0.0.1:8080", address)
	}
	port, err := strconv.ParseUint(rest[colon+1:], 10, 16)
	if err != nil {
		return Spec{}, fmt.Errorf("address %q: the port %q is not a number from 0 to 65535", address, rest[colon+1:])
	}
	ip, err := parseHost(rest[:colon])
	if err != nil {
		return Spec{}, fmt.Errorf("address %q: %w", address, err)
	}
	s.Address = netip.AddrPortFrom(ip, uint16(port))
	return s, nil
}

func parseHost(host string) (netip.Addr, error) {
	switch host {
	case "", "*":
		return netip.IPv6Unspecified(), nil
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	inner := host
	if bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]"); bracketed {
		inner = host[1 : len(host)-1]
	} else if strings.Contains(host, ":") {
		return netip.Addr{}, fmt.Errorf("IPv6 goes in brackets, such as [::1]:8080")
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address, and names are not looked up", host)
	}
	return ip, nil
}
