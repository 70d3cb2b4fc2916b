package matrix

import (
	"strings"
	"testing"
	"time"
)

// messages is how requests and answers follow each other on a connection.
var messages = []behaviour{
	{name: "keep-alive", check: keepAlive},
	{name: "pipelining", check: pipelining},
	{name: "pipelining of large answers", check: pipeliningLarge},
	{name: "head byte by byte", check: headByByte},
	{name: "connection close", check: connectionClose},
	{name: "requests per connection", check: requestsPerConnection},
	{name: "HTTP 1.0", check: oldVersion},
	{name: "HTTP 1.0 keep-alive", check: oldKeepAlive},
	{name: "HEAD", check: head},
	{name: "OPTIONS of the server", check: options},
	{name: "absolute form", check: absoluteForm},
	{name: "virtual host", check: virtualHost},
	{name: "fixed answers", check: fixedAnswers},
	{name: "date", check: date},
}

var hello = []byte("hello")

func keepAlive(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for range 5 {
		a := c.get("/hello").want(200).wantBody(hello)
		a.wantField("Connection", "").wantField("Server", "myriad").wantField("Content-Length", "5")
	}
	c.silent(20 * time.Millisecond)
}

func pipelining(t *testing.T, s *suite) {
	c := s.start(t).dial()
	const rounds = 32
	c.send(strings.Repeat(request("GET", "/hello")+request("HEAD", "/small.txt")+"\r\n"+
		request("GET", "/small.txt")+request("GET", "/none")+request("GET", "/medium.bin"), rounds))
	for range rounds {
		c.answer("GET").want(200).wantBody(hello)
		c.answer("HEAD").want(200)
		c.answer("GET").want(200).wantBody(content(1, smallBytes))
		c.answer("GET").want(404)
		c.answer("GET").want(200).wantBody(content(2, mediumSize))
	}
	c.silent(10 * time.Millisecond)
}

// pipeliningLarge asks for far more than may be queued before it reads anything.
func pipeliningLarge(t *testing.T, s *suite) {
	c := s.start(t, "limits.output_per_connection=64KiB", "listeners[0].send_buffer=128KiB").dial()
	const asked = 150
	c.send(strings.Repeat(request("GET", "/medium.bin"), asked))
	want := content(2, mediumSize)
	for range asked {
		c.answer("GET").want(200).wantBody(want)
	}
	c.get("/hello").want(200).wantBody(hello)
}

func headByByte(t *testing.T, s *suite) {
	c := s.start(t).dial()
	text := request("GET", "/hello", "X-Field: value")
	for i := range text {
		c.send(text[i : i+1])
	}
	c.answer("GET").want(200).wantBody(hello)
	c.get("/hello").want(200).wantBody(hello)
}

func connectionClose(t *testing.T, s *suite) {
	v := s.start(t)
	for _, field := range []string{"Connection: close", "connection: CLOSE", "Connection: x, close"} {
		c := v.dial()
		c.send(request("GET", "/hello", field) + request("GET", "/made"))
		c.answer("GET").want(200).wantBody(hello).wantField("Connection", "close")
		c.wantEnd()
		_ = c.Close()
	}
}

func requestsPerConnection(t *testing.T, s *suite) {
	c := s.start(t, "limits.requests_per_connection=3").dial()
	c.get("/hello").want(200).wantField("Connection", "")
	c.get("/hello").want(200).wantField("Connection", "")
	c.get("/hello").want(200).wantField("Connection", "close")
	c.wantEnd()
}

func oldVersion(t *testing.T, s *suite) {
	v := s.start(t)
	for _, path := range []string{"/hello", "/medium.bin"} {
		c := v.dial()
		c.send(lines("GET "+path+" HTTP/1.0", "", "GET /made HTTP/1.0", ""))
		body := hello
		if path != "/hello" {
			body = content(2, mediumSize)
		}
		c.answer("GET").want(200).wantBody(body).wantField("Connection", "close")
		c.wantEnd()
		_ = c.Close()
	}
}

func oldKeepAlive(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for range 3 {
		c.send(lines("GET /hello HTTP/1.0", "Connection: keep-alive", ""))
		c.answer("GET").want(200).wantBody(hello).wantField("Connection", "keep-alive")
	}
	c.send(lines("GET /hello HTTP/1.0", ""))
	c.answer("GET").want(200).wantBody(hello)
	c.wantEnd()
}

// head wants the head of a GET, and nothing else.
func head(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for _, path := range []string{"/hello", "/small.txt", "/medium.bin", "/large.bin", "/none", "/away", "/folder"} {
		c.send(request("HEAD", path))
		short := c.answer("HEAD")
		long := c.get(path).want(short.status)
		for _, name := range []string{"Content-Length", "Content-Type", "ETag", "Last-Modified", "Location"} {
			short.wantField(name, long.field(name))
		}
	}
}

func options(t *testing.T, s *suite) {
	c := s.start(t).dial()
	c.send(request("OPTIONS", "*"))
	c.answer("OPTIONS").want(204).wantField("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")
	c.send(request("OPTIONS", "/small.txt"))
	c.answer("OPTIONS").want(204).wantField("Allow", "GET, HEAD, OPTIONS")
	c.get("/hello").want(200).wantBody(hello)
}

func absoluteForm(t *testing.T, s *suite) {
	c := s.start(t).dial()
	c.send(request("GET", "http://matrix.test/hello"))
	c.answer("GET").want(200).wantBody(hello)
	// The target's host counts, not the field (RFC 9112 section 3.2.2).
	c.send(request("GET", "http://other.test/"))
	c.answer("GET").want(200).wantBody([]byte("other"))
}

func virtualHost(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for _, host := range []string{"other.test", "OTHER.test:8080"} {
		c.send(lines("GET / HTTP/1.1", "Host: "+host, ""))
		c.answer("GET").want(200).wantBody([]byte("other"))
	}
	c.get("/").want(200).wantBody([]byte("<p>root"))
}

func fixedAnswers(t *testing.T, s *suite) {
	c := s.start(t).dial()
	a := c.get("/made").want(201).wantBody([]byte("made"))
	a.wantField("Content-Type", "a/b").wantField("X-One", "1").wantField("X-Two", "2")
	c.get("/nothing").want(204)
	c.get("/away").want(302).wantField("Location", "/hello?from=away")
	c.send(request("POST", "/posted", "Content-Length: 3") + "abc")
	c.answer("POST").want(200).wantBody([]byte("posted"))
	c.get("/hello").want(200).wantBody(hello)
}

// date wants it to be there, in the form of IMF-fixdate, and to go on; every other row checks the first two as well.
func date(t *testing.T, s *suite) {
	c := s.start(t).dial()
	at := func() time.Time {
		parsed, err := time.Parse(dateForm, c.get("/hello").want(200).field("Date"))
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	first := at()
	for deadline := time.Now().Add(patience); ; c.silent(50 * time.Millisecond) {
		switch now := at(); {
		case now.Before(first):
			t.Fatalf("it went back from %v to %v", first, now)
		case now.After(first):
			return
		case time.Now().After(deadline):
			t.Fatalf("it stands still at %v", first)
		}
	}
}
