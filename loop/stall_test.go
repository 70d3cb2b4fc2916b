package loop_test

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver/sim"
)

// spring sends as much as there is room for to whoever says a word, and keeps account of when its peer took something.
type spring struct {
	w     *world
	left  map[uint64]int    // bytes to be sent
	out   map[uint64]uint64 // bytes taken at the last look
	moved map[uint64]int64  // when they were
	ended int               // stalled
}

func (h *spring) more(c conn.Conn) {
	for h.left[c.ID()] > 0 {
		n := min(int(c.Room()), h.left[c.ID()], h.w.limits.blockBytes)
		if n == 0 {
			return
		}
		c.Write(make([]byte, n))
		h.left[c.ID()] -= n
	}
	if _, said := h.left[c.ID()]; said && c.State() == conn.Open {
		c.Drain()
	}
}

func (h *spring) closed(c conn.Conn, why error) {
	switch {
	case why == nil, errors.Is(why, syscall.ECONNRESET), errors.Is(why, syscall.EPIPE): // it has gone at last
	case !errors.Is(why, conn.ErrStalled):
		h.w.kernel.Fail("a connection ended with %v", why)
	case c.Now()-h.moved[c.ID()] < int64(14*time.Second):
		h.w.kernel.Fail("ended as stalled, and took something %v ago", time.Duration(c.Now()-h.moved[c.ID()]))
	default:
		h.ended++
	}
}

// look is called often, and sees who has taken something.
func (h *spring) look(c conn.Conn) {
	if _, out := c.Traffic(); out != h.out[c.ID()] {
		h.out[c.ID()], h.moved[c.ID()] = out, c.Now()
	}
	c.SetTimer(int64(500 * time.Millisecond))
}

// TestSimStalled has more clients than there are blocks that read nothing of what they asked for, and some beside them
// that read a little now and then. Those that read get all of it, and only those are ended that have taken nothing for
// a while.
func TestSimStalled(t *testing.T) {
	const answer = 8000
	overSeeds(t, func(w *world) {
		f := &w.options.Faults
		f.Reset, f.Jump, f.AcceptError, f.NoBlock, f.ShortRead, f.ShortWrite = 0, 0, 0, 0, 0, 0
		w.limits.blocks, w.limits.blockBytes = 16+w.rand.IntN(48), 256
		w.options.SendBytes, w.options.ReceiveBytes = 128, 128
		h := &spring{w: w, left: map[uint64]int{}, out: map[uint64]uint64{}, moved: map[uint64]int64{}}
		w.build(&script{
			received: func(c conn.Conn, in []byte) int {
				h.left[c.ID()] = answer
				h.look(c)
				h.more(c)
				return len(in)
			},
			flushed: h.more, expired: h.look, closed: h.closed,
		})
		for range w.limits.blocks {
			said := false
			w.dial(0, caller(func(p *sim.Peer) {
				if !said {
					n, _ := p.Write([]byte{'x'})
					said = n == 1
				}
				if p.Err() != nil || p.Now() > time.Minute {
					p.Close()
					w.finished()
					return
				}
				p.After(time.Minute + time.Second - p.Now())
			}))
		}
		for range 1 + w.rand.IntN(8) {
			w.dial(time.Duration(w.rand.IntN(5e9)), sipper(w, answer))
		}
		w.run()
		if h.ended == 0 && w.kernel.Err() == nil {
			w.kernel.Fail("nobody was ended")
		}
	})
}

// sipper reads a little now and then, and all that it was promised in the end.
func sipper(w *world, answer int) caller {
	got, said := 0, false
	next := time.Duration(0)
	return func(p *sim.Peer) {
		if !said {
			n, _ := p.Write([]byte{'x'})
			said = n == 1
			next = p.Now() + time.Second
		}
		if p.Now() < next {
			p.After(next - p.Now())
			return
		}
		n, err := readAll(p)
		got += n
		switch {
		case err == nil:
			next = p.Now() + time.Second/2 + time.Duration(p.Rand().IntN(1e9)) // what it takes is told in steps of a kilobyte
			p.After(next - p.Now())
			return
		case err != io.EOF || got != answer:
			p.Fail("who reads got %d of %d bytes, and %v", got, answer, err)
		}
		p.Close()
		w.finished()
	}
}

// TestSimDeniedAndGone has connections end that wait for room, and others take their places: nobody is taken for
// another.
func TestSimDeniedAndGone(t *testing.T) {
	overSeeds(t, func(w *world) {
		f := &w.options.Faults
		f.Reset, f.Jump, f.AcceptError, f.NoBlock = 0, 0, 0, 0
		w.limits.blocks, w.limits.blockBytes = 16, 64
		w.options.SendBytes = 64
		h := &spring{w: w, left: map[uint64]int{}, out: map[uint64]uint64{}, moved: map[uint64]int64{}}
		w.build(&script{
			received: func(c conn.Conn, in []byte) int { h.left[c.ID()] = 1 << 20; h.more(c); return len(in) },
			flushed:  h.more,
			closed: func(_ conn.Conn, why error) {
				if !errors.Is(why, syscall.ECONNRESET) && !errors.Is(why, syscall.EPIPE) {
					w.kernel.Fail("a connection ended with %v", why)
				}
			},
		})
		for range 100 {
			at := time.Duration(w.rand.IntN(4e9))
			leave, said := at+time.Duration(w.rand.IntN(2e9)), false
			w.dial(at, caller(func(p *sim.Peer) {
				if !said {
					n, _ := p.Write([]byte{'x'})
					said = n == 1
				}
				if p.Now() < leave {
					p.After(leave - p.Now())
					return
				}
				p.Reset()
				w.finished()
			}))
		}
		w.run()
	})
}
