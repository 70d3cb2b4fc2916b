package proxyprotocol

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// signature begins a header of version 2; no other protocol begins so.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

const (
	headV2    = 16  // signature, version and command, transport, length of the rest
	pathBytes = 108 // of struct sockaddr_un
	local     = 0x20
	proxied   = 0x21
)

// parseV2 reads the binary form. (proxy-protocol.txt, 2.2)
func parseV2(in []byte) (n int, h Header, err error) {
	if k := min(len(in), len(signature)); string(in[:k]) != signature[:k] {
		return 0, h, ErrAbsent
	}
	if len(in) > 12 && in[12] != local && in[12] != proxied {
		return 0, h, ErrVersion
	}
	if len(in) < headV2 {
		return 0, h, nil
	}
	t := Transport(in[13])
	size, known := t.addressBytes()
	if !known && in[12] == proxied {
		return 0, h, ErrVersion
	}
	n = headV2 + int(binary.BigEndian.Uint16(in[14:]))
	switch {
	case n > MaxV2Bytes:
		return 0, h, ErrLength
	case in[12] == proxied && n < headV2+size:
		return 0, h, ErrSyntax
	case len(in) < n:
		return 0, h, nil
	}
	h.Version = 2
	if in[12] == local || t == Unspecified { // whatever else it holds is to be ignored
		h.Local = in[12] == local
		return n, h, nil
	}
	h.Transport = t
	h.readAddresses(in[headV2 : headV2+size])
	h.Extra = in[headV2+size : n : n]
	if err := check(in[:n], headV2+size); err != nil {
		return 0, Header{}, err
	}
	return n, h, nil
}

// addressBytes is the size of the two addresses with their ports.
func (t Transport) addressBytes() (size int, known bool) {
	switch t {
	case Unspecified:
		return 0, true
	case TCP4, UDP4:
		return 2*4 + 2*2, true
	case TCP6, UDP6:
		return 2*16 + 2*2, true
	case UnixStream, UnixDatagram:
		return 2 * pathBytes, true
	}
	return 0, false
}

func (h *Header) readAddresses(p []byte) {
	switch h.Transport {
	case TCP4, UDP4:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(p)), binary.BigEndian.Uint16(p[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[4:])), binary.BigEndian.Uint16(p[10:]))
	case TCP6, UDP6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(p)), binary.BigEndian.Uint16(p[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(p[16:])), binary.BigEndian.Uint16(p[34:]))
	default:
		h.SourcePath = path(p[:pathBytes:pathBytes])
		h.DestinationPath = path(p[pathBytes : 2*pathBytes : 2*pathBytes])
	}
}

// path is a path without the zeros that fill its field; that of an abstract name keeps the first.
func path(p []byte) []byte {
	if p[0] != 0 {
		if end := bytes.IndexByte(p, 0); end >= 0 {
			p = p[:end:end]
		}
		return p
	}
	if p = bytes.TrimRight(p, "\x00"); len(p) == 0 {
		return nil
	}
	return p
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// noSum is what stands in the place of a checksum while it is computed.
var noSum = make([]byte, 4)

// check looks whether the values from at on fill the header exactly, and whether its checksum, if it has one, is right.
func check(header []byte, at int) error {
	sum := 0
	for at < len(header) {
		if len(header)-at < valueHead {
			return ErrSyntax
		}
		size := int(binary.BigEndian.Uint16(header[at+1:]))
		if size > len(header)-at-valueHead {
			return ErrSyntax
		}
		if header[at] == TypeCRC32C {
			if size != 4 || sum != 0 {
				return ErrSyntax
			}
			sum = at + valueHead
		}
		at += valueHead + size
	}
	if sum != 0 && binary.BigEndian.Uint32(header[sum:]) != checksum(header, sum) {
		return ErrChecksum
	}
	return nil
}

// checksum is that of the header with zeros in the place of the checksum.
func checksum(header []byte, place int) uint32 {
	sum := crc32.Update(0, castagnoli, header[:place])
	sum = crc32.Update(sum, castagnoli, noSum)
	return crc32.Update(sum, castagnoli, header[place+len(noSum):])
}

// AppendV2 appends a header of version 2, with a checksum behind the values if asked. A path is cut at 108 bytes;
// values that would make the header longer than MaxV2Bytes are left out. An IPv4 and an IPv6 address together are both
// written as IPv6.
func AppendV2(b []byte, h *Header, sum bool) []byte {
	start := len(b)
	source, destination, t := endpoints(h)
	command := byte(proxied)
	if h.Local {
		command, t = local, Unspecified
	}
	b = append(b, signature...)
	b = append(b, command, byte(t), 0, 0)
	switch t {
	case TCP4, UDP4:
		s, d := source.Addr().As4(), destination.Addr().As4()
		b = append(append(b, s[:]...), d[:]...)
		b = appendPorts(b, source, destination)
	case TCP6, UDP6:
		s, d := source.Addr().As16(), destination.Addr().As16()
		b = append(append(b, s[:]...), d[:]...)
		b = appendPorts(b, source, destination)
	case UnixStream, UnixDatagram:
		var paths [2 * pathBytes]byte
		copy(paths[:pathBytes], h.SourcePath)
		copy(paths[pathBytes:], h.DestinationPath)
		b = append(b, paths[:]...)
	default: // nobody would look at values here
		return b
	}
	if len(b)-start+len(h.Extra)+valueHead+4 <= MaxV2Bytes {
		b = append(b, h.Extra...)
	}
	if sum {
		b = AppendValue(b, TypeCRC32C, noSum)
	}
	binary.BigEndian.PutUint16(b[start+14:], uint16(len(b)-start-headV2))
	if sum {
		header := b[start:]
		place := len(header) - 4
		binary.BigEndian.PutUint32(header[place:], checksum(header, place))
	}
	return b
}

func appendPorts(b []byte, source, destination netip.AddrPort) []byte {
	b = binary.BigEndian.AppendUint16(b, source.Port())
	return binary.BigEndian.AppendUint16(b, destination.Port())
}
