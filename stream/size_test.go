package stream

import (
	"net"
	"reflect"
	"testing"

	"github.com/myriad-server/myriad/driver/epoll"
)

// TestSize keeps an idle session small.
func TestSize(t *testing.T) {
	if n := reflect.TypeFor[session]().Size(); n > 144 {
		t.Errorf("a session takes %d bytes", n)
	}
}

// BenchmarkPass sends small messages there and back through a proxy.
func BenchmarkPass(b *testing.B) {
	r, _ := proxy(b, epoll.Factory, TCPOptions{}, server(b, "tcp", func(c net.Conn) {
		var message [64]byte
		for {
			n, err := c.Read(message[:])
			if err != nil {
				return
			}
			if _, err := c.Write(message[:n]); err != nil {
				return
			}
		}
	}))
	c := r.dial()
	var message [64]byte
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(message[:]); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(message[:]); err != nil {
			b.Fatal(err)
		}
	}
}
