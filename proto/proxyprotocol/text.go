package proxyprotocol

import (
	"bytes"
	"net/netip"
	"strconv"
)

// prefix is how a header of version 1 begins.
const prefix = "PROXY "

// parseV1 reads a line such as "PROXY TCP4 192.0.2.1 198.51.100.7 51000 443". (proxy-protocol.txt, 2.1)
func parseV1(in []byte) (n int, h Header, err error) {
	if k := min(len(in), len(prefix)); string(in[:k]) != prefix[:k] {
		return 0, h, ErrAbsent
	}
	seen := in[:min(len(in), MaxV1Bytes)]
	end := bytes.IndexByte(seen, '\r')
	switch stray := bytes.IndexByte(seen, '\n'); {
	case stray >= 0 && (end < 0 || stray != end+1):
		return 0, h, ErrSyntax
	case end < 0 && len(seen) == MaxV1Bytes, end == MaxV1Bytes-1:
		return 0, h, ErrLength
	case end < 0 || end+1 == len(in):
		return 0, h, nil
	case seen[end+1] != '\n':
		return 0, h, ErrSyntax
	}
	h.Version = 1
	kind, rest, more := bytes.Cut(seen[len(prefix):end], []byte(" "))
	if string(kind) == "UNKNOWN" { // what follows is to be ignored
		return end + 2, h, nil
	}
	switch string(kind) {
	case "TCP4":
		h.Transport = TCP4
	case "TCP6":
		h.Transport = TCP6
	default:
		return 0, Header{}, ErrSyntax
	}
	var fields [4][]byte
	for i := range fields {
		if !more {
			return 0, Header{}, ErrSyntax
		}
		fields[i], rest, more = bytes.Cut(rest, []byte(" "))
	}
	source, first := parseEndpoint(fields[0], fields[2], h.Transport)
	destination, second := parseEndpoint(fields[1], fields[3], h.Transport)
	if more || !first || !second {
		return 0, Header{}, ErrSyntax
	}
	h.Source, h.Destination = source, destination
	return end + 2, h, nil
}

// parseEndpoint reads an address and a port as the format writes them: no zone, no IPv4 within IPv6, no sign, no
// leading zero.
func parseEndpoint(address, port []byte, t Transport) (netip.AddrPort, bool) {
	for _, c := range address {
		digit := '0' <= c && c <= '9'
		if t == TCP4 && !digit && c != '.' {
			return netip.AddrPort{}, false
		}
		if letter := 'a' <= c|0x20 && c|0x20 <= 'f'; t == TCP6 && !digit && !letter && c != ':' {
			return netip.AddrPort{}, false
		}
	}
	ip, err := netip.ParseAddr(string(address))
	if err != nil || ip.Is4() != (t == TCP4) {
		return netip.AddrPort{}, false
	}
	if len(port) == 0 || port[0] == '0' && len(port) > 1 {
		return netip.AddrPort{}, false
	}
	number, err := strconv.ParseUint(string(port), 10, 16)
	return netip.AddrPortFrom(ip, uint16(number)), err == nil
}

// AppendV1 appends a header of version 1. It can tell of TCP over IP alone; for anything else it says that the client
// is unknown. An IPv4 and an IPv6 address together are both written as IPv6.
func AppendV1(b []byte, h *Header) []byte {
	b = append(b, prefix...)
	source, destination, t := endpoints(h)
	switch {
	case h.Local || t != TCP4 && t != TCP6:
		return append(b, "UNKNOWN\r\n"...)
	case t == TCP4:
		b = append(b, "TCP4 "...)
	default:
		b = append(b, "TCP6 "...)
	}
	b = append(appendAddress(b, source.Addr()), ' ')
	b = append(appendAddress(b, destination.Addr()), ' ')
	b = append(strconv.AppendUint(b, uint64(source.Port()), 10), ' ')
	b = strconv.AppendUint(b, uint64(destination.Port()), 10)
	return append(b, '\r', '\n')
}

// appendAddress writes an address. One of IPv4 within IPv6 gets no dots: the format has none there.
func appendAddress(b []byte, a netip.Addr) []byte {
	if !a.Is4In6() {
		return a.AppendTo(b)
	}
	four := a.Unmap().As4()
	b = append(b, "::ffff:"...)
	b = strconv.AppendUint(b, uint64(four[0])<<8|uint64(four[1]), 16)
	b = append(b, ':')
	return strconv.AppendUint(b, uint64(four[2])<<8|uint64(four[3]), 16)
}

// endpoints is what is written of a header's addresses: of one family, without zones, and with the transport that fits.
func endpoints(h *Header) (source, destination netip.AddrPort, t Transport) {
	switch h.Transport {
	case TCP4, TCP6, UDP4, UDP6:
	default:
		return source, destination, h.Transport
	}
	s, d := h.Source.Addr().Unmap().WithZone(""), h.Destination.Addr().Unmap().WithZone("")
	if !s.IsValid() || !d.IsValid() {
		return source, destination, Unspecified
	}
	protocol := h.Transport & 0x0f
	t = 0x10 | protocol
	if s.Is6() || d.Is6() {
		s, d, t = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16()), 0x20|protocol
	}
	return netip.AddrPortFrom(s, h.Source.Port()), netip.AddrPortFrom(d, h.Destination.Port()), t
}
