package web_test

import (
	"strings"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

const date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

const helloAnswer = "HTTP/1.1 200 OK\r\nServer: test\r\n" + date +
	"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

func hello() *web.Server {
	a := web.NewAnswer(200, "text/plain", []byte("hello"))
	return &web.Server{Name: "test", Root: web.HandlerFunc(func(x *web.Exchange) { x.Respond(a) })}
}

func TestHello(t *testing.T) {
	c := webtest.New(hello().Handler())
	get := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	c.Receive([]byte(get))
	c.Receive([]byte(get + get))
	if got, want := string(c.Sent), strings.Repeat(helloAnswer, 3); got != want {
		t.Errorf("sent %q", got)
	}
	if !c.Idle || c.Attached() != nil || c.State() != conn.Open {
		t.Errorf("idle %v, attached %v, %v", c.Idle, c.Attached(), c.State())
	}
}

func BenchmarkHello(b *testing.B) {
	c := webtest.New(hello().Handler())
	c.Discard = true
	get := []byte("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		c.Receive(get)
	}
}

// BenchmarkPipelined is per request.
func BenchmarkPipelined(b *testing.B) {
	c := webtest.New(hello().Handler())
	c.Discard = true
	get := []byte(strings.Repeat("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", 16))
	b.ReportAllocs()
	for i := 0; i < b.N; i += 16 {
		c.Receive(get)
	}
}

// BenchmarkLate is of a request that is answered after its bytes have gone.
func BenchmarkLate(b *testing.B) {
	a := web.NewAnswer(200, "text/plain", []byte("hello"))
	var last *web.Exchange
	s := &web.Server{Root: web.HandlerFunc(func(x *web.Exchange) { last = x })}
	c := webtest.New(s.Handler())
	c.Discard = true
	get := []byte("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		c.Receive(get)
		last.Respond(a)
		c.Turn()
	}
}
