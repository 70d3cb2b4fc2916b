package loop_test

import (
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver/sim"
)

// newcomer is a listener that comes and goes while the loop runs.
type newcomer struct {
	w        *world
	listener *sim.Listener
	checker  *checker
	number   int
	stubborn bool // its connections do not end by themselves
	left     bool

	stay, drain time.Duration
}

// visit has a listener come after a while, with some clients, and go again.
func (w *world) visit() {
	r := w.rand
	v := &newcomer{w: w, listener: w.kernel.Listen(16), stubborn: r.IntN(3) == 0}
	v.checker = &checker{world: w, open: map[uint64]*checked{}, handler: &script{
		received: func(c conn.Conn, in []byte) int { c.Write(in); return len(in) },
		ended:    func(c conn.Conn) { c.Drain() },
		stopped: func(c conn.Conn) {
			if !v.left {
				w.kernel.Fail("Stopped, and the listener is not left")
			}
			if !v.stubborn {
				c.Drain()
			}
		},
	}}
	w.left++
	begin := time.Duration(r.IntN(20e6))
	w.kernel.After(begin, func() { w.loop.Do(v.begin) })
	for range r.IntN(10) {
		w.kernel.After(begin+time.Duration(r.IntN(20e6)), func() { w.kernel.Dial(v.listener, new(idler)) })
	}
	v.stay, v.drain = time.Duration(r.IntN(30e6)), time.Duration(1+r.IntN(500e6))
}

// idler sends something now and then, and never ends by itself.
type idler struct{ next time.Duration }

func (c *idler) Step(p *sim.Peer) {
	if p.Err() != nil {
		return
	}
	if _, err := readAll(p); err != nil {
		p.Close()
		return
	}
	if now := p.Now(); now >= c.next { // it is called when something has come, too
		_, _ = p.Write([]byte("x"))
		c.next = now + time.Duration(1+p.Rand().IntN(50e6))
		p.After(c.next - now)
	}
}

func (v *newcomer) begin() {
	var err error
	if v.number, err = v.w.loop.Listen(v.listener.Descriptor(), v.checker); err != nil {
		v.w.kernel.Fail("Listen: %v", err)
	}
	if v.checker.dialer == nil {
		v.w.kernel.Fail("Started was not called")
	}
	v.w.kernel.After(v.stay, func() {
		v.w.loop.Do(func() {
			v.left = true
			v.w.loop.Unlisten(v.number, v.drain, v.gone)
		})
	})
}

func (v *newcomer) gone() {
	if n := len(v.checker.open); n != 0 {
		v.w.kernel.Fail("the listener is gone, and %d of its connections are not", n)
	}
	v.w.loop.Retire(v.number)
	v.w.finished()
}

// TestSimListeners has listeners come and go beside one that stays: the streams of that one are whole.
func TestSimListeners(t *testing.T) {
	overSeeds(t, func(w *world) {
		r := w.rand
		w.options.Faults.Reset = 0
		w.build(&echo{w: w, slack: int64(r.IntN(2000)), lazy: r.IntN(2) == 0})
		for range 1 + r.IntN(4) {
			w.visit()
		}
		for range 1 + r.IntN(10) {
			c := &talker{w: w, size: r.IntN(1 << r.IntN(14)), lossy: w.options.Faults.AcceptError > 0}
			w.dial(time.Duration(r.IntN(40e6)), c)
		}
		w.run()
	})
}
