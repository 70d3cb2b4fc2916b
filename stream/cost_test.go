package stream

import (
	"net/netip"
	"runtime"
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/upstream"
)

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestIdleCost opens many sessions, has each pass a byte on, and weighs what all hold then. The clients and the server
// are bare descriptors, so that what is weighed is the proxy.
func TestIdleCost(t *testing.T) {
	const sessions = 4000
	for _, f := range []driver.Factory{epoll.Factory, uring.Factory} {
		t.Run(f.Name, func(t *testing.T) {
			if s := f.Probe(); !s.OK {
				t.Skipf("the driver does not work here: %s; %s", s.Why, s.Fix)
			}
			server, err := sys.Socket(sys.Inet4, sys.Stream, true)
			check(t, err)
			any4, _ := sys.EncodeAddress(nil, netip.MustParseAddrPort("127.0.0.1:0"))
			check(t, sys.Bind(server, any4))
			check(t, sys.Listen(server, 2*sessions))
			at, err := sys.LocalAddress(server)
			check(t, err)
			g := group(t, upstream.Options{Pool: upstream.PoolOptions{Max: sessions}}, at.String())
			r, p := proxy(t, f, TCPOptions{Group: g}, "")
			to, _ := sys.EncodeAddress(nil, r.spec.Address)
			open := make([]int, 0, 2*sessions)
			t.Cleanup(func() {
				check(t, sys.Close(server))
				for _, fd := range open {
					sys.Close(fd)
				}
			})
			settled := func(n int64) func() bool {
				return func() bool {
					for fd, err := sys.Accept(server); err == nil; fd, err = sys.Accept(server) {
						open = append(open, fd)
					}
					return int64(len(open)) == 2*n && r.meters[0].Snapshot()[meter.BytesOut] == n
				}
			}
			var before uint64
			for i := range sessions {
				if i%100 == 0 { // a crowd at once would need more for a moment
					eventually(t, "every byte is passed on", settled(int64(i)))
				}
				if i == sessions/8 { // what is made once is made by now
					before = heap()
				}
				client, err := sys.Socket(sys.Inet4, sys.Stream, false)
				check(t, err)
				open = append(open, client)
				check(t, sys.Connect(client, to))
				_, err = sys.Send(client, []byte("x"), 0)
				check(t, err)
			}
			eventually(t, "every byte is passed on", settled(sessions))
			if n := p.Counts(); n[Open] != sessions {
				t.Fatalf("counted %v", n)
			}
			each := (int64(heap()) - int64(before)) / (sessions * 7 / 8)
			r.do(func() {
				if n := r.pools[0].Lent(); n > sessions/16 { // the driver's own supply
					t.Errorf("silent sessions hold %d blocks", n)
				}
			})
			t.Logf("%s: an idle session holds %d bytes of user memory, both sides together", f.Name, each)
			if each > 600 {
				t.Errorf("an idle session holds %d bytes", each)
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
