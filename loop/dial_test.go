package loop_test

import (
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
)

// Addresses of the simulated outside: one where everything is sent back, one that refuses, one that never answers.
var (
	answers  = netip.MustParseAddrPort("10.0.0.1:80")
	refuses  = netip.MustParseAddrPort("10.0.0.2:80")
	vanishes = netip.MustParseAddrPort("10.0.0.3:80")
)

// returner is the far end of what is dialled: it sends everything back, and ends when the caller has.
type returner struct {
	held  []byte
	ended bool
}

func (c *returner) Step(p *sim.Peer) {
	var room [256]byte
	for !c.ended {
		n, err := p.Read(room[:1+p.Rand().IntN(len(room))])
		c.held = append(c.held, room[:n]...)
		if err == io.EOF {
			c.ended = true
		} else if err != nil {
			p.Close()
			return
		}
		if n == 0 {
			break
		}
	}
	n, err := p.Write(c.held)
	c.held = c.held[n:]
	switch {
	case err != nil:
		p.Close()
	case len(c.held) > 0:
		p.After(time.Millisecond)
	case c.ended:
		p.CloseWrite()
		p.Close()
	}
}

// errand is what one dialled connection is to do.
type errand struct {
	number int
	to     netip.AddrPort
	size   int
	early  int // bytes that are queued before it is made
	got    int
	end    func(c conn.Conn) // when all has come back
	ended  bool
	over   bool
}

var errEnough = errors.New("that took too long")

// diallers is a handler of dialled connections that run errands.
type diallers struct {
	script
	w       *world
	killing bool // connections may end with ErrStopping
	made    int
	other   *loop.Loop // to which connections try to move, in vain
	moves   int
	taken   int
}

// tryToMove asks for what the simulated kernel cannot do, when the receive has been cancelled for it.
func (h *diallers) tryToMove(c conn.Conn) {
	if h.other == nil || h.w.kernel.Rand().IntN(10) > 0 {
		return
	}
	h.moves++
	c.Move(h.other.Dials(), h, nil, func(c conn.Conn) {
		h.taken++
		if c != nil {
			h.w.kernel.Fail("a simulated connection was moved")
		}
	})
}

// neighbour is another loop, which does nothing but hear of the moves that were refused.
func (h *diallers) neighbour() {
	kernel := sim.New(sim.Options{Seed: h.w.seed})
	d, err := kernel.Open(driver.Options{Blocks: h.w.pool, Ops: 4})
	if err == nil {
		h.other, err = loop.New(loop.Options{
			Driver: d, Blocks: h.w.pool, Meter: new(meter.Set), Connections: 10, OutputBytes: 1 << 10, Clock: kernel.Clock,
		})
	}
	if err != nil {
		panic(err)
	}
}

// hear runs the neighbour, and wants it told of every move.
func (h *diallers) hear() {
	h.other.Stop(false)
	if err := h.other.Run(); err != nil || h.taken != h.moves {
		h.w.kernel.Fail("%d of %d moves were answered, %v", h.taken, h.moves, err)
	}
}

func (h *diallers) Started(conn.Dialer) {}

func errandOf(c conn.Conn) *errand { return c.Attached().(*errand) }

func (h *diallers) write(c conn.Conn, e *errand, from, to int) {
	p := make([]byte, to-from)
	for i := range p {
		p[i] = patternAt(e.number, from+i)
	}
	c.Write(p)
}

// send dials for an errand.
func (h *diallers) send(e *errand) {
	c := h.w.checker.dial(&conn.Target{Address: e.to}, e)
	if e.early > 0 {
		h.write(c, e, 0, e.early)
	}
	if h.w.kernel.Rand().IntN(2) == 0 || e.to == vanishes {
		c.SetTimer(int64(time.Second)) // the time to connect
	}
	switch c.Attached() {
	case e:
	default:
		h.w.kernel.Fail("%v is attached", c.Attached())
	}
}

func (h *diallers) Opened(c conn.Conn) {
	e := errandOf(c)
	if e.to != answers {
		h.w.kernel.Fail("%v was reached", e.to)
	}
	c.SetTimer(0)
	h.made++
	h.write(c, e, e.early, e.size)
	h.tryToMove(c)
	if e.size == 0 {
		e.end(c)
	}
}

func (h *diallers) Received(c conn.Conn, in []byte) int {
	e := errandOf(c)
	for i := range in {
		if in[i] != patternAt(e.number, e.got+i) {
			h.w.kernel.Fail("errand %d: byte %d is wrong", e.number, e.got+i)
		}
	}
	h.tryToMove(c)
	if e.got += len(in); e.got == e.size {
		e.end(c)
	}
	return len(in)
}

func (h *diallers) Ended(c conn.Conn) {
	e := errandOf(c)
	if e.got != e.size {
		h.w.kernel.Fail("errand %d: the end after %d of %d bytes", e.number, e.got, e.size)
	}
	e.ended = true
	c.Drain()
}

func (h *diallers) Expired(c conn.Conn) {
	if errandOf(c).to == answers && h.w.options.Faults.Jump == 0 {
		h.w.kernel.Fail("no connection after a second")
	}
	c.Abort(errEnough)
}

func (h *diallers) Stopped(conn.Conn) {}

func (h *diallers) Closed(c conn.Conn, why error) {
	e := errandOf(c)
	k := h.w.kernel
	if e.over {
		k.Fail("errand %d is over twice", e.number)
	}
	e.over = true
	switch {
	case h.killing && errors.Is(why, conn.ErrStopping):
	case e.to == refuses && errors.Is(why, syscall.ECONNREFUSED):
	case e.to == vanishes && errors.Is(why, errEnough):
	case e.to == answers && (why == nil || errors.Is(why, conn.ErrAborted)) && e.got == e.size:
	case e.to == answers && h.w.options.Faults.Reset > 0:
	case h.w.options.Faults.Jump > 0 && errors.Is(why, errEnough): // whatever it was, it came behind a jump of the clock
	default:
		k.Fail("errand %d to %v is closed for %v after %d of %d bytes", e.number, e.to, why, e.got, e.size)
	}
	h.w.finished()
}

// ways to end an errand.
var ways = []func(c conn.Conn){
	func(c conn.Conn) { c.CloseWrite() },
	func(c conn.Conn) { c.CloseWrite(); c.CloseWrite(); c.Write([]byte("in vain")) },
	func(c conn.Conn) { c.CloseWrite(); c.Drain() },
	func(c conn.Conn) { c.Drain(); c.CloseWrite() },
	func(c conn.Conn) { c.CloseWrite(); c.Abort(nil) },
	func(c conn.Conn) { c.Abort(nil); c.CloseWrite() },
	func(c conn.Conn) { c.SetIdle(true); c.CloseWrite() },
}

func newDiallers(w *world) *diallers {
	h := &diallers{w: w}
	w.build(h)
	w.kernel.Reach(answers, func() sim.Client { return &returner{} })
	w.kernel.Vanish(vanishes)
	return h
}

// errands are dialled at random moments, some from within a callback.
func (h *diallers) errands(n int) {
	r := h.w.rand
	h.w.left += n
	for i := range n {
		e := &errand{number: i, to: answers, size: r.IntN(1 << r.IntN(14)), end: ways[r.IntN(len(ways))]}
		if e.early = r.IntN(e.size + 1); r.IntN(3) == 0 {
			e.early = e.size
		}
		switch r.IntN(5) {
		case 0:
			e.to = refuses
		case 1:
			e.to = vanishes
		}
		h.w.kernel.After(time.Duration(r.IntN(20e6)), func() { h.w.loop.Do(func() { h.send(e) }) })
	}
}

// TestSimDial sends errands: each gets back what it sent, or the reason why not, and is closed once.
func TestSimDial(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.AcceptError = 0
		h := newDiallers(w)
		h.errands(1 + w.rand.IntN(30))
		h.neighbour()
		w.run()
		h.hear()
		if n := w.meter.Snapshot()[meter.Dialled]; n != int64(w.checker.opened) {
			w.kernel.Fail("%d are counted of %d", n, w.checker.opened)
		}
	})
}

// TestSimDialStop stops the loop while connections are being made: they finish, and those that never will are killed.
func TestSimDialStop(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.AcceptError = 0
		h := newDiallers(w)
		h.errands(1 + w.rand.IntN(30))
		w.left += 1 << 20
		w.kernel.After(time.Duration(w.rand.IntN(30e6)), func() { w.loop.Stop(false) })
		if w.rand.IntN(2) == 0 {
			h.killing = true
			w.kernel.After(time.Duration(30e6+w.rand.IntN(30e6)), func() { w.loop.Stop(true) })
		}
		w.run()
	})
}

// TestSimEvery wants calls that are never early, that go on until they are stopped, and none behind that.
func TestSimEvery(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.Jump = 0
		var dialer conn.Dialer
		started := func() {
			for range 1 + w.rand.IntN(5) {
				w.left++
				every := time.Duration(w.rand.IntN(1e9))
				left, last := w.rand.IntN(20), dialer.Now()
				var stop func()
				over := false
				stop = dialer.Every(every, func() {
					switch passed := time.Duration(dialer.Now() - last); {
					case over:
						w.kernel.Fail("a call after the stop")
					case w.checker.inside != "":
						w.kernel.Fail("a call within %s", w.checker.inside)
					case passed < every, passed < 8*time.Millisecond:
						w.kernel.Fail("%v after the last call, not %v", passed, every)
					case passed > every+20*time.Millisecond:
						w.kernel.Fail("%v after the last call, not %v", passed, every)
					}
					last = dialer.Now()
					if left--; left < 0 {
						over = true
						stop()
						w.finished()
					}
				})
			}
		}
		w.build(&starting{started: func(d conn.Dialer) {
			dialer = d
			started()
		}})
		w.run()
	})
}

// starting is a handler that wants to know its dialer.
type starting struct {
	script
	started func(d conn.Dialer)
}

func (h *starting) Started(d conn.Dialer) { h.started(d) }
