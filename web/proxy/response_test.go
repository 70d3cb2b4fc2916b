package proxy_test

import (
	"strings"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// answerCase is a request, what the upstream answers, and what the client gets.
type answerCase struct {
	name   string
	with   []option
	in     string
	answer string
	ends   bool // the upstream closes behind its answer
	want   string
	state  conn.State // of the client's connection then
}

func TestAnswer(t *testing.T) {
	for _, cases := range [][]answerCase{heads, contents, interims} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				for _, size := range []int{len(c.answer), 1, 7} {
					r := newRig(t, append([]option{plain}, c.with...)...)
					r.send(c.in)
					for rest := c.answer; rest != ""; {
						n := min(size, len(rest))
						r.answer(rest[:n])
						rest = rest[n:]
					}
					if c.ends {
						r.upstream(-1).End()
						r.turn()
					}
					want := c.want
					got := r.sent()
					if size < len(c.answer) {
						got, want = whole(got), whole(want)
					}
					if got != want {
						t.Errorf("in pieces of %d the client got\n%q, not\n%q", size, got, want)
					}
					if state := r.client.State(); state != c.state {
						t.Errorf("the client's connection is %v, not %v", state, c.state)
					}
				}
			})
		}
	}
}

// whole takes the framing off chunked content: it depends on the pieces in which that came.
func whole(answer string) string {
	head, content, ok := strings.Cut(answer, "Transfer-Encoding: chunked\r\n\r\n")
	if !ok {
		return answer
	}
	var d http1.BodyDecoder
	d.StartChunked()
	var text []byte
	for in := []byte(content); ; {
		payload, n, done, err := d.Decode(in)
		if err != nil || n == 0 && !done {
			return answer
		}
		text, in = append(text, payload...), in[n:]
		if done {
			text = append(text, '|')
			text = append(d.AppendTrailers(text), in...)
			return head + string(text)
		}
	}
}

func asking(method string) string { return method + " / HTTP/1.1\r\nHost: a\r\n\r\n" }

func named(_ *proxy.Options, _ *upstream.Options, s *web.Server) { s.Name = "edge" }

var heads = []answerCase{
	{
		name: "as it came", in: get,
		answer: lines("HTTP/1.1 200 OK", dateIs, "Server: them", "X-A:\t1", "Content-Length: 5") + "hello",
		want:   lines("HTTP/1.1 200 OK", dateIs, "Server: them", "X-A:\t1", "Content-Length: 5") + "hello",
		state:  conn.Open,
	},
	{
		name: "a date where there is none, and no name of ours", in: get, with: []option{named},
		answer: lines("HTTP/1.1 200 OK", "Content-Length: 0"),
		want:   lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 0"),
		state:  conn.Open,
	},
	{
		name: "a long head", in: get,
		answer: lines("HTTP/1.1 200 OK", dateIs, long, "Content-Length: 5") + "hello",
		want:   lines("HTTP/1.1 200 OK", dateIs, long, "Content-Length: 5") + "hello",
		state:  conn.Open,
	},
	{
		name: "another reason", in: get,
		answer: lines("HTTP/1.1 999 Go away", dateIs, "Content-Length: 0"),
		want:   lines("HTTP/1.1 999 Go away", dateIs, "Content-Length: 0"),
		state:  conn.Open,
	},
	{
		name: "no reason", in: get,
		answer: lines("HTTP/1.1 200", dateIs, "Content-Length: 0"),
		want:   lines("HTTP/1.1 200 ", dateIs, "Content-Length: 0"),
		state:  conn.Open,
	},
	{
		name: "fields for one connection", in: get,
		answer: lines("HTTP/1.1 200 OK", dateIs, "Connection: close, X-Mine", "X-Mine: 1", "Keep-Alive: timeout=5",
			"Upgrade: h2c", "Proxy-Authenticate: Basic", "X-A: 1", "Content-Length: 0"),
		want:  lines("HTTP/1.1 200 OK", dateIs, "X-A: 1", "Content-Length: 0"),
		state: conn.Open,
	},
	{
		name: "what proxies behind it say", in: get,
		answer: lines("HTTP/1.1 502 Bad Gateway", "proxy-status: cdn; error=dns_error", "Proxy-Info: x", dateIs,
			"Proxy-Status: a, b", "Content-Length: 0"),
		want: lines("HTTP/1.1 502 Bad Gateway", dateIs, "proxy-status: cdn; error=dns_error", "Proxy-Status: a, b",
			"Content-Length: 0"),
		state: conn.Open,
	},
	{
		name: "what nobody is to hear of them", in: get,
		with:   []option{with(func(o *proxy.Options) { o.Response.Remove = []string{"Proxy-Status"} })},
		answer: lines("HTTP/1.1 200 OK", dateIs, "Proxy-Status: a", "Content-Length: 0"),
		want:   lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 0"),
		state:  conn.Open,
	},
	{
		name: "what they say to this one", in: get,
		answer: lines("HTTP/1.1 200 OK", "Connection: Proxy-Status", dateIs, "Proxy-Status: a", "Content-Length: 0"),
		want:   lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 0"),
		state:  conn.Open,
	},
	{
		name: "changed fields", in: get,
		with: []option{with(func(o *proxy.Options) {
			o.Response = proxy.Edits{
				Set:    []http1.FieldLine{{Name: "Server", Value: "us"}},
				Add:    []http1.FieldLine{{Name: "X-Add", Value: "1"}},
				Remove: []string{"X-Powered-By"},
			}
		})},
		answer: lines("HTTP/1.1 200 OK", dateIs, "Server: them", "X-Powered-By: x", "Content-Length: 0"),
		want:   lines("HTTP/1.1 200 OK", dateIs, "Server: us", "X-Add: 1", "Content-Length: 0"),
		state:  conn.Open,
	},
	{
		name: "the length of what HEAD does not bring", in: asking("HEAD"),
		answer: lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 5"),
		want:   lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 5"),
		state:  conn.Open,
	},
	{
		name: "HEAD of what would come in chunks", in: asking("HEAD"),
		answer: lines("HTTP/1.1 200 OK", dateIs, "Transfer-Encoding: chunked"),
		want:   lines("HTTP/1.1 200 OK", dateIs),
		state:  conn.Open,
	},
	{
		name: "304 with a length", in: get,
		answer: lines("HTTP/1.1 304 Not Modified", dateIs, "ETag: \"x\"", "Content-Length: 5"),
		want:   lines("HTTP/1.1 304 Not Modified", dateIs, "ETag: \"x\"", "Content-Length: 5"),
		state:  conn.Open,
	},
	{
		name: "204", in: get,
		answer: lines("HTTP/1.1 204 No Content", dateIs),
		want:   lines("HTTP/1.1 204 No Content", dateIs),
		state:  conn.Open,
	},
	{
		name: "a client that closes", in: lines("GET / HTTP/1.1", "Host: a", "Connection: close"),
		answer: hello,
		want:   lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 5", "Connection: close") + "hello",
		state:  conn.Closed,
	},
}

var contents = []answerCase{
	{
		name: "in chunks, with trailers", in: get,
		answer: lines("HTTP/1.1 200 OK", dateIs, "Trailer: X-Sum", "Transfer-Encoding: chunked") +
			"5;a=b\r\nhello\r\n0\r\nX-Sum:7\r\n\r\n",
		want: lines("HTTP/1.1 200 OK", dateIs, "Trailer: X-Sum", "Transfer-Encoding: chunked") +
			"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
		state: conn.Open,
	},
	{
		name: "with trailers that must not be one", in: get,
		answer: lines("HTTP/1.1 200 OK", dateIs, "Transfer-Encoding: chunked") +
			"5\r\nhello\r\n0\r\nContent-Length: 1\r\nX-Sum:7\r\nSet-Cookie: a\r\n\r\n",
		want: lines("HTTP/1.1 200 OK", dateIs, "Transfer-Encoding: chunked") +
			"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
		state: conn.Open,
	},
	{
		name: "in chunks to a client of HTTP/1.0", in: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		answer: lines("HTTP/1.1 200 OK", dateIs, "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
		want:   lines("HTTP/1.1 200 OK", dateIs, "Connection: close") + "hello",
		state:  conn.Closed,
	},
	{
		name: "until the end, from HTTP/1.0", in: get, ends: true,
		answer: lines("HTTP/1.0 200 OK", dateIs) + "hello",
		want:   lines("HTTP/1.1 200 OK", dateIs, "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
		state:  conn.Open,
	},
	{
		name: "until the end, to HTTP/1.0", in: "GET / HTTP/1.0\r\n\r\n", ends: true,
		answer: lines("HTTP/1.1 200 OK", dateIs) + "hello",
		want:   lines("HTTP/1.1 200 OK", dateIs, "Connection: close") + "hello",
		state:  conn.Closed,
	},
	{
		name: "nothing until the end", in: get, ends: true,
		answer: lines("HTTP/1.1 200 OK", dateIs),
		want:   lines("HTTP/1.1 200 OK", dateIs, "Transfer-Encoding: chunked") + "0\r\n\r\n",
		state:  conn.Open,
	},
	{
		name: "more than was promised", in: get,
		answer: hello + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		want:   hello,
		state:  conn.Open,
	},
}

var interims = []answerCase{
	{
		name: "early hints", in: get,
		answer: lines("HTTP/1.1 103 Early Hints", "Link: </a>", "Connection: X-B", "X-B: 1") + hello,
		want:   lines("HTTP/1.1 103 Early Hints", "Link: </a>") + hello,
		state:  conn.Open,
	},
	{
		name: "not to a client of HTTP/1.0", in: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		answer: lines("HTTP/1.1 103 Early Hints", "Link: </a>") + hello,
		want:   lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 5", "Connection: keep-alive") + "hello",
		state:  conn.Open,
	},
	{
		name: "a 100 that nobody waits for", in: get,
		answer: lines("HTTP/1.1 100 Continue") + hello,
		want:   hello,
		state:  conn.Open,
	},
	{
		name: "a 100 that is waited for", in: lines("PUT / HTTP/1.1", "Host: a", "Expect: 100-continue", "Content-Length: 3"),
		answer: lines("HTTP/1.1 100 Continue") + lines("HTTP/1.1 102 Processing"),
		want:   lines("HTTP/1.1 100 Continue") + lines("HTTP/1.1 102 Processing"),
		state:  conn.Open,
	},
	{
		name:   "an answer before the content",
		in:     lines("PUT / HTTP/1.1", "Host: a", "Expect: 100-continue", "Content-Length: 3"),
		answer: lines("HTTP/1.1 403 Forbidden", dateIs, "Content-Length: 0"),
		want:   lines("HTTP/1.1 403 Forbidden", dateIs, "Content-Length: 0", "Connection: close"),
		state:  conn.Open, // it lingers
	},
}

func TestExpectation(t *testing.T) {
	r := newRig(t, plain)
	r.send(lines("PUT / HTTP/1.1", "Host: a", "Expect: 100-continue", "Content-Length: 3"))
	want := lines("PUT / HTTP/1.1", "Host: a", "Via: 1.1 myriad", "Content-Length: 3", "Expect: 100-continue")
	if got := r.asked(-1); got != want || r.sent() != "" {
		t.Fatalf("the upstream got %q", got)
	}
	r.answer(lines("HTTP/1.1 100 Continue") + lines("HTTP/1.1 100 Continue"))
	if got := r.sent(); got != lines("HTTP/1.1 100 Continue") {
		t.Fatalf("the client got %q", got)
	}
	r.send("abc")
	if got := r.asked(-1); got != "abc" {
		t.Fatalf("the upstream got %q", got)
	}
	r.answer(hello)
	if got := r.sent(); got != hello {
		t.Fatalf("the client got %q", got)
	}
	if r.cause() != "" || r.client.State() != conn.Open {
		t.Errorf("cause %q, %v", r.cause(), r.client.State())
	}
}
