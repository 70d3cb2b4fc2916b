package drivertest

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

const spliceBytes = 1 << 20

// relay moves what comes on one descriptor to another, by a pipe, up to the end.
type relay struct {
	r        *rig
	from, to int
	f        *flight
	over     bool
}

func (r *rig) relay(from, to int) *relay {
	r.Helper()
	return &relay{r: r, from: from, to: to, f: r.start(driver.Op{Code: driver.SpliceIn, FD: from, Len: spliceBytes})}
}

// step goes on from where the relay is. It is true when the end has been passed on.
func (y *relay) step() bool {
	y.r.Helper()
	if y.over || !y.f.over {
		return y.over
	}
	c := y.f.last
	again := driver.Op{Code: driver.SpliceIn, FD: y.from, Len: 1 + y.r.random.IntN(spliceBytes)}
	switch {
	case c.Err == driver.ErrNoPipe:
		if y.r.options.Pipes.Lent() == 0 {
			y.f = y.r.start(again)
		}
	case c.Err != nil:
		y.r.Fatalf("a splice: %+v", c)
	case c.Code == driver.SpliceOut:
		y.f = y.r.start(again)
	case c.Code == driver.Shutdown:
		y.over = true
	case c.Result == 0:
		y.f = y.r.start(driver.Op{Code: driver.Shutdown, FD: y.to})
	case c.Pipe == nil || c.Pipe.Bytes != c.Result:
		y.r.Fatalf("a pipe that does not hold what was told: %+v", c)
	default:
		y.f = y.r.start(driver.Op{Code: driver.SpliceOut, FD: y.to, Pipe: c.Pipe})
	}
	return y.over
}

// writer sends p from a far end and then its end, a piece each time it is called.
func (r *rig) writer(fd int, p []byte) (work func() bool) {
	over := false
	return func() bool {
		if over {
			return true
		}
		n, err := sys.Send(fd, p[:min(len(p), 1+r.random.IntN(200_000))], 0)
		if err != nil && err != syscall.EAGAIN {
			r.Fatalf("the far end: %v", err)
		}
		if p = p[max(n, 0):]; len(p) == 0 {
			over = true
			r.must(sys.Shutdown(fd, 1))
		}
		return over
	}
}

// ends is both kinds of pairs.
var ends = []func(*rig) (near, far int){pair, tcpPair}

// splice relays between two connections, in both directions at the same time.
func splice(r *rig) {
	for _, connect := range ends {
		for _, size := range []int{1, 4000, 300_000, 5 << 20} {
			near1, far1 := connect(r)
			near2, far2 := connect(r)
			there, back := r.bytes(size), r.bytes(r.random.IntN(size+1))
			r.small(near2)
			got2, read2 := r.receiver(far2, len(there), 64<<10)
			got1, read1 := r.receiver(far1, len(back), 1<<20)
			work := []func() bool{
				r.relay(near1, near2).step, r.relay(near2, near1).step, read1, read2,
				r.writer(far1, there), r.writer(far2, back),
			}
			r.until("all is relayed", func() bool {
				done := true
				for _, each := range work {
					done = each() && done
				}
				return done
			})
			r.same("one way", *got2, there)
			r.same("the other way", *got1, back)
			if n := len(r.read(far2, -1, 1)) + len(r.read(far1, -1, 1)); n != 0 {
				r.Fatalf("%d bytes too many", n)
			}
			for _, id := range []int{near1, near2} {
				r.close(id)
			}
			r.drop(far1)
			r.drop(far2)
		}
	}
}

func spliceWaits(r *rig) {
	for _, connect := range ends {
		near, far := connect(r)
		f := r.start(driver.Op{Code: driver.SpliceIn, FD: near, Len: 10})
		r.silent(f)
		if n := r.options.Pipes.Lent(); n != 0 {
			r.Fatalf("%d pipes are held by what waits", n)
		}
		r.write(far, []byte("some bytes more"))
		c := r.finish(f)
		if c.Err != nil || c.Result != 10 || c.Pipe == nil || c.Pipe.Bytes != 10 {
			r.Fatalf("%+v", c)
		}
		to, out := connect(r)
		if n := r.ok(driver.Op{Code: driver.SpliceOut, FD: to, Pipe: c.Pipe}); n != 10 {
			r.Fatalf("%d bytes of 10", n)
		}
		if got := r.read(out, 10, 100); string(got) != "some bytes" {
			r.Fatalf("%q", got)
		}
		if n := r.options.Pipes.Lent(); n != 0 {
			r.Fatalf("%d pipes are held by nothing", n)
		}
		rest := r.start(driver.Op{Code: driver.Recv, FD: near})
		r.finish(rest)
		r.same("behind what was spliced", rest.data, []byte(" more"))
	}
}

// spliceFull sends in so many small segments that a pipe is full long before Op.Len.
func spliceFull(r *rig) {
	near, far := tcpPair(r)
	to, out := tcpPair(r)
	r.must(sys.SetOption(far, sys.Option{Level: sys.LevelTCP, Name: sys.NoDelay, Value: 1}))
	want := r.bytes(3000)
	for i := range want {
		r.write(far, want[i:i+1])
	}
	r.must(sys.Shutdown(far, 1))
	y := r.relay(near, to)
	got, read := r.receiver(out, len(want), 10_000)
	r.until("all is relayed", func() bool { return y.step() && read() })
	r.same("the far end", *got, want)
}

func spliceEnd(r *rig) {
	for _, connect := range ends {
		near, far := connect(r)
		f := r.start(driver.Op{Code: driver.SpliceIn, FD: near, Len: spliceBytes})
		r.silent(f)
		r.must(sys.Shutdown(far, 1))
		if c := r.finish(f); c.Err != nil || c.Result != 0 || c.Pipe != nil {
			r.Fatalf("the end: %+v", c)
		}
	}
	near, far := tcpPair(r)
	f := r.start(driver.Op{Code: driver.SpliceIn, FD: near, Len: spliceBytes})
	r.silent(f)
	r.must(sys.SetLinger(far, 0))
	r.drop(far)
	if c := r.finish(f); c.Err != syscall.ECONNRESET || c.Pipe != nil {
		r.Fatalf("a reset: %+v", c)
	}
	if n := r.options.Pipes.Lent(); n != 0 {
		r.Fatalf("%d pipes are held by nothing", n)
	}
}

// spliceStarved has another hold the only pipe.
func spliceStarved(r *rig) {
	for _, connect := range ends {
		p := r.options.Pipes.Take()
		near, far := connect(r)
		f := r.start(driver.Op{Code: driver.SpliceIn, FD: near, Len: spliceBytes})
		r.silent(f)
		r.write(far, []byte("bytes"))
		if c := r.finish(f); c.Err != driver.ErrNoPipe || c.Result != 0 || c.Pipe != nil {
			r.Fatalf("without a pipe: %+v", c)
		}
		recv := r.start(driver.Op{Code: driver.Recv, FD: near})
		r.finish(recv)
		r.same("the bytes", recv.data, []byte("bytes"))
		f = r.start(driver.Op{Code: driver.SpliceIn, FD: near, Len: spliceBytes})
		r.must(sys.Shutdown(far, 1))
		if c := r.finish(f); c.Result != 0 || c.Err != nil && c.Err != driver.ErrNoPipe {
			r.Fatalf("the end without a pipe: %+v", c)
		}
		p.Release()
	}
}

// filled is a pipe with bytes in it.
func (r *rig) filled(p []byte) *driver.Pipe {
	r.Helper()
	near, far := tcpPair(r)
	r.write(far, p)
	c := r.do(driver.Op{Code: driver.SpliceIn, FD: near, Len: len(p)})
	if c.Err != nil || c.Pipe == nil {
		r.Fatalf("%+v", c)
	}
	r.close(near)
	return c.Pipe
}

func spliceSlowly(r *rig) {
	for _, connect := range ends {
		near, far := connect(r)
		r.small(near)
		want := r.bytes(200_000)
		p := r.filled(want)
		want = want[:p.Bytes]
		f := r.start(driver.Op{Code: driver.SpliceOut, FD: near, Pipe: p})
		got := r.read(far, len(want)/2, 4096)
		r.until("progress is reported", func() bool { return f.total > 0 })
		r.same("the far end", append(got, r.read(far, len(want)-len(got), 4096)...), want)
		if c := r.finish(f); c.Err != nil || f.total != len(want) {
			r.Fatalf("%d of %d bytes reported, the last: %+v", f.total, len(want), c)
		}
		if idle, lent := r.options.Pipes.Idle(), r.options.Pipes.Lent(); idle != 1 || lent != 0 {
			r.Fatalf("%d pipes idle, %d lent", idle, lent)
		}
	}
	r.options.Pipes.Trim()
	if n := r.options.Pipes.Trim(); n != 0 {
		r.Fatalf("%d pipes are left of those that nobody needed", n)
	}
}

func spliceBroken(r *rig) {
	for _, connect := range ends {
		near, far := connect(r)
		r.small(near)
		p := r.filled(r.bytes(100_000))
		f := r.start(driver.Op{Code: driver.SpliceOut, FD: near, Pipe: p})
		r.read(far, 1000, 1000)
		r.drop(far)
		if c := r.finish(f); c.Err != syscall.EPIPE && c.Err != syscall.ECONNRESET {
			r.Fatalf("a splice to a peer that left: %+v", c)
		}
		if idle, lent := r.options.Pipes.Idle(), r.options.Pipes.Lent(); idle != 0 || lent != 0 {
			r.Fatalf("%d pipes idle, %d lent: one that holds bytes must not be used again", idle, lent)
		}
	}
	c := r.do(driver.Op{Code: driver.SpliceOut, FD: -1, Pipe: r.filled([]byte("x"))})
	if c.Err != syscall.EBADF || r.options.Pipes.Lent() != 0 {
		r.Fatalf("a splice to a descriptor that is not the driver's: %+v", c)
	}
}

func spliceCanceled(r *rig) {
	for _, connect := range ends {
		near, far := connect(r)
		for _, parked := range []bool{true, false} {
			f := r.start(driver.Op{Code: driver.SpliceIn, FD: near, Len: spliceBytes})
			if parked {
				r.silent(f)
			}
			if c := r.canceled(f); c.Result != 0 || c.Pipe != nil {
				r.Fatalf("nothing was there: %+v", c)
			}
		}
		r.greet(near, far)
	}
	near, far := pair(r) // TCP would go on filling the buffers of the far end
	n := r.plug(near)
	for _, parked := range []bool{true, false} {
		f := r.start(driver.Op{Code: driver.SpliceOut, FD: near, Pipe: r.filled(r.bytes(20_000))})
		if parked {
			r.silent(f)
		}
		if c := r.canceled(f); f.total != 0 {
			r.Fatalf("there was no room: %+v", c)
		}
	}
	if n := r.options.Pipes.Lent(); n != 0 {
		r.Fatalf("%d pipes are held by what was cancelled", n)
	}
	r.read(far, n, 100_000)
	r.greet(near, far)
}

// plug sends until the socket takes no more, and returns how much it took.
func (r *rig) plug(id int) (n int) {
	r.Helper()
	fd, done, err := r.d.Descriptor(id)
	r.must(err)
	defer done()
	for room := make([]byte, 50_000); ; {
		k, err := sys.Send(fd, room, 0)
		if err == syscall.EAGAIN {
			return n
		}
		r.must(err)
		n += k
	}
}

// spliceInFlight closes the driver in the middle.
func spliceInFlight(r *rig) {
	near, _ := pair(r)
	r.small(near)
	r.start(driver.Op{Code: driver.SpliceOut, FD: near, Pipe: r.filled(r.bytes(200_000))})
	waiting, _ := pair(r)
	r.start(driver.Op{Code: driver.SpliceIn, FD: waiting, Len: spliceBytes})
	ready, far := pair(r)
	r.write(far, []byte("never collected"))
	r.start(driver.Op{Code: driver.SpliceIn, FD: ready, Len: spliceBytes})
	r.must(r.d.Close())
	r.closed = true
	for id := range r.owned {
		_ = sys.Close(id)
	}
}
