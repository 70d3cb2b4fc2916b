package loop_test

import (
	"io"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/internal/meter"
)

// switchboard connects the two callers that say the same first byte, each to the other. Each direction is copied or
// piped, and changes between the two at random.
type switchboard struct {
	script
	w       *world
	callers map[byte]*side
	hostile bool // it aborts some in the middle
	piped   int  // times that Pipe worked
}

// side is one of two connected callers, as it is attached.
type side struct {
	c, other conn.Conn // other is nil until there is one, and when it is gone
	first    byte
	ended    bool
	closed   bool
	partner  *side // the other's
	in, out  uint64
}

func sideOf(c conn.Conn) *side {
	s, _ := c.Attached().(*side)
	return s
}

func (h *switchboard) Opened(c conn.Conn) { c.SetTimer(1 + h.w.kernel.Rand().Int64N(5e6)) }

func (h *switchboard) Received(c conn.Conn, in []byte) int {
	s := sideOf(c)
	if s != nil && s.other != nil {
		s.other.Write(in)
		h.vary(s)
		return len(in)
	}
	if s != nil {
		return 0 // the other is gone
	}
	s = &side{c: c, first: in[0]}
	c.Attach(s)
	t := h.callers[in[0]]
	if t == nil {
		h.callers[in[0]] = s
		h.w.checker.pause(c)
		return 1
	}
	s.other, t.other = t.c, c
	s.partner, t.partner = t, s
	h.w.checker.resume(t.c)
	h.w.checker.pause(c) // the rest comes again when it resumes, or goes with the pipe
	if h.w.kernel.Rand().IntN(2) == 0 && h.w.checker.pipe(c, t.c) {
		h.piped++
	}
	c.SetTimer(1)
	return 1
}

// vary changes how a direction moves.
func (h *switchboard) vary(s *side) {
	r, k := h.w.kernel.Rand(), h.w.checker
	if s.other == nil || s.c.State() != conn.Open || s.other.State() != conn.Open {
		return
	}
	switch r.IntN(6) {
	case 0, 1:
		if s.c.Pipe(nil); k.pipe(s.c, s.other) {
			h.piped++
		}
	case 2:
		k.pipe(s.c, nil)
	case 3:
		k.pause(s.c)
	case 4:
		k.resume(s.c)
	}
	s.c.SetTimer(1 + r.Int64N(3e6))
	if h.hostile {
		switch r.IntN(200) {
		case 0, 1, 2:
			s.c.Abort(nil)
		case 3, 4:
			s.other.Drain()
		case 5, 6:
			s.other.CloseWrite() // which ends the pipe
			h.w.checker.open[s.c.ID()].piped = nil
		}
	}
}

func (h *switchboard) Flushed(conn.Conn) {}

func (h *switchboard) Expired(c conn.Conn) {
	s := sideOf(c)
	if s == nil {
		c.SetTimer(1e6)
		return
	}
	h.vary(s)
	if c.State() == conn.Open && s.other != nil && h.w.kernel.Rand().IntN(2) == 0 {
		h.w.checker.resume(c)
	}
	c.SetTimer(1 + h.w.kernel.Rand().Int64N(5e6))
}

func (h *switchboard) Ended(c conn.Conn) {
	s := sideOf(c)
	if s == nil || s.other == nil {
		c.Drain()
		return
	}
	s.ended = true
	if sideOf(s.other).ended {
		c.Drain()
		s.other.Drain()
		return
	}
	s.other.CloseWrite()
}

func (h *switchboard) Closed(c conn.Conn, _ error) {
	s := sideOf(c)
	if s == nil {
		return
	}
	s.in, s.out = c.Traffic()
	s.closed = true
	if t := s.partner; t != nil && t.closed && !h.hostile && (s.in-1 != t.out || t.in-1 != s.out) {
		h.w.kernel.Fail("traffic of %d and %d, %d and %d bytes", s.in, s.out, t.in, t.out)
	}
	if s.other == nil {
		return
	}
	t := sideOf(s.other)
	h.w.checker.open[s.other.ID()].piped = nil
	if t.other = nil; !s.ended || !t.ended {
		s.other.Abort(nil)
	}
}

// speaker says its number, then a stream, then its end; and hears what the other one says.
type speaker struct {
	w                *world
	first            byte
	says, hears      int // numbers of the two streams
	size, expects    int
	sent, got        int
	greeted, halfway bool
	slow, over       bool
	lossy            bool // the connection may be reset
	quit             int  // bytes to hear before it leaves without a word, or 0
}

func (c *speaker) Step(p *sim.Peer) {
	if c.over {
		return
	}
	r := p.Rand()
	var buffer [700]byte
	if !c.greeted {
		n, _ := p.Write([]byte{c.first})
		c.greeted = n == 1
	}
	for c.greeted && p.Err() == nil && c.sent < c.size {
		n := min(1+r.IntN(len(buffer)), c.size-c.sent)
		for i := range n {
			buffer[i] = patternAt(c.says, c.sent+i)
		}
		k, err := p.Write(buffer[:n])
		c.sent += k
		if k == 0 || err != nil || r.IntN(3) == 0 {
			break
		}
	}
	if c.greeted && c.sent == c.size && !c.halfway {
		c.halfway = true
		p.CloseWrite()
	}
	for !c.over && (!c.slow || r.IntN(4) == 0) {
		n, err := p.Read(buffer[:1+r.IntN(len(buffer))])
		if c.hear(p, buffer[:n], err); n == 0 {
			break
		}
	}
	if c.over {
		c.w.finished()
		return
	}
	p.After(time.Duration(r.IntN(2e6)))
}

// hear checks what came.
func (c *speaker) hear(p *sim.Peer, in []byte, err error) {
	for i, b := range in {
		if b != patternAt(c.hears, c.got+i) {
			p.Fail("stream %d: byte %d is wrong", c.hears, c.got+i)
		}
	}
	c.got += len(in)
	switch {
	case err == nil && c.quit > 0 && c.got >= c.quit:
		p.Reset()
	case err == nil:
		return
	case err == io.EOF && c.got == c.expects && !c.halfway:
		return // it has more to say
	case !c.lossy && (err != io.EOF || c.got != c.expects):
		p.Fail("stream %d: %v after %d of %d bytes", c.hears, err, c.got, c.expects)
	default:
		p.Close()
	}
	c.over = true
}

// conversations runs pairs of speakers through a switchboard.
func conversations(w *world, hostile bool) {
	r := w.rand
	w.options.Faults.Reset, w.options.Faults.AcceptError = 0, 0
	w.limits.pipes = r.IntN(6)
	h := &switchboard{w: w, callers: map[byte]*side{}, hostile: hostile}
	w.build(h)
	speak(w, hostile)
	if hostile && r.IntN(4) == 0 {
		w.kernel.After(time.Duration(r.IntN(30e6)), func() { w.loop.Stop(true) })
	}
	w.run()
	counts := w.meter.Snapshot()
	if !hostile && w.kernel.Err() == nil && counts[meter.BytesIn] < counts[meter.BytesOut] {
		w.kernel.Fail("%d bytes were received and %d sent", counts[meter.BytesIn], counts[meter.BytesOut])
	}
}

// speak has pairs of speakers call.
func speak(w *world, hostile bool) {
	r := w.rand
	for pair := range 1 + r.IntN(8) {
		sizes := [2]int{r.IntN(1 << r.IntN(18)), r.IntN(1 << r.IntN(18))}
		for i := range 2 {
			c := &speaker{
				w: w, first: byte(pair), says: 2*pair + i, hears: 2*pair + 1 - i, size: sizes[i], expects: sizes[1-i],
				slow: r.IntN(4) == 0, lossy: hostile,
			}
			if hostile && c.expects > 0 && r.IntN(5) == 0 {
				c.quit = 1 + r.IntN(c.expects)
			}
			w.dial(time.Duration(r.IntN(10e6)), c)
		}
	}
}

// TestSimPipe wants every byte of both directions in order, and the end behind them, however often a direction changes
// between copying and piping.
func TestSimPipe(t *testing.T) {
	overSeeds(t, func(w *world) { conversations(w, false) })
}

// TestSimPipeHostile has connections reset and aborted in the middle: what comes is right as far as it goes, and
// nothing is left behind.
func TestSimPipeHostile(t *testing.T) {
	overSeeds(t, func(w *world) { conversations(w, true) })
}

// TestSimPipesAreClosed wants a piped connection that is idle to hold no pipe, and the pool to close those that nobody
// has needed for a while; then the loop sleeps.
func TestSimPipesAreClosed(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults = sim.Faults{}
		w.limits.pipes = 3
		w.build(&script{
			received: func(c conn.Conn, in []byte) int {
				if !w.checker.pipe(c, c) { // an echo
					w.kernel.Fail("Pipe is false")
				}
				return len(in)
			},
			ended: func(c conn.Conn) { c.Drain() },
		})
		sent, got := 0, 0
		w.dial(0, caller(func(p *sim.Peer) {
			n, err := readAll(p)
			got += n
			switch {
			case sent == 0: // the handler's
				sent, _ = p.Write([]byte{1})
				p.After(10 * time.Millisecond)
			case p.Now() < 13*time.Millisecond:
				if got == sent-1 && p.Now() >= 10*time.Millisecond {
					k, _ := p.Write(make([]byte, 1+p.Rand().IntN(60)))
					sent += k
				}
				p.After(10 * time.Millisecond)
			case p.Now() < time.Minute:
				p.After(time.Minute)
			case p.Now() >= time.Minute && err == nil:
				if w.pipes.Lent()+w.pipes.Idle() != 0 {
					p.Fail("%d pipes are out and %d idle", w.pipes.Lent(), w.pipes.Idle())
				}
				p.CloseWrite()
			case err == io.EOF:
				p.Close()
				w.finished()
			}
		}))
		w.run()
		if w.kernel.Err() == nil && w.kernel.Waits() > 10_000 {
			w.kernel.Fail("%d Waits for a connection that is idle", w.kernel.Waits())
		}
	})
}
