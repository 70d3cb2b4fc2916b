package drivertest

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// waited is how long a Wait of d takes.
func (r *rig) waited(d time.Duration) (n int, took time.Duration) {
	r.Helper()
	before := time.Now()
	n = r.turn(d)
	return n, time.Since(before)
}

func waitTime(r *rig) {
	near, far := pair(r)
	recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
	for range 3 {
		for _, d := range []time.Duration{
			0, 300 * time.Microsecond, 1500 * time.Microsecond, 5 * time.Millisecond,
			30 * time.Millisecond,
		} {
			n, took := r.waited(d)
			if n != 0 || took < d || took > d+5*time.Second {
				r.Errorf("Wait for %v took %v and gave %d completions", d, took, n)
			}
		}
		// Right after traffic the driver may wait in another way.
		r.must(second(sys.Send(far, []byte("x"), 0)))
		r.next(recv)
	}
	// With something to return, for ever is over at once.
	r.must(second(sys.Send(far, []byte("x"), 0)))
	r.turn(-1)
	r.next(recv)
}

func wake(r *rig) {
	near, _ := pair(r)
	r.start(driver.Op{Code: driver.Recv, FD: near})
	for range 20 {
		r.must(r.d.Wake()) // before
		if _, took := r.waited(patience); took > patience/2 {
			r.Fatalf("a Wait after Wake took %v", took)
		}
		var done sync.WaitGroup
		done.Go(func() { // during
			if err := r.d.Wake(); err != nil {
				r.Error(err)
			}
		})
		if _, took := r.waited(-1); took > patience/2 {
			r.Fatalf("a Wait during Wake took %v", took)
		}
		done.Wait()
	}
	for range 1000 {
		r.must(r.d.Wake())
	}
	early := 0
	for range 10 {
		if _, took := r.waited(3 * time.Millisecond); took < 3*time.Millisecond {
			early++
		}
	}
	if early > 2 {
		r.Errorf("%d Waits ended early after a thousand wakes at once", early)
	}
}

// wakeMany loses a wake if a Wait sleeps though somebody has posted. How long it takes says nothing: on a busy machine
// who wakes may get no processor for seconds. So a Wait that has slept its time out is at fault only if a wake was both
// begun and made meanwhile.
func wakeMany(r *rig) {
	const goroutines, each = 4, 2000
	var begun, made atomic.Int64
	wake := func() {
		begun.Add(1)
		if err := r.d.Wake(); err != nil {
			r.Error(err)
		}
		made.Add(1)
	}
	wait := func() {
		before := begun.Load()
		if _, took := r.waited(patience); took >= patience && made.Load() > before {
			r.Fatal("a wake was lost")
		}
	}
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range each {
				wake()
			}
		})
	}
	for begun.Load() < goroutines*each {
		wait()
	}
	all.Wait()
	r.waited(0) // perhaps the last wakes are still to be taken
	// One at a time, each from another goroutine and only after the last was seen.
	turn := make(chan struct{})
	all.Go(func() {
		for range each {
			wake()
			<-turn
		}
	})
	for i := int64(1); i <= each; i++ {
		for begun.Load() < goroutines*each+i {
			wait()
		}
		turn <- struct{}{}
	}
	all.Wait()
}

// collection has the garbage collector stop the world while Wait is in the kernel,
// for ever and, right after traffic, in whatever way the driver waits then.
func collection(r *rig) {
	near, far := pair(r)
	recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
	for traffic := range 10 {
		var over atomic.Bool
		var all sync.WaitGroup
		all.Go(func() {
			runtime.GC()
			over.Store(true)
			if err := r.d.Wake(); err != nil {
				r.Error(err)
			}
		})
		for !over.Load() {
			if traffic%2 == 0 {
				r.must(second(sys.Send(far, []byte("x"), 0)))
			}
			if _, took := r.waited(patience); took > patience/2 {
				r.Fatal("a collection waits for Wait")
			}
			recv.data, recv.results = nil, nil
		}
		all.Wait()
	}
}

// lazyWaits has a lazy success and nothing else.
func lazyWaits(r *rig) {
	near, far := pair(r)
	for range 3 {
		send := r.start(driver.Op{Code: driver.Send, FD: near, Buf: []byte("lazy"), Lazy: true})
		if _, took := r.waited(20 * time.Millisecond); took < 20*time.Millisecond {
			r.Errorf("Wait returned after %v for a lazy completion", took)
		}
		if got := r.read(far, 4, 10); string(got) != "lazy" {
			r.Fatalf("the far end received %q", got)
		}
		r.greet(near, far)
		if !send.over || send.last.Result != 4 || send.last.Err != nil {
			r.Fatalf("a lazy completion did not come: %+v", send.last)
		}
	}
}

// lazyComes wants lazy successes with the first completion of anything else, and in
// order with what else happened to their descriptors.
func lazyComes(r *rig) {
	near, far := pairs(r, 10)
	recv := r.start(driver.Op{Code: driver.Recv, FD: near[0]})
	var sends []*flight
	for _, id := range near[1:] {
		sends = append(sends, r.start(driver.Op{Code: driver.Send, FD: id, Buf: []byte("lazy"), Lazy: true}))
	}
	for i := range sends {
		r.read(far[i+1], 4, 10)
	}
	r.must(second(sys.Send(far[0], []byte("x"), 0)))
	r.finish(recv)
	for _, f := range sends {
		if !f.over {
			r.Fatal("Wait returned something, but not what was lazy")
		}
	}
	for range 3 {
		send := r.start(driver.Op{Code: driver.Send, FD: near[1], Buf: []byte("lazy"), Lazy: true})
		c := r.start(driver.Op{Code: driver.Shutdown, FD: near[2]})
		r.finish(c)
		r.finish(send)
	}
	send := r.start(driver.Op{Code: driver.Send, FD: near[1], Buf: []byte("lazy"), Lazy: true})
	closing := r.start(driver.Op{Code: driver.Close, FD: near[1]})
	r.finish(closing)
	if !send.over || send.last.Err != nil {
		r.Fatalf("a lazy send is not over when its descriptor is closed: %+v", send.last)
	}
}

func lazyFails(r *rig) {
	near, far := pair(r)
	r.drop(far)
	send := r.start(driver.Op{Code: driver.Send, FD: near, Buf: []byte("x"), Lazy: true})
	if _, took := r.waited(patience); took > patience/2 {
		r.Fatalf("a lazy failure took %v", took)
	}
	if c := r.finish(send); c.Err != syscall.EPIPE {
		r.Fatalf("a lazy send to nobody: %+v", c)
	}
}

// lazyFull fills the driver with nothing but lazy successes, which must not lock it.
func lazyFull(r *rig) {
	near, far := pair(r)
	var sends []*flight
	for range 100 {
		sends = append(sends, r.start(driver.Op{Code: driver.Send, FD: near, Buf: []byte("0123456789"), Lazy: true}))
	}
	r.read(far, 1000, 1000)
	r.greet(near, far)
	for _, f := range sends {
		if !f.over {
			r.Fatal("a lazy completion did not come")
		}
	}
}

// full meets the limit of operations and goes on when some are over.
func full(r *rig) {
	limit := r.options.Ops
	near, far := pairs(r, limit+1)
	var parked []*flight
	refused := 0
	for len(parked) <= limit && refused < 3 {
		f, err := r.try(driver.Op{Code: driver.Recv, FD: near[len(parked)]})
		if errors.Is(err, driver.ErrFull) {
			refused++
			r.turn(0)
			continue
		}
		r.must(err)
		refused = 0
		parked = append(parked, f)
	}
	if len(parked) != limit {
		r.Fatalf("%d operations are in flight with Ops = %d", len(parked), limit)
	}
	for i, f := range parked {
		r.must(second(sys.Send(far[i], []byte("x"), 0)))
		r.finish(f)
		next := r.start(driver.Op{Code: driver.Recv, FD: near[i]})
		r.silent(next)
		if _, err := r.try(driver.Op{Code: driver.Recv, FD: near[limit]}); !errors.Is(err, driver.ErrFull) {
			r.Fatalf("one operation over, two begun: %v", err)
		}
		parked[i] = next
	}
}

// turnEcho is one message to and fro on one thread.
type turnEcho struct {
	r         *rig
	near, far int
	message   []byte
	answer    []byte
	buffer    []byte
}

func newTurnEcho(r *rig) *turnEcho {
	near, far := tcpPair(r)
	e := &turnEcho{r: r, near: near, far: far, message: r.bytes(64), answer: make([]byte, 100), buffer: make([]byte, 64)}
	if _, err := r.d.Submit(driver.Op{Code: driver.Recv, FD: near, Many: true}); err != nil {
		r.Fatal(err)
	}
	return e
}

func (e *turnEcho) turn() {
	r := e.r
	if _, err := sys.Send(e.far, e.message, 0); err != nil {
		r.Fatal(err)
	}
	for received := false; !received; {
		n, err := r.d.Wait(r.room, patience)
		if err != nil {
			r.Fatal(err)
		}
		for i := range r.room[:n] {
			c := &r.room[i]
			if c.Err != nil {
				r.Fatal(c.Err)
			}
			if c.Code != driver.Recv {
				continue
			}
			received = true
			copy(e.buffer, c.Block.Bytes()[:c.Result])
			c.Block.Release()
			if _, err := r.d.Submit(driver.Op{Code: driver.Send, FD: e.near, Buf: e.buffer, Lazy: true}); err != nil {
				r.Fatal(err)
			}
		}
	}
	for {
		_, err := sys.Recv(e.far, e.answer, 0)
		if err == nil {
			return
		}
		if err != syscall.EAGAIN {
			r.Fatal(err)
		}
		if _, err := r.d.Wait(r.room, 0); err != nil { // the send was only queued
			r.Fatal(err)
		}
	}
}

func allocations(r *rig) {
	e := newTurnEcho(r)
	for range 100 {
		e.turn()
	}
	if n := testing.AllocsPerRun(500, e.turn); n != 0 {
		r.Errorf("%v allocations in an echo turn", n)
	}
	r.discard()
}

// discard closes the driver under operations that were not accounted for.
func (r *rig) discard() {
	for id := range r.owned {
		if fd, done, err := r.d.Descriptor(id); err == nil {
			done()
			if fd == id {
				r.far = append(r.far, fd)
			}
		}
	}
	r.must(r.d.Close())
	r.closed = true
}

// Benchmark measures one message to and fro over TCP, both ends worked by one
// thread, alone and among connections that are idle. The five system calls are two
// of the far end and three of the driver: to be told, to receive, to send.
func Benchmark(b *testing.B, f driver.Factory, options func() driver.Options) {
	if s := f.Probe(); !s.OK {
		b.Skipf("driver %s does not work here: %s; to have it: %s", f.Name, s.Why, s.Fix)
	}
	for _, idle := range []int{0, 1000, 5000} {
		b.Run(fmt.Sprintf("idle=%d", idle), func(b *testing.B) {
			r := newRig(b, f, options(), rigRoom{operations: idle + 64})
			near, _ := pairs(r, idle)
			for _, id := range near {
				if _, err := r.d.Submit(driver.Op{Code: driver.Recv, FD: id, Many: true}); err != nil {
					b.Fatal(err)
				}
			}
			e := newTurnEcho(r)
			b.ReportAllocs()
			for b.Loop() {
				e.turn()
			}
			b.StopTimer()
			r.discard()
		})
	}
}
