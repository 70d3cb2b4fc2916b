package http1

import (
	"strings"
	"testing"
)

// refusals are heads that must be refused, each with the reason. They are written as one line of what is special;
// fields stands between a sound request line with a Host and the end.
var refusals = []struct {
	name string
	in   string
	want *Error
}{
	// request line
	{"TLS client hello", "\x16\x03\x01\x02\x00\x01", ErrStart},
	{"leading space", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrStart},
	{"leading bare LF", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrStart},
	{"leading bare CR", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrStart},
	{"three empty lines before", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrStart},
	{"method is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{"NUL in method", "GE\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{"method alone", "GET\r\n\r\n", ErrRequestLine},
	{"HTAB after method", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{"long method", strings.Repeat("M", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", ErrMethodSize},
	{"two spaces after method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ErrVersion},
	{"two spaces before version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", ErrVersion},
	{"space after version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", ErrLineEnd},
	{"HTAB before version", "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"empty target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{"HTTP/0.9", "GET /\r\n", ErrTarget},
	{"version 0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", ErrVersion},
	{"version 2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", ErrMajor},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ErrMajor},
	{"version 3.1", "GET / HTTP/3.1\r\nHost: a\r\n\r\n", ErrMajor},
	{"version without minor", "GET / HTTP/1\r\nHost: a\r\n\r\n", ErrVersion},
	{"version with long minor", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", ErrLineEnd},
	{"version with long major", "GET / HTTP/11.1\r\nHost: a\r\n\r\n", ErrVersion},
	{"version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", ErrVersion},
	{"version with comma", "GET / HTTP/1,1\r\nHost: a\r\n\r\n", ErrVersion},
	{"version of another protocol", "GET / ICAP/1.1\r\nHost: a\r\n\r\n", ErrVersion},
	{"line ends with LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", ErrLineEnd},
	{"line ends with CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", ErrLineEnd},
	{"bare CR in line", "GET / HTTP/1.1\rHost: a\r\n\r\n", ErrLineEnd},
	// target
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"fragment in query", "GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"NUL in target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"DEL in target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"CR in target", "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"non-ASCII in target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"non-ASCII in query", "GET /?\xff HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"relative target", "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"query alone", "GET ?q HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"asterisk and GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", ErrTargetForm},
	{"asterisk and more", "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"authority and GET", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"scheme without authority", "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"absolute without host", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"absolute with port alone", "GET http://:80/a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"absolute with user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"absolute with bad port", "GET http://a:8o/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"CONNECT and origin-form", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"CONNECT and absolute-form", "CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"CONNECT without port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"CONNECT with empty port", "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"CONNECT with large port", "CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"absolute with bad Host", "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", ErrHost},
	{"absolute without Host", "GET http://a/ HTTP/1.1\r\n\r\n", ErrHostMissing},
}

// fieldRefusals stand as field lines (without the last CR LF) behind a request line and a Host field.
var fieldRefusals = []struct {
	name  string
	lines string
	want  *Error
}{
	{"line ends with LF", "A: b\nC: d", ErrLineEnd},
	{"empty line of LF", "A: b\r\n\nC: d", ErrLineEnd},
	{"empty line of CR", "A: b\r\n\rC: d", ErrLineEnd},
	{"empty line of CR CR LF", "A: b\r\n\r\r\nC: d", ErrLineEnd},
	{"bare CR in value", "A: b\rc", ErrLineEnd},
	{"CR CR LF", "A: b\r", ErrLineEnd},
	{"folded by space", "A: b\r\n c", ErrFold},
	{"folded by HTAB", "A: b\r\n\tc", ErrFold},
	{"folded framing", "Transfer-Encoding:\r\n chunked", ErrFold},
	{"space before colon", "Transfer-Encoding : chunked", ErrFieldName},
	{"HTAB before colon", "Transfer-Encoding\t: chunked", ErrFieldName},
	{"VT before colon", "Transfer-Encoding\x0b: chunked", ErrFieldName},
	{"NUL before colon", "Transfer-Encoding\x00: chunked", ErrFieldName},
	{"space in name", "Transfer Encoding: chunked", ErrFieldName},
	{"no colon", "Host", ErrFieldName},
	{"empty name", ": b", ErrFieldName},
	{"colon alone", ":", ErrFieldName},
	{"quote in name", "\"A\": b", ErrFieldName},
	{"non-ASCII in name", "\xc3\xa9: b", ErrFieldName},
	{"control in name", "A\x01: b", ErrFieldName},
	{"NUL in value", "A: b\x00c", ErrFieldValue},
	{"control in value", "A: b\x01c", ErrFieldValue},
	{"DEL in value", "A: b\x7fc", ErrFieldValue},
	{"ESC in value", "A: a long value, longer than eight\x1bc", ErrFieldValue},
	{"VT in value", "Transfer-Encoding: \x0bchunked", ErrFieldValue},
	{"FF in value", "Transfer-Encoding: chunked\x0c", ErrFieldValue},
	{"second Host", "Host: a", ErrHostRepeated},
	{"second Host, other case", "hOST: b", ErrHostRepeated},
	// Content-Length
	{"signed length", "Content-Length: +5", ErrLength},
	{"negative length", "Content-Length: -5", ErrLength},
	{"list of lengths", "Content-Length: 5, 5", ErrLength},
	{"two numbers", "Content-Length: 5 5", ErrLength},
	{"hexadecimal length", "Content-Length: 0x5", ErrLength},
	{"empty length", "Content-Length:", ErrLength},
	{"blank length", "Content-Length: \t ", ErrLength},
	{"length with point", "Content-Length: 5.0", ErrLength},
	{"length with exponent", "Content-Length: 1e3", ErrLength},
	{"length with underscore", "Content-Length: 1_0", ErrLength},
	{"length in quotes", "Content-Length: \"5\"", ErrLength},
	{"length in other digits", "Content-Length: \xd9\xa5", ErrLength},
	{"length with comma", "Content-Length: 5,", ErrLength},
	{"length past int64", "Content-Length: 9223372036854775808", ErrLength},
	{"length past uint64", "Content-Length: 18446744073709551621", ErrLength},
	{"huge length", "Content-Length: 99999999999999999999999999999999", ErrLength},
	{"length twice, same", "Content-Length: 5\r\nContent-Length: 5", ErrLengthRepeated},
	{"length twice, different", "Content-Length: 5\r\nContent-length: 6", ErrLengthRepeated},
	{"length twice, one empty", "Content-Length: 5\r\nContent-length:", ErrLengthRepeated},
	// Transfer-Encoding
	{"CL.TE", "Content-Length: 5\r\nTransfer-Encoding: chunked", ErrLengthAndCoded},
	{"TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5", ErrLengthAndCoded},
	{"zero CL and TE", "Content-Length: 0\r\nTransfer-Encoding: chunked", ErrLengthAndCoded},
	{"CL and unknown TE", "Content-Length: 5\r\nTransfer-Encoding: xchunked", ErrLengthAndCoded},
	{"xchunked", "Transfer-Encoding: xchunked", ErrCoding},
	{"chunkedx", "Transfer-Encoding: chunkedx", ErrCoding},
	{"identity", "Transfer-Encoding: identity", ErrCoding},
	{"gzip alone", "Transfer-Encoding: gzip", ErrCoding},
	{"chunked not last", "Transfer-Encoding: chunked, identity", ErrCoding},
	{"chunked before gzip", "Transfer-Encoding: chunked, gzip", ErrCoding},
	{"chunked twice in list", "Transfer-Encoding: chunked, chunked", ErrCoding},
	{"chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", ErrCoding},
	{"chunked, then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", ErrCoding},
	{"identity, then chunked", "Transfer-Encoding: identity\r\ntransfer-encoding: chunked", ErrCoding},
	{"empty coding", "Transfer-Encoding:", ErrCoding},
	{"empty member first", "Transfer-Encoding: , chunked", ErrCoding},
	{"empty member last", "Transfer-Encoding: chunked,", ErrCoding},
	{"coding with parameter", "Transfer-Encoding: chunked;q=1", ErrCoding},
	{"coding in quotes", "Transfer-Encoding: \"chunked\"", ErrCoding},
	{"coding with space", "Transfer-Encoding: chun ked", ErrCoding},
	{"coding with obs-text", "Transfer-Encoding: chunked\xa0", ErrCoding},
	{"gzip, chunked", "Transfer-Encoding: gzip, chunked", ErrCodingUnknown},
	{"identity, chunked", "Transfer-Encoding: identity, Chunked", ErrCodingUnknown},
	// Connection
	{"option is no token", "Connection: clo se", ErrConnection},
	{"second Connection is no token", "Connection: close\r\nConnection: (", ErrConnection},
}

func TestRefuse(t *testing.T) {
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			if got, err := checkSplits(t, test.in, nil); err != error(test.want) {
				t.Errorf("%q\ngot %s\nwant %s", test.in, got, test.want)
			}
		})
	}
	for _, test := range fieldRefusals {
		t.Run("field: "+test.name, func(t *testing.T) {
			in := "POST / HTTP/1.1\r\nHost: a\r\n" + test.lines + "\r\n\r\n"
			if got, err := checkSplits(t, in, nil); err != error(test.want) {
				t.Errorf("%q\ngot %s\nwant %s", in, got, test.want)
			}
			// Nothing may become acceptable by standing first, or behind a long line.
			in = "POST / HTTP/1.1\r\n" + test.lines + "\r\nHost: a\r\nFiller: " + strings.Repeat("x", 40) + "\r\n\r\n"
			if got, err := checkSplits(t, in, nil); err == nil {
				t.Errorf("%q\ngot %s\nwant a refusal", in, got)
			}
		})
	}
}

func TestRefuseByVersion(t *testing.T) {
	tests := []struct {
		name, in string
		want     *Error
	}{
		{"no Host", "GET / HTTP/1.1\r\n\r\n", ErrHostMissing},
		{"no Host in 1.9", "GET / HTTP/1.9\r\n\r\n", ErrHostMissing},
		{"two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", ErrHostRepeated},
		{"bad Host in 1.0", "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", ErrHost},
		{"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ErrCodingVersion},
		{"TRACE with length", "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", ErrNoContent},
		{"TRACE with chunks", "TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", ErrNoContent},
		{"CONNECT with length", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\n", ErrNoContent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := checkSplits(t, test.in, nil); err != error(test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	good := []string{
		"", "a", "a.b", "a.b:80", "a:", "a:0", "a:65535", "a:00080", "a_b", "127.0.0.1", "127.0.0.1:8080",
		"xn--bcher-kva.example",
		"[::]", "[::1]", "[::1]:443", "[2001:db8::1]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7::]", "[::2:3:4:5:6:7:8]",
		"[::ffff:192.0.2.1]", "[1:2:3:4:5:6:192.0.2.1]", "[fe80::ABCD]", "a,b", "~a!$&'()*+;=",
	}
	for _, host := range good {
		in := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
		var r Request
		if n, err := r.Parse([]byte(in), nil); n != len(in) || err != nil || string(r.Authority()) != host {
			t.Errorf("%q: %d, %v, authority %q", host, n, err, r.Authority())
		}
	}
	bad := []string{
		":80", ":", "a:b", "a:80:80", "a:65536", "a:-1", "a:+1", "a b", "a/", "a/b", "a?b", "a#b", "user@a",
		"a\\b", "a%41", "%",
		"http://a", "\"a\"", "<a>", "\xc3\xa9", "a\tb", "[", "]", "[]", "[:]", "[:::]", "[1::2::3]", "[::1",
		"::1", "[1:2:3:4:5:6:7]",
		"[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7:8::]", "[::g]", "[12345::]", "[::1]a", "[::1]:x", "[::1%25eth0]",
		"[fe80::1%lo]", "[v1.a]",
		"[::192.0.2]", "[::192.0.2.256]", "[::192.0.2.01]", "[::1.2.3.4.5]", "[1:2:3:4:5:6:7:1.2.3.4]", "[1:]",
		"[:1]", "[1:2:3:4:5:6:7:]",
		"[127.0.0.1]", "[::127.0.0.1:5]", "a^b", "a`b", "a{b", "a|b",
	}
	for _, host := range bad {
		in := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
		if got, err := parseWhole(in, nil); err != error(ErrHost) {
			t.Errorf("%q: %s, want %s", host, got, ErrHost)
		}
	}
}
