package loop_test

import (
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
)

// world is a loop on a simulated kernel, and what is to be true of it at the end.
type world struct {
	seed     uint64
	rand     *rand.Rand // for the test's own choices, before and beside the kernel's
	kernel   *sim.Kernel
	options  sim.Options
	limits   limits
	pool     *buf.Pool
	pipes    *driver.Pipes
	meter    meter.Set
	loop     *loop.Loop
	listener *sim.Listener
	checker  *checker
	files    []*sim.File
	left     int  // clients that have not finished
	passes   bool // what is accepted at one listener is served as if by another, which has no socket
}

// limits are those of the loop and the driver.
type limits struct {
	connections, blocks, blockBytes, operations int
	pipes                                       int
	outputBytes                                 int64
}

// overSeeds runs a test with 200 seeds, with as many as SEEDS says, or with MYRIAD_SEED alone.
func overSeeds(t *testing.T, run func(w *world)) {
	t.Helper()
	t.Parallel()
	first, last := uint64(1), uint64(200)
	if text := os.Getenv("SEEDS"); text != "" {
		count, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SEEDS: %v", err)
		}
		last = count
	}
	if text := os.Getenv("MYRIAD_SEED"); text != "" {
		only, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("MYRIAD_SEED: %v", err)
		}
		first, last = only, only
	}
	for seed := first; seed <= last; seed++ {
		r := rand.New(rand.NewPCG(seed, 7))
		w := &world{seed: seed, rand: r, limits: limits{
			connections: 1000, blocks: 4096, blockBytes: 64 << r.IntN(7), operations: 1 << 14, outputBytes: 1 << 20,
		}}
		w.options = sim.Options{
			Seed: seed, Faults: sim.Draw(r), ReceiveBytes: 1 << (6 + r.IntN(9)), SendBytes: 1 << (6 + r.IntN(9)),
		}
		if err := w.attempt(run); err != nil {
			t.Errorf("%v\nto replay: MYRIAD_SEED=%d go test -run %s ./loop", err, seed, t.Name())
			return
		}
	}
}

// attempt is one run, with a panic turned into an error that has the seed.
func (w *world) attempt(run func(w *world)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.kernel.Fail("panic: %v\n%s", p, stack())
			err = w.kernel.Err()
		}
	}()
	run(w)
	return w.kernel.Err()
}

// build makes the loop with h as the handler of one listener.
func (w *world) build(h conn.Handler) {
	w.kernel = sim.New(w.options)
	l := &w.limits
	var err error
	if w.pool, err = buf.NewPool(l.blockBytes, l.blocks, buf.Heap); err != nil {
		panic(err)
	}
	w.pipes = w.kernel.Pipes(l.pipes)
	d, err := w.kernel.Open(driver.Options{Blocks: w.pool, Pipes: w.pipes, Ops: l.operations})
	if err != nil {
		panic(err)
	}
	o := loop.Options{
		Driver: d, Blocks: w.pool, Pipes: w.pipes, Meter: &w.meter, Connections: l.connections, OutputBytes: l.outputBytes,
		Clock: w.kernel.Clock,
	}
	if w.passes {
		o.Place = func(_, fd int) bool { return w.loop.Keep(1, fd) }
	} else if w.rand.IntN(4) == 0 {
		o.Place = func(listener, fd int) bool { return w.loop.Keep(listener, fd) }
	}
	if w.seed%2 == 0 {
		o.Recording = conn.Recording{Connections: 1 + int(w.seed%8), Ended: w.recorded}
	}
	w.loop, err = loop.New(o)
	if err != nil {
		panic(err)
	}
	w.listener = w.kernel.Listen(128)
	w.checker = &checker{handler: h, world: w, open: map[uint64]*checked{}}
	if w.passes {
		if _, err := w.loop.Listen(w.listener.Descriptor(), &script{}); err != nil {
			panic(err)
		}
		if _, err := w.loop.Listen(-1, w.checker); err != nil {
			panic(err)
		}
		return
	}
	if _, err := w.loop.Listen(w.listener.Descriptor(), w.checker); err != nil {
		panic(err)
	}
}

// dial makes a client after d, and counts it as one that is to finish.
func (w *world) dial(d time.Duration, c sim.Client) {
	w.left++
	w.kernel.After(d, func() { w.kernel.Dial(w.listener, c) })
}

// finished is called by clients. When the last one has, the loop is stopped.
func (w *world) finished() {
	if w.left--; w.left == 0 {
		w.loop.Stop(false)
	}
}

// run runs the loop until it ends, and checks what it leaves.
func (w *world) run() {
	err := w.loop.Run()
	if w.kernel.Err() != nil {
		return
	}
	if err != nil {
		w.kernel.Fail("Run: %v", err)
	}
	if n := w.loop.Open(); n != 0 {
		w.kernel.Fail("%d connections are left", n)
	}
	if len(w.checker.open) != 0 || w.checker.opened != w.checker.closed {
		w.kernel.Fail("%d connections were opened and %d closed", w.checker.opened, w.checker.closed)
	}
	if err := w.loop.Close(); err != nil {
		w.kernel.Fail("Close: %v", err)
	}
	if n := w.pool.Lent(); n != 0 {
		w.kernel.Fail("%d blocks are lent", n)
	}
	if n := w.pipes.Lent() + w.pipes.Idle(); n != 0 {
		w.kernel.Fail("%d pipes are open", n)
	}
	for i, f := range w.files {
		if f.Holds() != 0 {
			w.kernel.Fail("file %d of %d is held", i, len(w.files))
		}
	}
	if n := w.kernel.Descriptors(); n != 0 {
		w.kernel.Fail("%d descriptors are open", n)
	}
	if n := loop.Recorded(w.loop); n != 0 {
		w.kernel.Fail("%d connections are recorded that are gone", n)
	}
	w.meter.Publish()
	counts := w.meter.Snapshot()
	if counts[meter.Open] != 0 {
		w.kernel.Fail("the meter counts %d open connections", counts[meter.Open])
	}
}

// checker wraps a handler and checks that it is called as package conn promises.
type checker struct {
	handler        conn.Handler
	world          *world
	open           map[uint64]*checked
	opened, closed int
	inside         string // the callback that runs
	dialer         conn.Dialer
}

// checked is what is known of one connection.
type checked struct {
	rest    []byte // was not used
	ended   bool
	paused  bool
	piped   conn.Conn // what it is piped to
	stopped bool
	drained bool
	opening bool  // was dialled, and has not been made
	timer   int64 // when it is due, or zero
}

// enter checks what is true of every callback.
func (k *checker) enter(c conn.Conn, what string) *checked {
	w := k.world
	if k.inside != "" {
		w.kernel.Fail("%s within %s", what, k.inside)
	}
	k.inside = what
	r := k.open[c.ID()]
	switch {
	case r == nil:
		w.kernel.Fail("%s of connection %x, which is not open", what, c.ID())
		return &checked{}
	case what == "Closed":
	case r.opening && (what != "Expired" || c.State() != conn.Opening):
		w.kernel.Fail("%s of a connection that is not made, in state %v", what, c.State())
	case r.opening:
	case c.State() != conn.Open && (what != "Expired" || c.State() != conn.Draining):
		w.kernel.Fail("%s in state %v", what, c.State())
	}
	return r
}

func (k *checker) leave(c conn.Conn, r *checked) {
	k.inside = ""
	r.drained = r.drained || c.State() == conn.Draining
}

func (k *checker) Opened(c conn.Conn) {
	if r := k.open[c.ID()]; r == nil {
		k.opened++
		k.open[c.ID()] = &checked{}
	} else if !r.opening {
		k.world.kernel.Fail("connection %x opened twice", c.ID())
	} else {
		r.opening = false
	}
	r := k.enter(c, "Opened")
	defer k.leave(c, r)
	k.handler.Opened(c)
}

// Started keeps the dialer for dial.
func (k *checker) Started(d conn.Dialer) {
	if k.dialer != nil {
		k.world.kernel.Fail("Started twice")
	}
	k.dialer = d
	if s, ok := k.handler.(conn.Starter); ok {
		s.Started(d)
	}
}

// dial connects, with v attached. Nothing may be called from within.
func (k *checker) dial(t *conn.Target, v any) conn.Conn {
	outside := k.inside
	k.inside = "Dial"
	c := k.dialer.Dial(t, k, v)
	k.inside = outside
	k.opened++
	if k.open[c.ID()] != nil {
		k.world.kernel.Fail("connection %x was dialled twice", c.ID())
	}
	k.open[c.ID()] = &checked{opening: true}
	if s := c.State(); s != conn.Opening && s != conn.Closing {
		k.world.kernel.Fail("state %v after Dial", s)
	}
	return c
}

func (k *checker) Received(c conn.Conn, in []byte) int {
	r := k.enter(c, "Received")
	defer k.leave(c, r)
	w := k.world
	switch {
	case len(in) == 0:
		w.kernel.Fail("Received nothing")
	case len(in) > w.limits.blockBytes:
		w.kernel.Fail("Received %d bytes, more than a block", len(in))
	case r.ended:
		w.kernel.Fail("Received after Ended")
	case r.paused:
		w.kernel.Fail("Received while paused")
	case r.piped != nil && r.piped.State() == conn.Open:
		w.kernel.Fail("Received while piped")
	case len(in) < len(r.rest) || string(in[:len(r.rest)]) != string(r.rest):
		w.kernel.Fail("Received %d bytes that do not begin with the %d that were left", len(in), len(r.rest))
	}
	used := k.handler.Received(c, in)
	r.rest = nil
	if r.piped == nil {
		r.rest = append([]byte(nil), in[used:]...)
	}
	return used
}

func (k *checker) Ended(c conn.Conn) {
	r := k.enter(c, "Ended")
	defer k.leave(c, r)
	if r.ended {
		k.world.kernel.Fail("Ended twice")
	}
	if r.paused {
		k.world.kernel.Fail("Ended while paused")
	}
	r.ended = true
	k.handler.Ended(c)
}

func (k *checker) Flushed(c conn.Conn) {
	r := k.enter(c, "Flushed")
	defer k.leave(c, r)
	if n := c.Queued(); n != 0 {
		k.world.kernel.Fail("Flushed with %d bytes queued", n)
	}
	k.handler.Flushed(c)
}

func (k *checker) Expired(c conn.Conn) {
	r := k.enter(c, "Expired")
	defer k.leave(c, r)
	if r.timer != 0 && c.Now() < r.timer {
		k.world.kernel.Fail("a timer came %v early", time.Duration(r.timer-c.Now()))
	}
	k.handler.Expired(c)
}

func (k *checker) Stopped(c conn.Conn) {
	r := k.enter(c, "Stopped")
	defer k.leave(c, r)
	if r.stopped || !c.Stopping() {
		k.world.kernel.Fail("Stopped twice, or without a stop")
	}
	r.stopped = true
	k.handler.Stopped(c)
}

func (k *checker) Closed(c conn.Conn, why error) {
	r := k.enter(c, "Closed")
	k.closed++
	k.handler.Closed(c, why)
	k.leave(c, r)
	delete(k.open, c.ID())
}

func (k *checker) pause(c conn.Conn) {
	k.open[c.ID()].paused = true
	c.Pause()
}

func (k *checker) resume(c conn.Conn) {
	k.open[c.ID()].paused = false
	c.Resume()
}

// pipe is Pipe; what was left goes the same way.
func (k *checker) pipe(c, dst conn.Conn) bool {
	r := k.open[c.ID()]
	ok := c.Pipe(dst)
	if ok {
		r.rest = nil
	}
	if r.piped = nil; ok {
		r.piped = dst
	}
	return ok
}

// stack is where a panic came from, shortened.
func stack() string {
	lines := strings.Split(string(debug.Stack()), "\n")
	return strings.Join(lines[:min(len(lines), 40)], "\n")
}
