package serve

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
)

const testPatience = 30 * time.Second

// reading uses what comes, answers the last byte of a message, and goes idle with it. A message ends with a dot.
type reading struct{ total *atomic.Int64 }

func (r reading) Opened(c conn.Conn) { c.SetIdle(true) }

func (r reading) Received(c conn.Conn, in []byte) int {
	r.total.Add(int64(len(in)))
	if in[len(in)-1] == '.' {
		c.Write([]byte("."))
	}
	return len(in)
}
func (reading) Ended(c conn.Conn)       { c.Drain() }
func (reading) Flushed(conn.Conn)       {}
func (reading) Expired(conn.Conn)       {}
func (reading) Stopped(c conn.Conn)     { c.Drain() }
func (reading) Closed(conn.Conn, error) {}

// eachWait runs a test for both ways to wait.
func eachWait(t *testing.T, test func(t *testing.T, w Waits)) {
	t.Run("thread", func(t *testing.T) { test(t, OnThread) })
	t.Run("runtime", func(t *testing.T) { test(t, OnRuntime) })
}

// begin serves with one goroutine for each connection and returns the address.
func begin(t *testing.T, w Waits, limits Limits, total *atomic.Int64) (*Blocking, string) {
	t.Helper()
	spec, err := listen.Parse("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	group := listen.NewGroup(spec)
	site := possible()
	site.Limits = limits
	site.Listeners[0].Open = group.Open
	site.Listeners[0].Handler = func() conn.Handler { return reading{total} }
	ready := make(chan struct{})
	site.Ready = func() { close(ready) }
	b, err := NewBlocking(site, "test", w)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		var serving sync.WaitGroup
		err := b.Run(ctx, func(a Arrival) { serving.Go(func() { b.Serve(a) }) })
		serving.Wait()
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(testPatience):
			t.Fatal("Run did not return")
		}
	})
	<-ready
	return b, group.Spec().Address.String()
}

func dialTest(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(testPatience))
	return c
}

// wantReturned waits until no connection has a block, or waits for one.
func wantReturned(t *testing.T, b *Blocking) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(testPatience); b.blocks.lent.Load() != 0 || b.blocks.waiting.Load() != 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d blocks are lent, %d connections wait for one", b.blocks.lent.Load(), b.blocks.waiting.Load())
		}
	}
}

// TestIdleHoldsNothing shows that connections that have been served and wait again hold no block.
func TestIdleHoldsNothing(t *testing.T) {
	eachWait(t, func(t *testing.T, w Waits) {
		const n = 50
		var total atomic.Int64
		limits := Limits{Connections: n, BlockBytes: 4096, Blocks: 2 * n, OutputBytes: 1 << 20, Drain: time.Second}
		b, address := begin(t, w, limits, &total)
		for range n {
			c := dialTest(t, address)
			if _, err := c.Write([]byte("hello.")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		wantReturned(t, b)
		if open := b.open.Load(); open != n {
			t.Errorf("%d connections are open; want %d", open, n)
		}
		if counts := b.meter.Snapshot(); counts[meter.Open] != n || counts[meter.Accepted] != n {
			t.Errorf("counted %d open of %d accepted; want %d", counts[meter.Open], counts[meter.Accepted], n)
		}
	})
}

// TestFewBlocks shows that input waits for a block, and that none of it is lost.
func TestFewBlocks(t *testing.T) {
	eachWait(t, func(t *testing.T, w Waits) {
		const n, size = 32, 40000
		var total atomic.Int64
		limits := Limits{Connections: n, BlockBytes: 512, Blocks: 2, OutputBytes: 1 << 20, Drain: time.Second}
		b, address := begin(t, w, limits, &total)
		var sending sync.WaitGroup
		for range n {
			c := dialTest(t, address)
			sending.Go(func() {
				if _, err := c.Write(make([]byte, size)); err != nil {
					t.Error(err)
				}
				if err := c.(*net.TCPConn).CloseWrite(); err != nil {
					t.Error(err)
				}
				if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("read %d bytes, %v; want the end", n, err)
				}
			})
		}
		sending.Wait()
		if got := total.Load(); got != n*size {
			t.Errorf("%d bytes were received of %d", got, n*size)
		}
		wantReturned(t, b)
	})
}

// TestLimitOfBlocks shows that input leaves a quarter of the blocks to output, and that output is shared when blocks
// are scarce.
func TestLimitOfBlocks(t *testing.T) {
	s := newBlocks(512, 8)
	var input []*block
	for b := s.takeInput(); b != nil; b = s.takeInput() {
		input = append(input, b)
	}
	if len(input) != 6 {
		t.Errorf("input got %d blocks of 8; want 6", len(input))
	}
	if s.takeOutput(fairBlocks*512+1) != nil {
		t.Error("output beyond a fair share got a block while they are scarce")
	}
	for range 2 {
		if s.takeOutput(0) == nil {
			t.Error("output got no block")
		}
	}
	if s.take() != nil {
		t.Error("more blocks than the limit are lent")
	}
	s.release(input[0])
	if s.takeInput() != nil {
		t.Error("input got a block of output's")
	}
	if s.take() == nil {
		t.Error("output did not get the block that came back")
	}
}

// TestShed shows that the connections go that have been idle for longest.
func TestShed(t *testing.T) {
	b, err := NewBlocking(possible(), "test", OnThread)
	if err != nil {
		t.Fatal(err)
	}
	now := b.clock()
	for _, since := range []int64{3, atWork, 1, 2, dropped, now + int64(time.Hour)} {
		c := &connection{site: b}
		c.idle.Store(since)
		b.seats = append(b.seats, c)
	}
	if n := b.Shed(2, 0); n != 2 {
		t.Errorf("%d connections were closed; want 2", n)
	}
	for i, want := range []int64{3, atWork, dropped, dropped, dropped, now + int64(time.Hour)} {
		if got := b.seats[i].idle.Load(); got != want {
			t.Errorf("seat %d: %d; want %d", i, got, want)
		}
	}
	if n := b.Shed(2, time.Hour); n != 0 {
		t.Errorf("%d connections were closed that have not been idle for long", n)
	}
}
