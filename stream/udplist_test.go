package stream

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/upstream"
)

// sessionsOf lists all sessions, a few at a time, and expects none twice.
func sessionsOf(t *testing.T, p *UDP, most int) map[netip.AddrPort]Session {
	t.Helper()
	all, some := map[netip.AddrPort]Session{}, make([]Session, most)
	for from := uint64(0); ; {
		n, next, err := p.List(context.Background(), from, some)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range some[:n] {
			if _, known := all[s.Client]; known {
				t.Errorf("%v is listed twice", s.Client)
			}
			all[s.Client] = s
		}
		if from = next; next == 0 {
			return all
		}
	}
}

// TestUDPList lists the sessions of two loops while they work, and ends some of them.
func TestUDPList(t *testing.T) {
	for _, f := range []driver.Factory{epoll.Factory, uring.Factory} {
		t.Run(f.Name, func(t *testing.T) {
			if s := f.Probe(); !s.OK {
				t.Skipf("the driver does not work here: %s; %s", s.Why, s.Fix)
			}
			server := datagramServer(t, same)
			p, err := NewUDP(UDPOptions{Group: group(t, upstream.Options{}, server)})
			if err != nil {
				t.Fatal(err)
			}
			r := serve(t, rigOptions{factory: f, loops: 2, datagrams: p.Handler})
			if all := sessionsOf(t, p, 8); len(all) != 0 {
				t.Errorf("listed before there were any: %v", all)
			}
			const many = 50
			clients := make([]net.Conn, many)
			for i := range clients {
				clients[i] = r.dial()
				ask(t, clients[i], "hello", "hello")
			}
			all := sessionsOf(t, p, 8)
			for i, c := range clients {
				s, listed := all[c.LocalAddr().(*net.UDPAddr).AddrPort()]
				if !listed || s.Upstream != server || !s.Reached || s.Age < s.Quiet || s.Received.Datagrams == 0 ||
					s.Received.Bytes != 5*s.Received.Datagrams || s.Sent != s.UpstreamReceived || s.Sent.Bytes == 0 {
					t.Errorf("client %d: %+v", i, s)
				}
				if i%2 == 0 {
					continue
				}
				if ended, err := p.End(context.Background(), s.ID); !ended || err != nil {
					t.Errorf("client %d: %v, %v", i, ended, err)
				}
				if ended, err := p.End(context.Background(), s.ID); ended || err != nil {
					t.Errorf("client %d is ended twice: %v, %v", i, ended, err)
				}
			}
			if n, all := p.Counts(), sessionsOf(t, p, 1024); n[Closes] != many/2 || len(all) != many/2 {
				t.Errorf("counted %v, %d are left", n, len(all))
			}
			ask(t, clients[1], "again", "again")
			if all := sessionsOf(t, p, 3); len(all) != many/2+1 {
				t.Errorf("%d sessions", len(all))
			}
			r.stop()
			if n, next, err := p.List(context.Background(), 0, make([]Session, 8)); n != 0 || err != nil {
				t.Errorf("%d, %d, %v when the loops have ended", n, next, err)
			}
		})
	}
}
