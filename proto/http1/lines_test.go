package http1_test

import (
	"bytes"
	"testing"

	"github.com/myriad-server/myriad/proto/http1"
)

func TestLines(t *testing.T) {
	request := []byte("\r\nGET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nCookie:  c \t\r\nX-B:\r\n\r\nrest")
	response := []byte("HTTP/1.1 200 OK\r\nHost: h\r\nX-A: 1\r\nCookie:  c \t\r\nX-B:\r\n\r\nrest")
	var q http1.Request
	var p http1.Response
	if n, err := q.Parse(request, nil); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := p.Parse(response, http1.GET, nil); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	for _, c := range []struct {
		i, j int
		want string
	}{
		{0, 4, "Host: h\r\nX-A: 1\r\nCookie:  c \t\r\nX-B:\r\n"},
		{0, 1, "Host: h\r\n"},
		{1, 3, "X-A: 1\r\nCookie:  c \t\r\n"},
		{3, 4, "X-B:\r\n"},
		{2, 2, ""},
		{4, 4, ""},
	} {
		if got := string(q.Lines(c.i, c.j)); got != c.want {
			t.Errorf("request, %d to %d: %q", c.i, c.j, got)
		}
		if got := string(p.Lines(c.i, c.j)); got != c.want {
			t.Errorf("response, %d to %d: %q", c.i, c.j, got)
		}
	}
	set := http1.FieldsOf(http1.Cookie, http1.Via)
	if !q.Has(set) || !p.Has(set) || q.Has(http1.FieldsOf(http1.Via)) || !set.Contains(http1.Via) ||
		set.Contains(http1.UnknownField) || set.Contains(http1.Host) {
		t.Error("the sets of fields are wrong")
	}
	if http1.Identify("cOOkie") != http1.Cookie || http1.Identify("X-A") != http1.UnknownField {
		t.Error("names are not identified")
	}
}

func TestMoved(t *testing.T) {
	in := []byte("GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n")
	var q http1.Request
	if n, err := q.Parse(in, nil); n != len(in) || err != nil {
		t.Fatal(n, err)
	}
	head := bytes.Clone(q.Head())
	clear(in)
	q.Moved(head)
	value, _ := q.Lookup("x-a")
	if string(q.Path()) != "/a" || string(q.Query()) != "b" || string(q.Host()) != "h" || string(value) != "1" {
		t.Errorf("%q %q %q %q", q.Path(), q.Query(), q.Host(), value)
	}
}

func TestAppendTrailers(t *testing.T) {
	var d http1.BodyDecoder
	for _, c := range []struct{ in, want string }{
		{"0\r\n\r\n", "0\r\n\r\n"},
		{"0\r\nX-A: 1\r\nX-B:2 \r\n\r\n", "0\r\nX-A: 1\r\nX-B: 2\r\n\r\n"},
	} {
		d.StartChunked()
		if _, _, done, err := d.Decode([]byte(c.in)); !done || err != nil {
			t.Fatal(done, err)
		}
		if got := string(d.AppendTrailers(nil)); got != c.want {
			t.Errorf("%q became %q", c.in, got)
		}
	}
}

func TestAppendEndToEnd(t *testing.T) {
	drop := http1.FieldsOf(http1.Host, http1.Connection, http1.Cookie)
	for _, c := range []struct{ fields, want string }{
		{"X-A: 1\r\nX-B:\t2 \r\n", "X-A: 1\r\nX-B:\t2 \r\n"},
		{"X-A: 1\r\ncookie: c\r\nX-B: 2\r\nCookie: d\r\n", "X-A: 1\r\nX-B: 2\r\n"},
		{"Connection: keep-alive\r\nClose: 1\r\n", "Close: 1\r\n"},
		{"Connection: keep-alive, x-a\r\nX-A: 1\r\nVia: v\r\n", "Via: v\r\n"},
		{"Connection: close\r\nVia: v\r\nConnection: VIA,,\r\nX-A: 1\r\n", "X-A: 1\r\n"},
		{"Proxy: p\r\nPROXY-x: y\r\nProxyx: z\r\nProx: y\r\n", "Proxyx: z\r\nProx: y\r\n"},
		{"X-Gone: 1\r\nx-gONE: 2\r\nX-Gon: 3\r\n", "X-Gon: 3\r\n"},
		{"", ""},
	} {
		var q http1.Request
		var p http1.Response
		if n, err := q.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\n"+c.fields+"\r\n"), nil); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := p.Parse([]byte("HTTP/1.1 200 OK\r\n"+c.fields+"\r\n"), http1.GET, nil); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		other := []string{"x-gone"}
		if got := string(q.AppendEndToEnd(nil, drop, other, true)); got != c.want {
			t.Errorf("a request with %q became %q", c.fields, got)
		}
		if got := string(p.AppendEndToEnd(nil, drop, other)); got != c.want {
			t.Errorf("a response with %q became %q", c.fields, got)
		}
		if got := string(q.AppendKnown(nil, http1.Host)); got != "Host: h\r\n" {
			t.Errorf("the host became %q", got)
		}
	}
}

// TestDropTrailers leaves out what must not come as a trailer, where it is no reason to refuse the message.
func TestDropTrailers(t *testing.T) {
	d := http1.BodyDecoder{DropTrailers: true}
	d.StartChunked()
	in := "0\r\nContent-Length: 1\r\nA: b\r\nset-cookie: x\r\nC: d\r\nHost: e\r\n\r\nmore"
	_, n, done, err := d.Decode([]byte(in))
	if err != nil || !done || in[n:] != "more" {
		t.Fatalf("%q is left, %v, %v", in[n:], done, err)
	}
	if got := string(d.AppendTrailers(nil)); got != "0\r\nA: b\r\nC: d\r\n\r\n" {
		t.Errorf("%q", got)
	}
}
