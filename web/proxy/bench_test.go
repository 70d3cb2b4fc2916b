package proxy_test

import (
	"testing"

	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// BenchmarkGet is a small request over a pooled link, both sides in memory.
func BenchmarkGet(b *testing.B) {
	r := newRig(b, func(o *proxy.Options, u *upstream.Options, s *web.Server) {
		s.Log = nil
		u.Endpoints = u.Endpoints[:1]
	})
	ask := []byte(lines("GET /test HTTP/1.1", "Host: 127.0.0.1:8080", "User-Agent: load/1.0", "Accept: */*",
		"Accept-Encoding: gzip", "Cookie: session=0123456789abcdef"))
	answer := []byte(lines("HTTP/1.1 200 OK", "Server: nginx", "Date: Sun, 06 Nov 1994 08:49:37 GMT",
		"Content-Type: text/plain", "Content-Length: 13", "Connection: keep-alive") + "Hello, World!")
	r.client.Receive(ask)
	r.turn()
	up := r.upstream(0)
	up.Receive(answer)
	r.turn()
	r.client.Discard, up.Discard = true, true
	b.ReportAllocs()
	for b.Loop() {
		r.client.Receive(ask)
		up.Turn()
		up.Receive(answer)
		r.client.Turn()
	}
	if n := len(r.dialer.Conns); n != 1 {
		b.Errorf("%d links", n)
	}
}
