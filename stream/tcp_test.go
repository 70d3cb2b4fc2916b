package stream

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
)

func TestEcho(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		r, p := proxy(t, f, TCPOptions{}, server(t, "tcp", echo))
		c := r.dial()
		for range 3 {
			send(t, c, "hello")
			want(t, c, "hello")
		}
		if n := p.Counts(); n[Sessions] != 1 || n[Open] != 1 {
			t.Errorf("counted %v", n)
		}
		c.Close()
		eventually(t, "the session ends", func() bool { return p.Counts()[Open] == 0 })
	})
}
