package reactor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/serve/reactor"
	"github.com/myriad-server/myriad/serve/servetest"
)

// idler is a handler whose connections wait, and leave at any time.
type idler struct{ conn.Defaults }

func (idler) Opened(c conn.Conn) { c.SetIdle(true) }

func (idler) Received(_ conn.Conn, in []byte) int { return len(in) }

func (idler) Leaves(conn.Conn) (conn.Conn, bool) { return nil, true }

func (idler) Pack(_ conn.Conn, state []byte) ([]byte, bool) { return append(state, "idle"...), true }

var errState = errors.New("not the state of an idle connection")

func (idler) Unpack(_ conn.Conn, state []byte, _ func(conn.Handler, any) conn.Conn) error {
	if string(state) != "idle" {
		return errState
	}
	return nil
}

// BenchmarkDepart moves idle connections from one site to another of the same process and back. An operation is one
// connection that leaves and arrives; what passes a descriptor from process to process is not in it.
func BenchmarkDepart(b *testing.B) {
	for _, f := range []driver.Factory{uring.Factory, epoll.Factory} {
		b.Run(f.Name, func(b *testing.B) { benchmarkDepart(b, f, 8000) })
	}
}

// idlers serves a site to which connections only arrive.
func idlers(b *testing.B, f driver.Factory, connections int) serve.Steering {
	site := servetest.Site()
	site.Driver, site.Limits.Loops, site.Limits.Connections = f, 1, connections
	site.Listeners = []serve.Listener{{
		Name: "benchmark", Network: "tcp", Open: func(int) (int, error) { return -1, nil },
		Handler: func() conn.Handler { return idler{} },
	}}
	kill := make(chan struct{})
	steering, ready := make(chan serve.Steering, 1), make(chan struct{})
	site.Steer = func(s serve.Steering) { steering <- s }
	site.Ready = func() { close(ready) }
	site.Kill = kill
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- reactor.New().Serve(ctx, &site) }()
	b.Cleanup(func() {
		cancel()
		close(kill)
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	<-ready
	return <-steering
}

func benchmarkDepart(b *testing.B, f driver.Factory, connections int) {
	sites := [2]serve.Steering{idlers(b, f, connections), idlers(b, f, connections)}
	clients := make([]int, 0, connections)
	defer func() {
		for _, fd := range clients {
			_ = sys.Close(fd)
		}
	}()
	for range connections {
		near, far, err := sys.SocketPair(sys.Stream)
		if err != nil {
			b.Skipf("%d connections need twice as many descriptors: %v", connections, err)
		}
		clients = append(clients, far)
		if err := sites[0].Arrive(&conn.Parcel{FD: near}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	began := time.Now()
	moved := 0
	for from := 0; moved < b.N; from = 1 - from {
		moved += transfer(b, sites[from], sites[1-from], connections)
	}
	b.ReportMetric(float64(time.Since(began))/float64(moved), "ns/connection")
}

// transfer has all connections of a site leave for another one.
func transfer(b *testing.B, from, to serve.Steering, connections int) int {
	parcels := make(chan *conn.Parcel, connections)
	stop, err := from.Depart(serve.Departure{
		Room: func() int { return connections },
		Take: func(p *conn.Parcel) { parcels <- p },
	})
	if err != nil {
		b.Fatal(err)
	}
	var batch []*conn.Parcel
	for n := 0; n < connections; n += len(batch) {
		batch = append(batch[:0], <-parcels)
		for len(parcels) > 0 && len(batch) < 256 {
			batch = append(batch, <-parcels)
		}
		for _, err := range to.ArriveMany(batch) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	stop()
	return connections
}
