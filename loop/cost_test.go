package loop_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
)

// treadmill is a driver that has a request for every receive and takes every send at
// once, so that what is left is the loop's own work.
type treadmill struct {
	blocks   *buf.Pool
	requests int // left
	armed    int // receives, with descriptors 1 to armed
	tokens   driver.Token
	recv     []driver.Completion // by descriptor
	ready    []driver.Completion
	stop     func()
}

const treadmillBatch = 64

func (d *treadmill) Name() string              { return "treadmill" }
func (d *treadmill) Features() driver.Features { return 0 }

func (d *treadmill) Submit(op driver.Op) (driver.Token, error) {
	d.tokens++
	done := driver.Completion{Token: d.tokens, User: op.User, Code: op.Code}
	switch op.Code {
	case driver.Accept:
		for i := range treadmillBatch {
			done.Result, done.Flags = 1+i, driver.More
			d.ready = append(d.ready, done)
		}
		d.recv = make([]driver.Completion, treadmillBatch+1)
		return d.tokens, nil
	case driver.Recv:
		d.recv[op.FD] = done
		d.armed++
		return d.tokens, nil
	case driver.Send:
		done.Result = len(op.Buf)
	}
	d.ready = append(d.ready, done)
	return d.tokens, nil
}

func (d *treadmill) Cancel(t driver.Token) error {
	for i := range d.recv {
		if c := &d.recv[i]; c.Token == t {
			d.ready = append(d.ready, driver.Completion{Token: t, User: c.User, Code: c.Code, Err: driver.ErrCanceled})
			return nil
		}
	}
	d.ready = append(d.ready, driver.Completion{Token: t, Code: driver.Accept, Err: driver.ErrCanceled})
	return nil
}

func (d *treadmill) Wait(dst []driver.Completion, _ time.Duration) (int, error) {
	n := copy(dst, d.ready)
	d.ready = d.ready[:copy(d.ready, d.ready[n:])]
	if d.armed < treadmillBatch {
		return n, nil
	}
	if d.requests <= 0 {
		if d.stop != nil {
			d.stop()
			d.stop = nil
		}
		return n, nil
	}
	for i := 1; i <= treadmillBatch && n < len(dst); i++ {
		c := d.recv[i]
		c.Flags, c.Result, c.Block = driver.More, 40, d.blocks.Take()
		dst[n] = c
		n++
		d.requests--
	}
	return n, nil
}

func (d *treadmill) Wake() error               { return nil }
func (d *treadmill) Adopt(fd int) (int, error) { return fd, nil }
func (d *treadmill) Close() error              { return nil }
func (d *treadmill) Part(int) (int, error)     { return 0, driver.ErrCanceled }

func (d *treadmill) Descriptor(fd int) (int, func(), error) { return -1, func() {}, nil }

// replier answers each request with 100 bytes, with a timer as a web server has.
type replier struct{ script }

func (*replier) Received(c conn.Conn, in []byte) int {
	c.SetIdle(false)
	c.SetTimer(int64(30 * time.Second))
	room := c.Reserve(100)
	c.Commit(min(len(room), 100))
	c.SetTimer(int64(75 * time.Second))
	c.SetIdle(true)
	return len(in)
}

func (*replier) Stopped(c conn.Conn) { c.Abort(conn.ErrStopping) }

// turns runs a loop for so many requests over 64 connections.
func turns(tb testing.TB, requests int, recording conn.Recording) {
	blocks, err := buf.NewPool(4096, 4096, buf.Heap)
	if err != nil {
		tb.Fatal(err)
	}
	d := &treadmill{blocks: blocks, requests: requests}
	var set meter.Set
	l, err := loop.New(loop.Options{
		Driver: d, Blocks: blocks, Meter: &set, Connections: 1000, OutputBytes: 1 << 20, Recording: recording,
	})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := l.Listen(0, &replier{}); err != nil {
		tb.Fatal(err)
	}
	d.stop = func() { l.Stop(true) }
	if err := l.Run(); err != nil {
		tb.Fatal(err)
	}
	if got := set.Snapshot()[meter.BytesOut]; got < int64(requests)*100*9/10 {
		tb.Fatalf("%d bytes were sent for %d requests", got, requests)
	}
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkTurn is the loop's own time for a request and its answer: everything but the
// driver and the protocol.
func BenchmarkTurn(b *testing.B) {
	b.ReportAllocs()
	turns(b, b.N, conn.Recording{})
}

// BenchmarkTurnRecorded is BenchmarkTurn with the last events of each connection kept.
func BenchmarkTurnRecorded(b *testing.B) {
	b.ReportAllocs()
	turns(b, b.N, conn.Recording{Connections: 1024})
}

// TestNoAllocation compares a short run with a long one: what is allocated once is in both.
func TestNoAllocation(t *testing.T) {
	for _, recorded := range []int{0, 1024} {
		recording := conn.Recording{Connections: recorded}
		short := testing.AllocsPerRun(3, func() { turns(t, 10_000, recording) })
		long := testing.AllocsPerRun(3, func() { turns(t, 110_000, recording) })
		if each := (long - short) / 100_000; each > 0.001 {
			t.Errorf("with %d connections recorded a request allocates %.3f times", recorded, each)
		}
	}
}

// BenchmarkSimulated is an echo over the simulated kernel, client and checks included:
// what a seed costs, not what a server does.
func BenchmarkSimulated(b *testing.B) {
	b.ReportAllocs()
	w := &world{seed: 1, rand: rand.New(rand.NewPCG(1, 7)), limits: limits{
		connections: 10, blocks: 64, blockBytes: 4096, operations: 64, outputBytes: 1 << 20,
	}}
	w.options = sim.Options{Seed: 1}
	w.build(&script{received: func(c conn.Conn, in []byte) int {
		c.Write(in)
		return len(in)
	}, ended: func(c conn.Conn) { c.Drain() }})
	left, waiting := b.N, false
	buffer := make([]byte, 100)
	w.dial(0, caller(func(p *sim.Peer) {
		if n, _ := p.Read(buffer); n > 0 || !waiting {
			if left--; left < 0 {
				p.Close()
				w.finished()
				return
			}
			waiting = true
			_, _ = p.Write(buffer)
		}
	}))
	w.run()
	if err := w.kernel.Err(); err != nil {
		b.Fatal(err)
	}
}
