// Package proxyprotocol reads and writes the header by which a proxy tells the next server whose connection it passes
// on: the PROXY protocol, versions 1 and 2, as the authors of HAProxy define it (doc/proxy-protocol.txt).
//
// The header is the first thing on a connection, and whoever may send it may claim any address. So a server asks for
// it from those it trusts, never looks whether it might be there, and refuses a connection without it.
//
// The package holds no socket and no clock. [Parse] looks at the bytes so far; it uses all of a header or nothing.
package proxyprotocol

import (
	"encoding/binary"
	"errors"
	"iter"
	"net/netip"
)

const (
	// MaxV1Bytes is the longest header of version 1, with its CR and LF.
	MaxV1Bytes = 107
	// MaxV2Bytes is the longest header of version 2 that Parse takes. The format allows 65,551 bytes; what is known to
	// be sent stays far below this, and a connection that has not said who it is should not hold more.
	MaxV2Bytes = 4096
)

// Why there is no header, for Parse.
var (
	ErrAbsent   = errors.New("the connection does not begin with a PROXY header")
	ErrSyntax   = errors.New("the PROXY header is malformed")
	ErrLength   = errors.New("the PROXY header is longer than its version or this server allows")
	ErrVersion  = errors.New("the PROXY header has a version, command or address family that is not defined")
	ErrChecksum = errors.New("the PROXY header has a wrong checksum")
)

// Transport is the kind of connection that is passed on: address family and protocol, as version 2 encodes them.
type Transport uint8

// The transports.
const (
	Unspecified  Transport = 0x00 // unknown: the addresses of the connection itself hold
	TCP4         Transport = 0x11 // TCP over IPv4
	UDP4         Transport = 0x12 // UDP over IPv4
	TCP6         Transport = 0x21 // TCP over IPv6
	UDP6         Transport = 0x22 // UDP over IPv6
	UnixStream   Transport = 0x31 // a Unix stream socket
	UnixDatagram Transport = 0x32 // a Unix datagram socket
)

// Header is what a PROXY header says.
type Header struct {
	// Version is 1 or 2.
	Version int
	// Local says that the proxy speaks for itself, as in a health check: the addresses of the connection itself hold.
	Local     bool
	Transport Transport
	// Source is the client, and Destination where it connected to; zero unless Transport is of IPv4 or IPv6.
	Source, Destination netip.AddrPort
	// SourcePath and DestinationPath are those of a Unix socket, up to 108 bytes. An abstract name begins with a zero
	// byte; a socket without a name has none. After Parse they lie in what was parsed.
	SourcePath, DestinationPath []byte
	// Extra holds the type-length-value vectors of version 2 as they are on the wire; see Values. After Parse it lies in
	// what was parsed. Append writes them behind the addresses; it must not hold a checksum then.
	Extra []byte
}

// The types of value that this package or its callers look at. (proxy-protocol.txt, 2.2)
const (
	TypeALPN      = 0x01
	TypeAuthority = 0x02
	TypeCRC32C    = 0x03
	TypeNoop      = 0x04
	TypeUniqueID  = 0x05
	TypeTLS       = 0x20
)

// valueHead is the size of a value's type and length.
const valueHead = 3

// Values yields the types and the values of Extra, in order.
func (h *Header) Values() iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for rest := h.Extra; len(rest) >= valueHead; {
			end := valueHead + int(binary.BigEndian.Uint16(rest[1:]))
			if end > len(rest) || !yield(rest[0], rest[valueHead:end]) {
				return
			}
			rest = rest[end:]
		}
	}
}

// AppendValue appends one value to the vectors of Header.Extra. It must be shorter than 65,536 bytes.
func AppendValue(extra []byte, kind byte, value []byte) []byte {
	extra = append(extra, kind, 0, 0)
	binary.BigEndian.PutUint16(extra[len(extra)-2:], uint16(len(value)))
	return append(extra, value...)
}

// Parse reads a header of either version from the beginning of a connection. It returns how many bytes the header
// takes; zero without an error means that more must come. Bytes that cannot become a header are an error at once.
func Parse(in []byte) (n int, h Header, err error) {
	switch {
	case len(in) == 0:
		return 0, h, nil
	case in[0] == signature[0]:
		return parseV2(in)
	}
	return parseV1(in)
}
