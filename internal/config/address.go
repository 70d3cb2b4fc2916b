package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Network is the kind of a listening socket, named as package net names it.
type Network string

// The networks.
const (
	TCP  Network = "tcp"
	UDP  Network = "udp"
	Unix Network = "unix"
)

// Address is where a listener listens. Make one with ParseAddress.
type Address struct {
	Network Network
	// IP is the address of a tcp or udp socket; not valid (the zero Addr) means every address of the machine, over IPv6
	// and IPv4 both.
	IP   netip.Addr
	Port uint16 // 0 takes a free port
	// Path is the file of a unix socket, or "@" and an abstract name.
	Path string

	text string // as it was written
}

// ParseAddress reads an address. A text that is none gives an Address without a Network, which Check reports.
func ParseAddress(text string) Address {
	a, err := parseAddress(text)
	if err != nil {
		return Address{text: text}
	}
	return a
}

// String is the text that the address was read from.
func (a Address) String() string { return a.text }

// MarshalText is String.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.text), nil }

// UnmarshalText reads an address.
func (a *Address) UnmarshalText(text []byte) error {
	value, err := parseAddress(string(text))
	if err == nil {
		*a = value
	}
	return err
}

// Equal reports whether both name the same socket, however they are written.
func (a Address) Equal(b Address) bool {
	a.text, b.text = "", ""
	return a == b
}

// AddrPort is the address and port of a tcp or udp socket: [::] for every address of the machine.
func (a Address) AddrPort() netip.AddrPort {
	ip := a.IP
	if !ip.IsValid() {
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip, a.Port)
}

const addressMend = `write ":8080", "127.0.0.1:8080", "[::1]:8080", "udp://127.0.0.1:9000", "unix:/run/myriad.sock" ` +
	`or "unix:@myriad"`

// longestUnixPath is sun_path without its final zero, unix(7).
const longestUnixPath = 107

func parseAddress(text string) (Address, error) {
	a := Address{Network: TCP, text: text}
	rest := text
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		a.Network, a.Path = Unix, strings.TrimPrefix(path, "//")
		return a, checkUnixPath(a.Path)
	}
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		switch Network(scheme) {
		case TCP, UDP:
			a.Network, rest = Network(scheme), after
		default:
			return a, &mistake{fmt.Sprintf("%q is no network", scheme), addressMend}
		}
	}
	colon := strings.LastIndexByte(rest, ':')
	if colon < 0 {
		if _, err := netip.ParseAddr(rest); err == nil {
			return a, &mistake{fmt.Sprintf("%q has no port", text), fmt.Sprintf("did you mean %q?", rest+":8080")}
		}
		if _, err := strconv.ParseUint(rest, 10, 16); err == nil {
			return a, &mistake{fmt.Sprintf("%q is only a port", text), fmt.Sprintf("did you mean %q?", ":"+rest)}
		}
		return a, &mistake{fmt.Sprintf("%q is not an address", text), addressMend}
	}
	port, err := strconv.ParseUint(rest[colon+1:], 10, 16)
	if err != nil {
		return a, &mistake{fmt.Sprintf("%q is not a port", rest[colon+1:]), "write a number from 0 to 65535"}
	}
	a.Port = uint16(port)
	a.IP, err = parseHost(rest[:colon])
	return a, err
}

func parseHost(host string) (netip.Addr, error) {
	switch host {
	case "", "*":
		return netip.Addr{}, nil
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	inner = strings.TrimSuffix(inner, "]")
	ip, err := netip.ParseAddr(inner)
	if err != nil {
		mend := "write an IP address; names are not looked up here"
		return ip, &mistake{fmt.Sprintf("%q is not an IP address", host), mend}
	}
	if ip.Is6() != bracketed || bracketed && !strings.HasSuffix(host, "]") {
		mend := `write IPv6 in brackets, as in "[::1]:8080", and IPv4 without, as in "127.0.0.1:8080"`
		return ip, &mistake{fmt.Sprintf("%q cannot be told from its port", host), mend}
	}
	return ip, nil
}

func checkUnixPath(path string) error {
	switch {
	case path == "" || path == "@":
		return &mistake{"the socket has no name", `write "unix:/run/myriad.sock" or "unix:@myriad"`}
	case len(path) > longestUnixPath:
		message := fmt.Sprintf("the socket's name has %d bytes, the kernel takes %d", len(path), longestUnixPath)
		return &mistake{message, "write a shorter one"}
	case strings.ContainsRune(path, 0):
		return &mistake{"the socket's name holds a zero byte", `write "unix:@myriad" for an abstract name`}
	default:
		return nil
	}
}
