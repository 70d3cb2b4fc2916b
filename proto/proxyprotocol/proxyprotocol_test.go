package proxyprotocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// v2 makes a header of version 2 from its parts.
func v2(command, transport byte, rest string) string {
	length := binary.BigEndian.AppendUint16(nil, uint16(len(rest)))
	return signature + string([]byte{command, transport}) + string(length) + rest
}

const (
	pair4   = "\xc0\x00\x02\x01\xc6\x33\x64\x07\xc7\x38\x01\xbb" // 192.0.2.1:51000 to 198.51.100.7:443
	source4 = "192.0.2.1:51000"
	dest4   = "198.51.100.7:443"
)

var pair6 = "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" +
	"\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x02" + "\xc7\x38\x01\xbb"

func pathPair(source, destination string) string {
	var p [2 * pathBytes]byte
	copy(p[:], source)
	copy(p[pathBytes:], destination)
	return string(p[:])
}

func pathHeader(t Transport, source, destination string) Header {
	h := Header{Version: 2, Transport: t}
	if source != "" {
		h.SourcePath = []byte(source)
	}
	if destination != "" {
		h.DestinationPath = []byte(destination)
	}
	return h
}

func endpointHeader(version int, t Transport, source, destination string) Header {
	return Header{
		Version: version, Transport: t,
		Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination),
	}
}

var accepted = []struct {
	name, in string
	want     Header
}{
	{"TCP4", "PROXY TCP4 192.0.2.1 198.51.100.7 51000 443\r\n", endpointHeader(1, TCP4, source4, dest4)},
	{
		"TCP4, the largest and the least", "PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
		endpointHeader(1, TCP4, "255.255.255.255:65535", "0.0.0.0:0"),
	},
	{
		"TCP6", "PROXY TCP6 2001:db8::1 2001:DB8::2 51000 443\r\n",
		endpointHeader(1, TCP6, "[2001:db8::1]:51000", "[2001:db8::2]:443"),
	},
	{
		"TCP6, the longest", "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) +
			"ffff 65535 65535\r\n",
		endpointHeader(1, TCP6, "["+strings.Repeat("ffff:", 7)+"ffff]:65535", "["+strings.Repeat("ffff:", 7)+"ffff]:65535"),
	},
	{"UNKNOWN", "PROXY UNKNOWN\r\n", Header{Version: 1}},
	{
		"UNKNOWN, the longest", "PROXY UNKNOWN " + strings.Repeat("f", MaxV1Bytes-16) + "\r\n", Header{Version: 1},
	},
	{"v2 TCP4", v2(proxied, byte(TCP4), pair4), endpointHeader(2, TCP4, source4, dest4)},
	{"v2 UDP4", v2(proxied, byte(UDP4), pair4), endpointHeader(2, UDP4, source4, dest4)},
	{
		"v2 TCP6", v2(proxied, byte(TCP6), pair6),
		endpointHeader(2, TCP6, "[2001:db8::1]:51000", "[2001:db8::2]:443"),
	},
	{
		"v2 UDP6", v2(proxied, byte(UDP6), pair6),
		endpointHeader(2, UDP6, "[2001:db8::1]:51000", "[2001:db8::2]:443"),
	},
	{
		"v2 unix", v2(proxied, byte(UnixStream), pathPair("/run/client", "/run/app.sock")),
		pathHeader(UnixStream, "/run/client", "/run/app.sock"),
	},
	{
		"v2 unix, abstract and without a name", v2(proxied, byte(UnixDatagram), pathPair("\x00app\x00x", "")),
		pathHeader(UnixDatagram, "\x00app\x00x", ""),
	},
	{
		"v2 unix, the longest", v2(proxied, byte(UnixStream), pathPair(strings.Repeat("a", pathBytes), "/b")),
		pathHeader(UnixStream, strings.Repeat("a", pathBytes), "/b"),
	},
	{"v2 of nothing known", v2(proxied, byte(Unspecified), ""), Header{Version: 2}},
	{"v2 of nothing known, with bytes", v2(proxied, byte(Unspecified), "abc"), Header{Version: 2}},
	{"v2 local", v2(local, byte(Unspecified), ""), Header{Version: 2, Local: true}},
	{"v2 local, with addresses", v2(local, byte(TCP4), pair4), Header{Version: 2, Local: true}},
	{"v2 local, with anything", v2(local, 0x77, "abc"), Header{Version: 2, Local: true}},
	{"v2 with values", v2(proxied, byte(TCP4), pair4+"\x05\x00\x02id\x04\x00\x00"), func() Header {
		h := endpointHeader(2, TCP4, source4, dest4)
		h.Extra = []byte("\x05\x00\x02id\x04\x00\x00")
		return h
	}()},
	{ // the sum was computed bit by bit, by another program
		"v2 with a checksum", v2(proxied, byte(TCP4), pair4+"\x03\x00\x04\x6f\x0f\x35\xf2"), func() Header {
			h := endpointHeader(2, TCP4, source4, dest4)
			h.Extra = []byte("\x03\x00\x04\x6f\x0f\x35\xf2")
			return h
		}(),
	},
}

func equal(a, b *Header) bool {
	return a.Version == b.Version && a.Local == b.Local && a.Transport == b.Transport && a.Source == b.Source &&
		a.Destination == b.Destination && bytes.Equal(a.SourcePath, b.SourcePath) &&
		bytes.Equal(a.DestinationPath, b.DestinationPath) && bytes.Equal(a.Extra, b.Extra)
}

// TestAccepted also cuts every header at every place, and puts the client's own bytes behind it.
func TestAccepted(t *testing.T) {
	for _, test := range accepted {
		t.Run(test.name, func(t *testing.T) {
			for cut := range len(test.in) {
				if n, _, err := Parse([]byte(test.in[:cut])); n != 0 || err != nil {
					t.Fatalf("the first %d of %d bytes: %d, %v", cut, len(test.in), n, err)
				}
			}
			for _, behind := range []string{"", "\n", "GET / HTTP/1.1\r\n\r\n", signature} {
				n, h, err := Parse([]byte(test.in + behind))
				if n != len(test.in) || err != nil || !equal(&h, &test.want) {
					t.Errorf("%d, %+v, %v; want %d, %+v", n, h, err, len(test.in), test.want)
				}
			}
		})
	}
}

var refused = []struct {
	name, in string
	want     error
}{
	{"another protocol", "GET / HTTP/1.1\r\n", ErrAbsent},
	{"one wrong byte", "X", ErrAbsent},
	{"lower case", "proxy TCP4 192.0.2.1 198.51.100.7 51000 443\r\n", ErrAbsent},
	{"no space", "PROXYTCP4", ErrAbsent},
	{"nothing", "PROXY \r\n", ErrSyntax},
	{"UDP4", "PROXY UDP4 192.0.2.1 198.51.100.7 51000 443\r\n", ErrSyntax},
	{"lower case kind", "PROXY tcp4 192.0.2.1 198.51.100.7 51000 443\r\n", ErrSyntax},
	{"UNKNOWN with a tail", "PROXY UNKNOWNS\r\n", ErrSyntax},
	{"a field less", "PROXY TCP4 192.0.2.1 198.51.100.7 51000\r\n", ErrSyntax},
	{"a field more", "PROXY TCP4 192.0.2.1 198.51.100.7 51000 443 1\r\n", ErrSyntax},
	{"a space at the end", "PROXY TCP4 192.0.2.1 198.51.100.7 51000 443 \r\n", ErrSyntax},
	{"two spaces", "PROXY TCP4  192.0.2.1 198.51.100.7 51000 443\r\n", ErrSyntax},
	{"a tab", "PROXY TCP4\t192.0.2.1 198.51.100.7 51000 443\r\n", ErrSyntax},
	{"a line feed alone", "PROXY TCP4 192.0.2.1 198.51.100.7 51000 443\n", ErrSyntax},
	{"a carriage return alone", "PROXY TCP4 192.0.2.1 198.51.100.7 51000 443\rx", ErrSyntax},
	{"a leading zero in an address", "PROXY TCP4 192.0.02.1 198.51.100.7 51000 443\r\n", ErrSyntax},
	{"an address of three numbers", "PROXY TCP4 192.0.1 198.51.100.7 51000 443\r\n", ErrSyntax},
	{"an address out of range", "PROXY TCP4 192.0.2.256 198.51.100.7 51000 443\r\n", ErrSyntax},
	{"IPv6 as TCP4", "PROXY TCP4 ::1 ::1 51000 443\r\n", ErrSyntax},
	{"IPv4 as TCP6", "PROXY TCP6 192.0.2.1 198.51.100.7 51000 443\r\n", ErrSyntax},
	{"dots in IPv6", "PROXY TCP6 ::ffff:192.0.2.1 ::1 51000 443\r\n", ErrSyntax},
	{"a zone", "PROXY TCP6 fe80::1%eth0 ::1 51000 443\r\n", ErrSyntax},
	{"a leading zero in a port", "PROXY TCP4 192.0.2.1 198.51.100.7 051 443\r\n", ErrSyntax},
	{"a sign", "PROXY TCP4 192.0.2.1 198.51.100.7 +51 443\r\n", ErrSyntax},
	{"an empty port", "PROXY TCP4 192.0.2.1 198.51.100.7  443\r\n", ErrSyntax},
	{"a port out of range", "PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n", ErrSyntax},
	{"too long", "PROXY UNKNOWN " + strings.Repeat("f", MaxV1Bytes-15) + "\r\n", ErrLength},
	{"endless", "PROXY UNKNOWN " + strings.Repeat("f", 200), ErrLength},

	{"v2, another signature", "\r\n\r\n\x00\r\nQUIX", ErrAbsent},
	{"v2, an empty line", "\r\nGET", ErrAbsent},
	{"v2, version 1", v2(0x11, byte(TCP4), pair4), ErrVersion},
	{"v2, version 3", v2(0x31, byte(TCP4), pair4), ErrVersion},
	{"v2, another command", v2(0x22, byte(TCP4), pair4), ErrVersion},
	{"v2, another family", v2(proxied, 0x41, pair4), ErrVersion},
	{"v2, another protocol", v2(proxied, 0x13, pair4), ErrVersion},
	{"v2, a family without a protocol", v2(proxied, 0x10, pair4), ErrVersion},
	{"v2, too short for IPv4", v2(proxied, byte(TCP4), pair4[:11]), ErrSyntax},
	{"v2, too short for IPv6", v2(proxied, byte(TCP6), pair6[:35]), ErrSyntax},
	{"v2, too short for paths", v2(proxied, byte(UnixStream), pathPair("", "")[:215]), ErrSyntax},
	{"v2, too long", v2(proxied, byte(TCP4), pair4+strings.Repeat("\x04\x00\x00", MaxV2Bytes/3)), ErrLength},
	{"v2 local, too long", v2(local, byte(Unspecified), strings.Repeat("a", MaxV2Bytes)), ErrLength},
	{"v2, half a value's head", v2(proxied, byte(TCP4), pair4+"\x04\x00"), ErrSyntax},
	{"v2, a value that ends too late", v2(proxied, byte(TCP4), pair4+"\x04\x00\x02a"), ErrSyntax},
	{"v2, a short checksum", v2(proxied, byte(TCP4), pair4+"\x03\x00\x03abc"), ErrSyntax},
	{"v2, a wrong checksum", v2(proxied, byte(TCP4), pair4+"\x03\x00\x04abcd"), ErrChecksum},
	{
		"v2, two checksums", v2(proxied, byte(TCP4), pair4+"\x03\x00\x04\x6f\x0f\x35\xf2\x03\x00\x04abcd"), ErrSyntax,
	},
}

func TestRefused(t *testing.T) {
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			n, h, err := Parse([]byte(test.in))
			if n != 0 || !errors.Is(err, test.want) {
				t.Errorf("%d, %+v, %v; want %v", n, h, err, test.want)
			}
			if !equal(&h, &Header{}) && h.Version != 0 {
				t.Errorf("a refused header says %+v", h)
			}
		})
	}
}

func TestAppendV1(t *testing.T) {
	for _, test := range []struct {
		name string
		h    Header
		want string
	}{
		{"TCP4", endpointHeader(0, TCP4, source4, dest4), "PROXY TCP4 192.0.2.1 198.51.100.7 51000 443\r\n"},
		{"TCP6", endpointHeader(0, TCP6, "[2001:db8::1]:1", "[::]:2"), "PROXY TCP6 2001:db8::1 :: 1 2\r\n"},
		{
			"IPv4 within IPv6", endpointHeader(0, TCP6, "[::ffff:192.0.2.1]:1", "192.0.2.2:2"),
			"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
		},
		{"both families", endpointHeader(0, TCP4, "192.0.2.1:1", "[::1]:2"), "PROXY TCP6 ::ffff:c000:201 ::1 1 2\r\n"},
		{"a zone", endpointHeader(0, TCP6, "[fe80::1%eth0]:1", "[::1]:2"), "PROXY TCP6 fe80::1 ::1 1 2\r\n"},
		{"no address", Header{Transport: TCP4}, "PROXY UNKNOWN\r\n"},
		{"unspecified", Header{}, "PROXY UNKNOWN\r\n"},
		{"unix", Header{Transport: UnixStream}, "PROXY UNKNOWN\r\n"},
		{"UDP", endpointHeader(0, UDP4, source4, dest4), "PROXY UNKNOWN\r\n"},
		{"local", Header{Local: true, Transport: TCP4}, "PROXY UNKNOWN\r\n"},
	} {
		if got := string(AppendV1([]byte("x"), &test.h)); got != "x"+test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if n, _, err := Parse([]byte(test.want)); n != len(test.want) || err != nil {
			t.Errorf("%s: it reads %q as %d, %v", test.name, test.want, n, err)
		}
	}
}

// TestAppendV2 writes what was read, and reads it again.
func TestAppendV2(t *testing.T) {
	for _, test := range accepted {
		if test.want.Version != 2 || strings.Contains(test.name, "checksum") {
			continue
		}
		for _, sum := range []bool{false, true} {
			out := AppendV2([]byte("x"), &test.want, sum)[1:]
			n, h, err := Parse(out)
			if n != len(out) || err != nil {
				t.Fatalf("%s: %d of %d, %v", test.name, n, len(out), err)
			}
			if sum && h.Transport != Unspecified {
				head, found := bytes.CutSuffix(h.Extra, out[len(out)-7:])
				if !found || out[len(out)-7] != TypeCRC32C {
					t.Errorf("%s: no checksum in %q", test.name, h.Extra)
				}
				h.Extra = head
				out[headV2] ^= 1
				if _, _, err := Parse(out); !errors.Is(err, ErrChecksum) {
					t.Errorf("%s: a changed header is taken: %v", test.name, err)
				}
				out[headV2] ^= 1
			}
			if !equal(&h, &test.want) {
				t.Errorf("%s: %+v, want %+v", test.name, h, test.want)
			}
		}
	}
}

func TestAppendV2KeepsTheLimit(t *testing.T) {
	h := endpointHeader(2, TCP4, source4, dest4)
	h.Extra = AppendValue(nil, TypeAuthority, make([]byte, MaxV2Bytes))
	out := AppendV2(nil, &h, true)
	if n, got, err := Parse(out); n != len(out) || err != nil || len(got.Extra) != 7 {
		t.Errorf("%d of %d, %v, %d bytes of values", n, len(out), err, len(got.Extra))
	}
}

func TestValues(t *testing.T) {
	h := Header{Extra: AppendValue(AppendValue(nil, TypeAuthority, []byte("a.example")), TypeNoop, nil)}
	var got []string
	for kind, value := range h.Values() {
		got = append(got, string(rune('0'+kind))+string(value))
	}
	if s := strings.Join(got, ","); s != "2a.example,4" {
		t.Errorf("%q", s)
	}
	for range h.Values() {
		break
	}
	h.Extra = h.Extra[:5]
	for range h.Values() {
		t.Error("a value that is cut off is given")
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	h := endpointHeader(2, TCP4, source4, dest4)
	room := make([]byte, 0, MaxV2Bytes)
	in := AppendV2(nil, &h, true)
	for name, write := range map[string]func(){
		"version 1": func() { AppendV1(room, &h) },
		"version 2": func() { AppendV2(room, &h, true) },
		"parse":     func() { Parse(in) },
	} {
		if n := testing.AllocsPerRun(100, write); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
