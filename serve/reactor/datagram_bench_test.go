package reactor_test

import (
	"context"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/serve/reactor"
	"github.com/myriad-server/myriad/serve/servetest"
)

// returned sends datagrams back.
type returned struct{ dialer chan conn.Dialer }

func (r returned) Started(d conn.Dialer) { r.dialer <- d }

func (returned) Datagram(d conn.Datagrams, from netip.AddrPort, p []byte) { d.SendTo(from, p) }

// BenchmarkDatagrams echoes datagrams that come in bursts of one peer. The processor time is that of the loop's thread.
func BenchmarkDatagrams(b *testing.B) {
	for _, f := range []driver.Factory{uring.Factory, epoll.Factory} {
		for _, c := range []struct {
			name        string
			burst, size int
			segments    bool // the client's kernel is given each burst as one message
		}{
			{"1x100", 1, 100, false},
			{"1x1200", 1, 1200, false},
			{"32x100", 32, 100, false},
			{"32x1200", 32, 1200, false},
			{"32x1200 segments", 32, 1200, true},
		} {
			b.Run(f.Name+"/"+c.name, func(b *testing.B) { benchmarkDatagrams(b, f, c.burst, c.size, c.segments) })
		}
	}
}

func benchmarkDatagrams(b *testing.B, f driver.Factory, burst, size int, segments bool) {
	site := servetest.Site()
	site.Driver, site.Limits.Loops = f, 1
	spec, err := listen.Parse("udp://127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	group := listen.NewGroup(spec)
	h := returned{make(chan conn.Dialer, 1)}
	site.Listeners = []serve.Listener{{
		Name: "benchmark", Network: "udp", Open: group.Open, Closed: group.Closed,
		Datagram: func() conn.DatagramHandler { return h },
	}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- reactor.New().Serve(ctx, &site) }()
	dialer := <-h.dialer
	fd, err := sys.Socket(sys.Inet4, sys.Datagram, true)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = sys.Close(fd) }()
	raw, _ := sys.EncodeAddress(nil, group.Spec().Address)
	if err := sys.Connect(fd, raw); err != nil {
		b.Fatal(err)
	}
	used := func() time.Duration {
		times := make(chan time.Duration)
		dialer.Do(func() {
			t, _ := sys.ThreadTime()
			times <- t
		})
		return <-times
	}
	b.ReportAllocs()
	b.ResetTimer()
	began := used()
	lost := exchange(b, fd, burst, size, segments)
	b.ReportMetric(float64(used()-began)/float64(b.N), "loop-ns/op")
	b.ReportMetric(float64(lost)/float64(b.N), "lost/op")
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// exchange sends bursts, and counts what does not come back.
func exchange(b *testing.B, fd, burst, size int, segments bool) (lost int) {
	batch := new(sys.DatagramBatch)
	var pairs [][]byte
	for range burst {
		pairs = append(pairs, make([]byte, size), nil)
	}
	room := make([]byte, 2048)
	for done := 0; done < b.N; {
		n, err := batch.Send(fd, pairs[:2*min(burst, b.N-done)], segments)
		if err != nil {
			b.Fatal(err)
		}
		done += n
		for deadline := time.Now().Add(100 * time.Millisecond); n > 0; {
			if _, err := sys.Recv(fd, room, 0); err == nil {
				n--
			} else if err != syscall.EAGAIN {
				b.Fatal(err)
			} else if time.Now().After(deadline) {
				lost += n
				break
			}
		}
	}
	return lost
}
