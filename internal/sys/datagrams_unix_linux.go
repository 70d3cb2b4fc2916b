package sys

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Unix socket has a name where others have an address and a port. Whoever handles datagrams need not know two kinds
// of peers: the name stands in a netip.AddrPort, as the zone of the address ::, which no datagram comes from and which
// has no zone otherwise, with port 0. It takes no more room than others, and is compared and hashed as fast.

// nameBytes is sun_path, see unix(7).
const nameBytes = 108

// UnixPeer is the address that stands for the name of a Unix socket: a path, or "@" and an abstract name.
func UnixPeer(name string) netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv6Unspecified().WithZone(name), 0)
}

// UnixName is the name that an address stands for, and empty for all others.
func UnixName(a netip.AddrPort) string {
	zone := a.Addr().Zone()
	if zone == "" || a.Port() != 0 || a.Addr().WithZone("") != netip.IPv6Unspecified() {
		return ""
	}
	return zone
}

// appendUnix appends the raw address of a Unix socket, whose name may hold any bytes.
func appendUnix(dst []byte, name string) []byte {
	dst = binary.NativeEndian.AppendUint16(dst, Unix)
	name = name[:min(len(name), nameBytes)]
	if name[0] == '@' {
		return append(append(dst, 0), name[1:]...)
	}
	if dst = append(dst, name...); len(name) < nameBytes {
		dst = append(dst, 0)
	}
	return dst
}

// ToUnix reports that a raw socket address is the name of a Unix socket.
func ToUnix(raw []byte) bool {
	return len(raw) >= 2 && int(binary.NativeEndian.Uint16(raw)) == Unix
}

// Peers reads the addresses that datagrams come from, and remembers some names of Unix sockets, so that a peer that is
// known costs no memory. Its zero value is ready; it belongs to one goroutine.
type Peers struct {
	known map[string]netip.AddrPort
}

// peersMost is how many names are remembered.
const peersMost = 1024

// Decode is DecodeAddress, and for Unix sockets UnixPeer. It is zero for one that has no name, and for one whose path
// is relative and begins with "@", which cannot be told from an abstract name.
func (p *Peers) Decode(raw []byte) netip.AddrPort {
	if !ToUnix(raw) {
		return DecodeAddress(raw)
	}
	if a, ok := p.known[string(raw)]; ok {
		return a
	}
	a := decodeUnix(raw[2:])
	if p.known == nil {
		p.known = map[string]netip.AddrPort{}
	} else if len(p.known) >= peersMost {
		clear(p.known)
	}
	p.known[string(raw)] = a
	return a
}

func decodeUnix(name []byte) netip.AddrPort {
	switch {
	case len(name) == 0 || name[0] == '@':
		return netip.AddrPort{}
	case name[0] == 0:
		return UnixPeer("@" + string(name[1:]))
	}
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return UnixPeer(string(name))
}

// unixFull is EAGAIN made ENOBUFS for a datagram to the name of a Unix socket: its queue is full, or what others have
// left unread has used up the send buffer. The kernel tells nobody when that changes.
func unixFull(err error, to []byte) error {
	if err == unix.EAGAIN && ToUnix(to) {
		return unix.ENOBUFS
	}
	return err
}
