package web_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// kept is a file for tests, which counts its holders.
type kept struct {
	*os.File
	holds atomic.Int64
}

func (f *kept) Descriptor() int { return int(f.Fd()) }
func (f *kept) Hold()           { f.holds.Add(1) }
func (f *kept) Release()        { f.holds.Add(-1) }

func open(t testing.TB, content string) *kept {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{File: f}
	t.Cleanup(func() {
		f.Close()
		if n := k.holds.Load(); n != 0 {
			t.Errorf("the file has %d holders at the end", n)
		}
	})
	return k
}

var errPanic = errors.New("the handler's fault")

// site answers each path in another way.
func site(t testing.TB) web.Handler {
	paths := later()
	maps.Copy(paths, atOnce(open(t, "0123456789")))
	return web.HandlerFunc(func(x *web.Exchange) {
		if f := paths[string(x.Path())]; f != nil {
			f(x)
		} else {
			x.Fail(404)
		}
	})
}

// atOnce are the paths that are answered before Serve returns.
func atOnce(file *kept) map[string]func(x *web.Exchange) {
	answer := web.NewAnswer(200, "text/plain", []byte("hello"))
	return map[string]func(x *web.Exchange){
		"/hello": func(x *web.Exchange) { x.Respond(answer) },
		"/reply": func(x *web.Exchange) {
			x.Status(201)
			x.Add("X-Split", "a\r\nSet-Cookie: b")
			x.Add("Bad Name", "x")
			x.Add("Content-Length", "99")
			x.Add("Transfer-Encoding", "chunked")
			x.Reply([]byte("made"))
		},
		"/stream": func(x *web.Exchange) {
			x.Begin(-1)
			x.Write([]byte("one,"))
			x.Write(nil)
			x.Write([]byte("two"))
			x.Trailer("X-Sum", "7")
			x.End()
		},
		"/panic":  func(x *web.Exchange) { panic(errPanic) },
		"/broken": func(x *web.Exchange) { x.Begin(10); x.Write([]byte("abc")); panic(errPanic) },
		"/short":  func(x *web.Exchange) { x.Begin(10); x.Write([]byte("abc")); x.End() },
		"/long":   func(x *web.Exchange) { x.Begin(3); x.Write([]byte("abcdef")); x.End() },
		"/close":  func(x *web.Exchange) { x.Close(); x.Respond(answer) },
		"/file": func(x *web.Exchange) {
			file.Hold()
			x.ReplyFile(file, 2, 5)
		},
		"/parts": func(x *web.Exchange) {
			x.Begin(-1)
			file.Hold()
			x.WriteFile(file, 0, 3)
			x.End()
		},
		"/none":  func(x *web.Exchange) { x.Status(204); x.Reply([]byte("x")) },
		"/twice": func(x *web.Exchange) { x.Respond(answer); x.Respond(answer); x.Reply([]byte("x")); x.Fail(500) },
		"/path":  func(x *web.Exchange) { x.Reply(x.Path()) },
	}
}

// later are the paths that are answered when there is something to answer with.
func later() map[string]func(x *web.Exchange) {
	return map[string]func(x *web.Exchange){
		"/echo": func(x *web.Exchange) {
			var all []byte
			x.OnBody(func(chunk []byte, done bool) {
				if all = append(all, chunk...); done {
					x.Reply(fmt.Appendf(nil, "%d %s", len(all), all))
				}
			})
		},
		"/late": func(x *web.Exchange) {
			x.Ref().Post(func(conn.Conn) { x.Reply(append([]byte("late "), x.Query()...)) })
		},
		"/later": func(x *web.Exchange) {
			x.Ref().Post(func(conn.Conn) {
				x.Begin(-1)
				x.Write([]byte("some "))
				x.Ref().Post(func(conn.Conn) { x.Write([]byte("more")); x.End() })
			})
		},
		"/both": func(x *web.Exchange) {
			x.Begin(-1)
			x.OnBody(func(chunk []byte, done bool) {
				if x.Write(chunk); done {
					x.End()
				}
			})
		},
	}
}

// exchange is a case: what the client sends, and what it gets. An answer is a status, a space and the content.
type exchange struct {
	name    string
	in      string
	answers []string
	state   conn.State
	reset   bool // the answer is broken off
}

// request makes a request: its line, fields, and content.
func request(line, content string, fields ...string) string {
	head := line + " HTTP/1.1\r\nHost: a\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	return head + "\r\n" + content
}

func exchanges() []exchange {
	get := func(path string) string { return request("GET "+path, "") }
	const chunks = "5;a=b\r\nabcde\r\n3\r\nfgh\r\n0\r\nX: y\r\n\r\n"
	return []exchange{
		{name: "hello", in: get("/hello"), answers: []string{"200 hello"}},
		{name: "head", in: request("HEAD /hello", "") + request("HEAD /stream", "") + request("HEAD /file", "") +
			request("HEAD /reply", ""), answers: []string{"200 ", "200 ", "200 ", "201 "}},
		{name: "fields", in: get("/reply"), answers: []string{"201 made"}},
		{name: "stream", in: get("/stream"), answers: []string{"200 one,two"}},
		{name: "file", in: get("/file") + get("/parts"), answers: []string{"200 23456", "200 012"}},
		{name: "no content", in: get("/none") + get("/hello"), answers: []string{"204 ", "200 hello"}},
		{name: "answered twice", in: get("/twice") + get("/hello"), answers: []string{"200 hello", "200 hello"}},
		{name: "too long", in: get("/long") + get("/hello"), answers: []string{"200 abc", "200 hello"}},
		{
			name: "length", in: request("POST /echo", "abc", "Content-Length: 3") + get("/hello"),
			answers: []string{"200 3 abc", "200 hello"},
		},
		{
			name: "chunks", in: request("POST /echo", chunks, "Transfer-Encoding: chunked") + get("/hello"),
			answers: []string{"200 8 abcdefgh", "200 hello"},
		},
		{
			name: "content both ways", in: request("POST /both", chunks, "Transfer-Encoding: chunked") + get("/hello"),
			answers: []string{"200 abcdefgh", "200 hello"},
		},
		{
			name: "no content to read", in: request("POST /echo", "", "Content-Length: 0") + get("/echo"),
			answers: []string{"200 0 ", "200 0 "},
		},
		{
			name: "content nobody wants", in: request("POST /hello", "abc", "Content-Length: 3") + get("/hello"),
			answers: []string{"200 hello", "200 hello"},
		},
		{
			name: "late", in: get("/late?a") + get("/later") + get("/late?b") + get("/hello"),
			answers: []string{"200 late a", "200 some more", "200 late b", "200 hello"},
		},
		{
			name: "late with content nobody wants", in: request("POST /late?a", "abc", "Content-Length: 3") + get("/hello"),
			answers: []string{"200 late a", "200 hello"},
		},
		{name: "pipeline", in: strings.Repeat(get("/hello"), 5), answers: []string{
			"200 hello", "200 hello", "200 hello", "200 hello", "200 hello",
		}},
		{
			name: "lines before", in: "\r\n" + get("/hello") + "\r\n" + get("/hello"),
			answers: []string{"200 hello", "200 hello"},
		},
		{name: "not found", in: get("/x") + get("/hello"), answers: []string{"404 404 Not Found\n", "200 hello"}},
		{name: "path", in: get("/a/../%70ath"), answers: []string{"200 /path"}},
		{name: "absolute", in: "GET http://b/path HTTP/1.1\r\nHost: a\r\n\r\n", answers: []string{"200 /path"}},
		{name: "options", in: request("OPTIONS *", "") + get("/hello"), answers: []string{"204 ", "200 hello"}},
	}
}

// closings are exchanges behind which the connection closes, and those of HTTP/1.0.
func closings() []exchange {
	get := func(path string) string { return request("GET "+path, "") }
	return []exchange{
		{
			name: "close asked", in: request("GET /hello", "", "Connection: close"), answers: []string{"200 hello"},
			state: conn.Closed,
		},
		{name: "close decided", in: get("/close"), answers: []string{"200 hello"}, state: conn.Closed},
		{name: "1.0", in: "GET /hello HTTP/1.0\r\n\r\n", answers: []string{"200 hello"}, state: conn.Closed},
		{
			name: "1.0 stream", in: "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			answers: []string{"200 one,two"}, state: conn.Closed,
		},
		{
			name: "1.0 kept", in: strings.Repeat("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 2),
			answers: []string{"200 hello", "200 hello"},
		},
		{name: "panic", in: get("/panic"), answers: []string{"500 500 Internal Server Error\n"}, state: conn.Closed},
		{name: "panic within", in: get("/broken"), reset: true, state: conn.Closed},
		{name: "too short", in: get("/short"), reset: true, state: conn.Closed},
	}
}

// refusals are requests that no handler sees. Their connections close at once, or linger when the client may still be
// sending.
func refusals() []exchange {
	refuse := func(name, in, answer string) exchange {
		return exchange{name: name, in: in, answers: []string{answer}, state: conn.Open}
	}
	whole := func(name, in, answer string) exchange {
		return exchange{name: name, in: in, answers: []string{answer}, state: conn.Closed}
	}
	return []exchange{
		refuse("no host", "GET / HTTP/1.1\r\n\r\n", "400 400 Bad Request: no Host field\n"),
		refuse("nonsense", "\x16\x03\x01\r\n\r\n", "400 400 Bad Request: message begins with a byte that no method has\n"),
		refuse("version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
			"505 505 HTTP Version Not Supported: major version is not 1\n"),
		refuse("target", request("GET /"+strings.Repeat("x", 9000), ""),
			"414 414 URI Too Long: request target too long\n"),
		refuse("head", request("GET /", "", "X: "+strings.Repeat("x", 17000)),
			"431 431 Request Header Fields Too Large: head too large\n"),
		whole("method", request("BREW /", ""), "501 501 Not Implemented: unknown method\n"),
		whole("trace", request("TRACE /", ""), "405 405 Method Not Allowed: TRACE is not allowed\n"),
		whole("connect", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "501 501 Not Implemented: this is not a proxy\n"),
		refuse("expectation", request("POST /echo", "", "Expect: tea", "Content-Length: 3"),
			"417 417 Expectation Failed: only 100-continue can be expected\n"),
		refuse("length", request("POST /echo", "", "Content-Length: 2000000"),
			"413 413 Content Too Large: the content is too large\n"),
		whole("root", request("GET /../x", ""), "400 400 Bad Request: malformed path\n"),
		refuse("smuggling", request("POST /echo", "0\r\n\r\n", "Content-Length: 3", "Transfer-Encoding: chunked"),
			"400 400 Bad Request: both Content-Length and Transfer-Encoding\n"),
		refuse("chunk", request("POST /echo", "x\r\n", "Transfer-Encoding: chunked"),
			"400 400 Bad Request: malformed chunk size\n"),
	}
}

// methodsOf are the methods of requests, as the reader of their answers must know them.
func methodsOf(in string, n int) []string {
	var methods []string
	for _, line := range strings.Split(in, "\r\n") {
		if name, rest, ok := strings.Cut(line, " "); ok && strings.Contains(rest, "HTTP/") {
			methods = append(methods, name)
		}
	}
	for len(methods) < n {
		methods = append(methods, "GET")
	}
	return methods[:n]
}

// check feeds the pieces of a case to a handler and looks at what comes back.
func (e *exchange) check(h conn.Handler, pieces ...string) error {
	c := webtest.New(h)
	for _, p := range pieces {
		c.Receive([]byte(p))
	}
	answers, err := webtest.Read(c.Sent, methodsOf(e.in, max(1, len(e.answers)))...)
	if e.reset {
		if err == nil || c.Why == nil {
			return fmt.Errorf("not broken off: %v, %q", c.Why, c.Sent)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w in %q", err, c.Sent)
	}
	for i, a := range answers {
		if got := fmt.Sprint(a.StatusCode, " ", a.Body); got != e.answers[i] {
			return fmt.Errorf("answer %d is %q, not %q", i, got, e.answers[i])
		}
		if last := i == len(answers)-1; a.Close && !last {
			return fmt.Errorf("answer %d of %d closes", i, len(answers))
		}
	}
	want := e.state
	if want == conn.Opening {
		want = conn.Open
		if c.Attached() != nil || !c.Idle || c.Timer == 0 || c.Paused {
			return fmt.Errorf("attached %v, idle %v, timer %d, paused %v", c.Attached(), c.Idle, c.Timer, c.Paused)
		}
	}
	if c.State() != want {
		return fmt.Errorf("the connection is %v, not %v", c.State(), want)
	}
	return nil
}

// TestExchanges feeds every case whole, cut in two at every place, and byte by byte.
func TestExchanges(t *testing.T) {
	h := (&web.Server{Name: "test", Root: site(t)}).Handler()
	for _, e := range slices.Concat(exchanges(), closings(), refusals()) {
		if err := e.check(h, e.in); err != nil {
			t.Errorf("%s: %v", e.name, err)
			continue
		}
		step := max(1, len(e.in)/500)
		for i := 1; i < len(e.in); i += step {
			if err := e.check(h, e.in[:i], e.in[i:]); err != nil {
				t.Errorf("%s, cut at %d: %v", e.name, i, err)
				break
			}
		}
		if err := e.check(h, strings.Split(e.in, "")...); err != nil {
			t.Errorf("%s, byte by byte: %v", e.name, err)
		}
	}
}

// TestFields looks at the heads themselves.
func TestFields(t *testing.T) {
	h := (&web.Server{Name: "a\r\nb", Root: site(t)}).Handler()
	const start = "Server: a  b\r\n" + date
	for in, want := range map[string]string{
		request("GET /reply", ""): "HTTP/1.1 201 Created\r\n" + start +
			"X-Split: a  Set-Cookie: b\r\nContent-Length: 4\r\n\r\nmade",
		request("GET /stream", ""): "HTTP/1.1 200 OK\r\n" + start +
			"Transfer-Encoding: chunked\r\n\r\n4\r\none,\r\n3\r\ntwo\r\n0\r\nX-Sum: 7\r\n\r\n",
		"GET /stream HTTP/1.0\r\n\r\n": "HTTP/1.1 200 OK\r\n" + start + "Connection: close\r\n\r\none,two",
		"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n": "HTTP/1.1 200 OK\r\n" + start +
			"Connection: keep-alive\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
		request("GET /none", ""):  "HTTP/1.1 204 No Content\r\n" + start + "\r\n",
		request("HEAD /file", ""): "HTTP/1.1 200 OK\r\n" + start + "Content-Length: 5\r\n\r\n",
		request("OPTIONS *", ""): "HTTP/1.1 204 No Content\r\n" + start +
			"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n\r\n",
	} {
		c := webtest.New(h)
		c.Receive([]byte(in))
		if string(c.Sent) != want {
			t.Errorf("%q:\n%q, not\n%q", in, c.Sent, want)
		}
	}
}

func TestLargeAnswer(t *testing.T) {
	body := []byte(strings.Repeat("0123456789", 2000))
	a := web.NewAnswer(200, "", body, http1.FieldLine{Name: "X", Value: strings.Repeat("y", 5000)})
	h := (&web.Server{Root: web.HandlerFunc(func(x *web.Exchange) { x.Respond(a) })}).Handler()
	for _, method := range []string{"GET", "HEAD"} {
		got, err := webtest.Ask(h, request(method+" /", ""))
		if err != nil || method == "GET" && got.Body != string(body) || got.ContentLength != int64(len(body)) {
			t.Errorf("%s: %v, %d bytes", method, err, len(got.Body))
		}
	}
}

// TestBlocks sends blocks in every framing; each is given back, sent or not.
func TestBlocks(t *testing.T) {
	pool, err := buf.NewPool(64, 4, buf.Heap)
	if err != nil {
		t.Fatal(err)
	}
	s := &web.Server{Root: web.HandlerFunc(func(x *web.Exchange) {
		b := pool.Take()
		copy(b.Bytes(), "0123456789")
		length, err := strconv.ParseInt(string(x.Path()[1:]), 10, 64)
		if err != nil {
			length = -1
		}
		x.Begin(length)
		x.WriteBlock(b, 2, 8)
		x.End()
		late := pool.Take()
		x.WriteBlock(late, 0, 1)
	})}
	for in, want := range map[string]string{
		request("GET /6", ""): "234567", request("GET /3", ""): "234", request("GET /x", ""): "234567",
		"GET /x HTTP/1.0\r\n\r\n": "234567", request("HEAD /6", ""): "",
	} {
		if a, err := webtest.Ask(s.Handler(), in); err != nil || a.Body != want {
			t.Errorf("%q: %q, %v", in, a.Body, err)
		}
	}
	if pool.Lent() != 0 {
		t.Errorf("%d blocks were not given back", pool.Lent())
	}
}
