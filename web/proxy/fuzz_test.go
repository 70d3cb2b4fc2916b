package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/webtest"
)

// shapes are the ways to proxy that a fuzzed byte chooses among.
var shapes = []option{
	plain,
	with(func(*proxy.Options) {}),
	with(func(o *proxy.Options) { o.Forwarded = proxy.ForwardedBoth; trusting(o) }),
	with(func(o *proxy.Options) { o.Strip, o.Prefix = "/a", "/b/" }),
	with(func(o *proxy.Options) { o.Host, o.Close = proxy.HostUpstream, true }),
	with(func(o *proxy.Options) {
		o.Request = proxy.Edits{
			Set: []http1.FieldLine{{Name: "X-A", Value: "1"}}, Remove: []string{"Cookie"},
		}
	}),
}

// FuzzRequest sends bytes to the proxy, as one client. Whatever they are, what reaches the upstream are whole requests
// that two parsers read alike: as many as the client was understood to make, with its method, its content and a host.
func FuzzRequest(f *testing.F) {
	for _, cases := range [][]headCase{passing, hopByHop, forwarding, rewriting, hosts, changing} {
		for i, c := range cases {
			f.Add(byte(i), []byte(c.in))
			f.Add(byte(i), []byte(c.in+c.in))
		}
	}
	for _, in := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n0\r\n\r\nGET /x",
		"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /|{} HTTP/1.1\r\nHost: [::1]:80\r\nX: \xff\x80\r\n\r\n",
	} {
		f.Add(byte(1), []byte(in))
	}
	f.Fuzz(func(t *testing.T, shape byte, in []byte) {
		r := newRig(t, oneEndpoint, shapes[int(shape)%len(shapes)], never,
			func(_ *proxy.Options, _ *upstream.Options, s *web.Server) { s.Limits.BodyBytes = 1 << 16 })
		r.client.Receive(bytes.Clone(in))
		r.turn()
		for range 20 { // answers, so that what was pipelined comes too
			n := len(r.dialer.Conns)
			if n == 0 || r.client.State() != conn.Open {
				break
			}
			if up := r.upstream(n - 1); up.State() == conn.Open && len(up.Sent) > 0 && complete(up.Sent) {
				check(t, in, up.Sent)
				up.Sent = nil
				r.answer(hello)
			} else {
				break
			}
		}
		for _, up := range r.dialer.Conns {
			check(t, in, up.Sent)
		}
	})
}

// complete says that bytes are a whole request.
func complete(sent []byte) bool {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(sent)))
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

// check reads what an upstream got in two ways: at most one request, the same for both.
func check(t *testing.T, in, sent []byte) {
	t.Helper()
	if len(sent) == 0 {
		return
	}
	var own http1.Request
	n, err := own.Parse(sent, &http1.Limits{HeadBytes: 1 << 20, TargetBytes: 1 << 20, Fields: 1000})
	if err != nil || n == 0 {
		t.Fatalf("%q became %q, which is refused here: %v", in, sent, err)
	}
	reader := bufio.NewReader(bytes.NewReader(sent))
	other, err := http.ReadRequest(reader)
	if err != nil {
		if tolerated(&own) {
			return
		}
		t.Fatalf("%q became %q, which is refused elsewhere: %v", in, sent, err)
	}
	length := own.ContentLength
	if !own.HasBody() {
		length = 0
	}
	chunked := slices.Contains(other.TransferEncoding, "chunked")
	if chunked != own.Chunked || !chunked && other.ContentLength != length || other.Method != string(own.MethodToken()) ||
		other.RequestURI != string(own.Target()) || other.Host != string(own.Authority()) {
		t.Fatalf("%q became %q, read as %+v", in, sent, other)
	}
	for _, name := range []string{"Connection", "Te", "Upgrade"} {
		if len(other.Header[name]) > 1 && name != "Upgrade" {
			t.Fatalf("%q became %q with more than one %s", in, sent, name)
		}
	}
	body, err := io.ReadAll(other.Body)
	if err != nil {
		return // it has not all come
	}
	if rest, _ := io.ReadAll(reader); len(rest) > 0 {
		t.Fatalf("%q became %q with %q behind it", in, sent, rest)
	}
	if !chunked && int64(len(body)) != length {
		t.Fatalf("%q became %q", in, sent)
	}
}

// tolerated are hosts and targets that this codec takes and the standard library does not.
func tolerated(r *http1.Request) bool {
	for _, c := range append(slices.Clone(r.Target()), r.Authority()...) {
		if c == '%' || c == '|' || c == '{' || c == '}' || c == '"' || c == '\\' || c == '^' || c == '<' || c == '>' ||
			c == '`' || c == '[' || c == ']' || c == ':' {
			return true
		}
	}
	return strings.HasPrefix(string(r.Target()), "//")
}

// portless has an endpoint that takes no port of this machine: a fuzz target makes more connections in a minute than
// there are ports, and the guard of them knows only one machine.
func portless(_ *proxy.Options, u *upstream.Options, _ *web.Server) {
	u.Endpoints = []upstream.EndpointOptions{{Address: "unix:@fuzz"}}
}

// FuzzAnswer sends bytes to the client as an upstream's. Whatever they are, the client gets whole answers that two
// parsers read alike, or sees that one is broken off.
func FuzzAnswer(f *testing.F) {
	for _, cases := range [][]answerCase{heads, contents, interims} {
		for _, c := range cases {
			f.Add([]byte(c.answer), c.ends)
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte, ends bool) {
		r := newRig(t, plain, portless, never)
		r.send(get)
		up := r.upstream(0)
		up.Receive(bytes.Clone(answer))
		r.turn()
		if up.State() == conn.Open && ends {
			up.End()
			r.turn()
		}
		if len(r.records) > 1 {
			t.Fatalf("one request has %d answers", len(r.records))
		}
		final(t, answer, r.client, len(r.records) == 1)
	})
}

// final reads the answers that a client got, up to the last one, which is complete unless the connection was broken.
func final(t *testing.T, answer []byte, c *webtest.Conn, logged bool) {
	t.Helper()
	sent := c.Sent
	in := bufio.NewReader(bytes.NewReader(sent))
	for {
		response, err := http.ReadResponse(in, &http.Request{Method: "GET"})
		if err != nil {
			if len(sent) > 0 && c.State() == conn.Open && logged {
				t.Fatalf("%q became %q: %v", answer, sent, err)
			}
			return
		}
		if response.StatusCode < 200 && response.StatusCode != 101 {
			continue
		}
		_, err = io.Copy(io.Discard, response.Body)
		rest, _ := io.ReadAll(in)
		if err == nil && len(rest) > 0 {
			t.Fatalf("%q became %q, with %q left", answer, sent, rest)
		}
		if (err == nil) != logged && c.State() == conn.Open {
			t.Fatalf("%q became %q: %v, %v", answer, sent, err, logged)
		}
		if err == nil && c.State() == conn.Closed && !response.Close {
			t.Fatalf("%q became %q, and then the connection was broken", answer, sent)
		}
		return
	}
}
