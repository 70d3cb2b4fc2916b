package matrix

import (
	"fmt"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/web"
)

// refusals is what is not served, and how the client is told.
var refusals = []behaviour{
	{name: "CONNECT", check: refuses(501, "CONNECT matrix.test:443 HTTP/1.1\r\nHost: matrix.test\r\n\r\n")},
	{name: "TRACE", check: refuses(405, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")},
	{name: "unknown method", check: refuses(501, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n")},
	{name: "unknown version", check: refuses(505,
		"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
		"GET / HTTP/3.7\r\nHost: a\r\n\r\n",
	)},
	{name: "no HTTP", check: refuses(400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", "HELLO\r\n\r\n")},
	{name: "Host that is missing or in doubt", check: refuses(400,
		"GET /hello HTTP/1.1\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a@b\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a:b\r\n\r\n",
	)},
	{name: "malformed request lines", check: refuses(400,
		"GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /hello  HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /hello HTTP/1.1 \r\nHost: a\r\n\r\n",
		"GET\t/hello HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET hello HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /hel\x00lo HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /hello http/1.1\r\nHost: a\r\n\r\n",
		" GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
	)},
	{name: "smuggling by lines", check: refuses(400,
		"GET /hello HTTP/1.1\nHost: a\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
		"GET /hello HTTP/1.1\r\n Host: a\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost : a\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
		"GET /hello HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
	)},
	{name: "smuggling by lengths", check: refuses(400,
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /posted HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: 5a\r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999\r\n\r\nabcde",
		"POST /posted HTTP/1.1\r\nHost: a\r\nContent-Length: 5\x0b\r\n\r\nabcde",
	)},
	{name: "smuggling by codings", check: codings},
	{name: "smuggling by chunks", check: chunks},
	{name: "content that is too large", check: contentTooLarge},
	{name: "target that is too long", check: tooLong(414, "GET /"+strings.Repeat("a", 2<<10),
		"limits.target=1KiB")},
	{name: "head that is too large", check: tooLong(431,
		"GET /hello HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("a", 2<<10), "limits.head=1KiB", "limits.target=256")},
	{name: "too many fields", check: tooLong(431,
		"GET /hello HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: a\r\n", 20)+"\r\n", "limits.fields=10")},
}

// smuggled is what must never be answered behind something that is in doubt.
const smuggled = "GET /made HTTP/1.1\r\nHost: smuggled.test\r\n\r\n"

// refuses wants each request refused, the connection ended in order, and nothing behind it answered.
func refuses(status int, requests ...string) func(*testing.T, *suite) {
	return func(t *testing.T, s *suite) {
		v := s.start(t)
		for _, text := range requests {
			v.refuses(status, text+smuggled)
		}
	}
}

func (v *server) refuses(status int, text string) {
	v.t.Helper()
	c := v.dial()
	defer c.Close()
	c.send(text)
	a, err := c.read("GET")
	if err != nil {
		v.t.Errorf("%.100q: %v", text, err)
		return
	}
	if a.status != status || a.field("Connection") != "close" {
		v.t.Errorf("%.100q: %q, want %d and the end", text, a.head, status)
		return
	}
	if !strings.HasPrefix(string(a.body), fmt.Sprint(status)) {
		v.t.Errorf("%.100q: the client is told %q", text, a.body)
	}
	c.halfClose() // it has nothing to add, so that the end comes at once
	c.wantEnd()
}

// codings are transfer codings that leave the end of the content in doubt.
func codings(t *testing.T, s *suite) {
	v := s.start(t)
	for _, fields := range []string{
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked, chunked",
		"Transfer-Encoding: chunked, identity",
		"Transfer-Encoding: identity",
		"Transfer-Encoding: xchunked",
		"Transfer-Encoding: \"chunked\"",
		"Transfer-Encoding: \x0bchunked",
		"Transfer-Encoding: chunked\x00",
		"Transfer-Encoding:",
		"Transfer-Encoding : chunked",
		"Transfer-Encoding: chunked;q=1",
		"Transfer-Encoding:\r\n chunked",
	} {
		c := v.dial()
		c.send("POST /posted HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n\r\n0\r\n\r\n" + smuggled)
		a := c.answer("POST")
		if a.status != 400 && a.status != 501 || a.field("Connection") != "close" {
			t.Errorf("%q: %q", fields, a.head)
		}
		c.halfClose()
		c.wantEnd()
		_ = c.Close()
	}
	v.refuses(400, "POST /posted HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+smuggled)
}

// badChunks are contents that cannot be read in one way only.
var badChunks = []string{
	"5\nabcde\r\n0\r\n\r\n",
	"5\r\nabcde\n0\r\n\r\n",
	"5\r\nabcdeX\r\n0\r\n\r\n",
	"5 \r\nabcde\r\n0\r\n\r\n",
	" 5\r\nabcde\r\n0\r\n\r\n",
	"+5\r\nabcde\r\n0\r\n\r\n",
	"-5\r\nabcde\r\n0\r\n\r\n",
	"0x5\r\nabcde\r\n0\r\n\r\n",
	"5g\r\nabcde\r\n0\r\n\r\n",
	"\r\nabcde\r\n0\r\n\r\n",
	"fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
	"5;a=\"b\r\nabcde\r\n0\r\n\r\n",
	"5;a\nb\r\nabcde\r\n0\r\n\r\n",
	"0\r\nContent-Length: 5\r\n\r\n",
	"0\r\nX : 5\r\n\r\n",
	"0\r\n folded: 5\r\n\r\n",
	"0\r\nX: 5\n\r\n",
}

func chunks(t *testing.T, s *suite) {
	v := s.serve(t, &web.Server{Root: web.HandlerFunc(collect)})
	for _, bad := range badChunks {
		v.refuses(400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+bad+smuggled)
	}
}

// contentTooLarge is found out from the head, or on the way. The client, which goes on sending, must see the answer.
func contentTooLarge(t *testing.T, s *suite) {
	v := s.start(t, "limits.body=1KiB")
	large := string(content(9, 1<<20))
	c := v.dial()
	c.send(request("POST", "/posted", "Content-Length: 1048576") + large)
	c.answer("POST").want(413).wantField("Connection", "close")
	c.halfClose()
	c.wantEnd()
	_ = c.Close()

	c = v.dial()
	c.send(request("POST", "/posted", "Content-Length: 1024") + large[:1024])
	c.answer("POST").want(200).wantBody([]byte("posted"))
	c.get("/hello").want(200).wantBody(hello)
	_ = c.Close()

	limited := s.serve(t, &web.Server{Root: web.HandlerFunc(collect), Limits: web.Limits{BodyBytes: 1 << 10}})
	c = limited.dial()
	c.send(request("POST", "/", "Transfer-Encoding: chunked") + "10000\r\n" + large[:64<<10] + "\r\n0\r\n\r\n")
	c.answer("POST").want(413).wantField("Connection", "close")
	c.halfClose()
	c.wantEnd()
}

// tooLong wants a head refused as soon as it is over a limit, though it may not be complete.
func tooLong(status int, text string, limits ...string) func(*testing.T, *suite) {
	return func(t *testing.T, s *suite) {
		v := s.start(t, limits...)
		v.refuses(status, text)
		v.dial().get("/hello").want(200).wantBody(hello)
	}
}
