package uring

import (
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// rig is a driver of the test's own thread with what came of its operations.
type rig struct {
	testing.TB
	*uring
	pool  *buf.Pool
	dst   []driver.Completion
	final map[driver.Token]driver.Completion
	total map[driver.Token]int
	came  []driver.Completion // of the last turn
	addr  []byte
}

func newRig(t testing.TB, o driver.Options, blocks int, shrink func(*tuning)) *rig {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	pool, err := buf.NewPool(4096, blocks, sys.Map)
	if err != nil {
		t.Fatal(err)
	}
	o.Blocks, o.Ops = pool, 4096
	tuned := standard(o)
	if shrink != nil {
		shrink(&tuned)
	}
	d, err := open(o, tuned)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		TB: t, uring: d, pool: pool, dst: make([]driver.Completion, 64),
		final: map[driver.Token]driver.Completion{}, total: map[driver.Token]int{},
	}
	t.Cleanup(func() {
		r.must(d.Close())
		if n := pool.Lent(); n != 0 {
			t.Errorf("%d blocks are lent out after Close", n)
		}
	})
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) start(op driver.Op) driver.Token {
	r.Helper()
	tok, err := r.Submit(op)
	r.must(err)
	return tok
}

// turn waits once and releases all blocks.
func (r *rig) turn(limit time.Duration) int {
	r.Helper()
	n, err := r.Wait(r.dst, limit)
	r.must(err)
	r.came = append(r.came[:0], r.dst[:n]...)
	for i, c := range r.came {
		r.total[c.Token] += c.Result
		if c.Flags&driver.More == 0 {
			if old, twice := r.final[c.Token]; twice {
				r.Fatalf("%+v completes after %+v", c, old)
			}
			r.final[c.Token] = c
		}
		if c.Block != nil {
			c.Block.Release()
			r.came[i].Block = nil
		}
	}
	return n
}

// until takes turns until done, for twenty seconds at most.
func (r *rig) until(what string, done func() bool) {
	r.Helper()
	for begun := time.Now(); !done(); r.turn(time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			r.Fatalf("does not happen: %s", what)
		}
	}
}

// finish waits for the last completion of an operation.
func (r *rig) finish(tok driver.Token) driver.Completion {
	r.Helper()
	r.until("an operation completes", func() bool { _, ok := r.final[tok]; return ok })
	return r.final[tok]
}

// pair is a stream of which the first end is the driver's.
func (r *rig) pair() (near, far int) {
	r.Helper()
	a, b, err := sys.SocketPair(sys.Stream)
	r.must(err)
	r.Cleanup(func() { _ = sys.Close(b) })
	near, err = r.Adopt(a)
	r.must(err)
	return near, b
}

// listen gives the driver a listener on a port of its own.
func (r *rig) listen() int {
	r.Helper()
	fd, err := sys.Socket(sys.Inet4, sys.Stream, true)
	r.must(err)
	r.Cleanup(func() { _ = sys.Close(fd) })
	loopback, _ := sys.EncodeAddress(nil, netip.MustParseAddrPort("127.0.0.1:0"))
	r.must(sys.Bind(fd, loopback))
	r.must(sys.Listen(fd, 1024))
	local, err := sys.LocalAddress(fd)
	r.must(err)
	r.addr, _ = sys.EncodeAddress(nil, local)
	fd, err = r.Adopt(fd)
	r.must(err)
	return fd
}

// dial connects to the listener from outside the driver.
func (r *rig) dial() int {
	r.Helper()
	fd, err := sys.Socket(sys.Inet4, sys.Stream, false)
	r.must(err)
	r.must(sys.Connect(fd, r.addr))
	r.must(sys.SetBlocking(fd, false))
	return fd
}

// drain reads what there is at a far end.
func (r *rig) drain(fd int) int {
	r.Helper()
	n := 0
	for room := make([]byte, 64<<10); ; {
		k, err := sys.Recv(fd, room, 0)
		if err == syscall.EAGAIN || err == nil && k == 0 {
			return n
		}
		r.must(err)
		n += k
	}
}
