package stream

import (
	"net"
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/upstream"
)

// TestUDPEndpointsMove replaces the servers under sessions, as a name does that is found elsewhere: old sessions stay
// where they are, new ones go to the new server, and so do the old ones when theirs is gone. Then there is no server at
// all, and then one again.
func TestUDPEndpointsMove(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		first, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p := make([]byte, 100)
			for {
				n, from, err := first.ReadFrom(p)
				if err != nil {
					return
				}
				first.WriteTo(append(p[:n], " 1"...), from)
			}
		}()
		second := datagramServer(t, func(text string) []string { return []string{text + " 2"} })
		g := group(t, upstream.Options{}, first.LocalAddr().String())
		r, p := datagramProxy(t, f, UDPOptions{Group: g})
		old := r.dial()
		ask(t, old, "a", "a 1")
		move := func(to ...string) {
			var list []upstream.EndpointOptions
			for _, at := range to {
				list = append(list, upstream.EndpointOptions{Address: at})
			}
			if err := g.SetEndpoints(list); err != nil {
				t.Fatal(err)
			}
		}
		move(second)
		ask(t, r.dial(), "b", "b 2")
		ask(t, old, "c", "c 1")
		first.Close()
		<-ended
		ask(t, old, "d", "d 2")
		move()
		unreached := r.dial()
		eventually(t, "nobody can be reached", func() bool {
			send(t, unreached, "e")
			return p.Counts()[Unreached] > 0
		})
		ask(t, old, "f", "f 2")
		move(second)
		ask(t, unreached, "g", "g 2")
		if n := p.Counts(); n[Open] != 3 || n[Undelivered] == 0 {
			t.Errorf("counted %v", n)
		}
	})
}
