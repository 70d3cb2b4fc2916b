package http1

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestAppend(t *testing.T) {
	line, ok := AppendRequestLine(nil, "GET", []byte("/a?b"))
	if !ok {
		t.Error("request line refused")
	}
	tests := []struct{ got, want string }{
		{string(line), "GET /a?b HTTP/1.1\r\n"},
		{string(AppendStatus(nil, 200)), "HTTP/1.1 200 OK\r\n"},
		{string(AppendStatus([]byte("x"), 511)), "xHTTP/1.1 511 Network Authentication Required\r\n"},
		{string(AppendStatus(nil, 299)), "HTTP/1.1 299 \r\n"},
		{string(AppendStatus(nil, 999)), "HTTP/1.1 999 \r\n"},
		{string(AppendStatus(nil, 99)), "HTTP/1.1 500 Internal Server Error\r\n"},
		{string(AppendStatus(nil, -1)), "HTTP/1.1 500 Internal Server Error\r\n"},
		{string(AppendStatus(nil, 1000)), "HTTP/1.1 500 Internal Server Error\r\n"},
		{Reason(404) + Reason(-1) + Reason(600), "Not Found"},
		{string(AppendField(nil, "A", "b")), "A: b\r\n"},
		{string(AppendField(nil, []byte("A"), []byte("b\tc\xff"))), "A: b\tc\xff\r\n"},
		{string(AppendField(nil, "A", "b\r\nSet-Cookie: c\x00\x7f")), "A: b  Set-Cookie: c  \r\n"},
		{string(AppendField(nil, "A", "eight bytes and more\n\r\n\n in a row")), "A: eight bytes and more     in a row\r\n"},
		{string(AppendField([]byte("x"), "A\r\nB", "c")), "x"},
		{string(AppendField(nil, "A:", "c")), ""},
		{string(AppendField(nil, "", "c")), ""},
		{string(AppendLength(nil, 0)), "Content-Length: 0\r\n"},
		{string(AppendLength(nil, 1<<40)), "Content-Length: 1099511627776\r\n"},
		{string(AppendLength(nil, -1)), "Content-Length: 0\r\n"},
		{string(AppendDate(nil, FormatTime(nil, 784111777))), "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
		{string(AppendHeadEnd(nil)), "\r\n"},
		{string(AppendChunkHead(nil, 255)), "ff\r\n"},
		{string(AppendChunkHead(nil, 0)) + string(AppendChunkHead(nil, -1)), ""},
		{string(AppendChunk(nil, []byte("hello"))), "5\r\nhello\r\n"},
		{string(AppendChunk(nil, nil)), ""},
		{string(AppendChunkEnd(nil)), "0\r\n\r\n"},
		{
			string(AppendChunkEnd(nil, FieldLine{"Digest", "a\n"}, FieldLine{"content-length", "5"}, FieldLine{"b b", ""})),
			"0\r\nDigest: a \r\n\r\n",
		},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	unwritable := [][2]string{{"GET", ""}, {"GET", "/ "}, {"GET", "/\r\n"}, {"GET", "/\xff"}, {"G T", "/"}, {"", "/"}}
	for _, test := range unwritable {
		if line, ok := AppendRequestLine(nil, test[0], test[1]); ok || len(line) > 0 {
			t.Errorf("%q: %q", test, line)
		}
	}
}

func TestAppendNoAllocation(t *testing.T) {
	dst := make([]byte, 0, 1024)
	name, value := []byte("Name"), []byte("value")
	allocations := testing.AllocsPerRun(100, func() {
		b := AppendStatus(dst, 200)
		b = AppendField(b, "Server", "Myriad")
		b = AppendField(b, name, value)
		b = AppendLength(b, 1234)
		b = append(b, "Date: "...)
		b = FormatTime(b, 784111777)
		b = AppendHeadEnd(b)
		b = AppendChunk(b, value)
		b = AppendChunkEnd(b, FieldLine{"Digest", "a"})
		if _, ok := ParseTime([]byte("Sun, 06 Nov 1994 08:49:37 GMT")); !ok || len(b) == 0 {
			t.Fatal("time")
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func TestTime(t *testing.T) {
	good := map[string]int64{
		"Sun, 06 Nov 1994 08:49:37 GMT":     784111777,
		"Sunday, 06-Nov-94 08:49:37 GMT":    784111777,
		"Wednesday, 31-Dec-69 23:59:59 GMT": -1,
		"Thursday, 01-Jan-68 00:00:00 GMT":  3092601600,
		"Sun Nov  6 08:49:37 1994":          784111777,
		"Sun Nov 16 08:49:37 1994":          784975777,
		"Thu, 01 Jan 1970 00:00:00 GMT":     0,
		"Thu, 29 Feb 2024 23:59:60 GMT":     1709251200,
		"Tue, 29 Feb 2000 00:00:00 GMT":     951782400,
		"Sat, 01 Jan 0000 00:00:00 GMT":     earliestTime,
		"Fri, 31 Dec 9999 23:59:59 GMT":     latestTime,
	}
	for in, want := range good {
		if got, ok := ParseTime([]byte(in)); got != want || !ok {
			t.Errorf("%s: %d %v, want %d", in, got, ok, want)
		}
	}
	fixed := "Sun, 06 Nov 1994 08:49:37 GMT"
	for _, in := range []string{
		"", "0", "784111777", "Sun, 6 Nov 1994 08:49:37 GMT", "sun, 06 Nov 1994 08:49:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 gmt", "Sun, 06 Nov 1994 08:49:37 +00",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 29 Feb 1994 08:49:37 GMT", "Sun, 29 Feb 1900 08:49:37 GMT",
		"Sun, 30 Feb 2000 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
		"Sun, 06 Nov 1994 08.49.37 GMT",
		"Sun, -6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov +994 08:49:37 GMT", "Sun,  6 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-1994 08:49:37 GMT",
		"Sun, 06-Nov-94 08:49:37 GMT", "Someday, 06-Nov-94 08:49:37 GMT", "Sunday, 06-Nov-9x 08:49:37 GMT",
		"Sunday, 06 Nov 94 08:49:37 GMT",
		"Sun Nov 06 08:49:37 1994 ", "Sun Nov   08:49:37 1994 x", "Sun Nov  x 08:49:37 1994",
		"Nov Sun  6 08:49:37 1994", fixed + " ", " " + fixed,
		strings.Repeat("x", 29), strings.Repeat(" ", 24),
	} {
		if got, ok := ParseTime([]byte(in)); ok {
			t.Errorf("%q: %d", in, got)
		}
	}
}

// TestTimeEveryDay compares both directions with the standard library on every day of 400 years and around.
func TestTimeEveryDay(t *testing.T) {
	for _, from := range []int64{earliestTime, -11644473600, 946684800, latestTime - 400*366*secondsPerDay} {
		for day := range int64(400*366 + 1) {
			unix := from + day*secondsPerDay + day*7919%secondsPerDay
			want := time.Unix(unix, 0).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
			if unix > latestTime {
				break
			}
			got := FormatTime(nil, unix)
			if string(got) != want {
				t.Fatalf("%d: %s, want %s", unix, got, want)
			}
			if back, ok := ParseTime(got); back != unix || !ok {
				t.Fatalf("%s: %d %v, want %d", got, back, ok, unix)
			}
		}
	}
	if !bytes.Equal(FormatTime(nil, latestTime+1), FormatTime(nil, latestTime)) ||
		!bytes.Equal(FormatTime(nil, earliestTime-1), FormatTime(nil, -1<<63)) {
		t.Error("times out of range are not cut")
	}
}
