package loop_test

import (
	"io"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver/sim"
)

// echo sends back what comes, with backpressure, and drains at the peer's end.
type echo struct {
	w     *world
	slack int64 // bytes queued beyond which it pauses
	lazy  bool  // uses less than it is given, now and then
}

func (h *echo) Opened(conn.Conn) {}

func (h *echo) Received(c conn.Conn, in []byte) int {
	r := h.w.kernel.Rand()
	used := len(in)
	if h.lazy && len(in) < h.w.limits.blockBytes && r.IntN(3) == 0 {
		used = r.IntN(len(in) + 1)
	}
	if used > 0 {
		c.Write(in[:used])
	}
	if used < len(in) {
		h.w.checker.pause(c) // the rest is to come again by itself
		c.SetTimer(1 + r.Int64N(int64(20*time.Millisecond)))
	} else if c.Queued() > h.slack {
		h.w.checker.pause(c)
	}
	return used
}

func (h *echo) Flushed(c conn.Conn) {
	h.w.checker.resume(c)
}

func (h *echo) Expired(c conn.Conn) {
	if c.State() == conn.Open {
		h.w.checker.resume(c)
	}
}

func (h *echo) Ended(c conn.Conn) { c.Drain() }

func (h *echo) Stopped(c conn.Conn) {}

func (h *echo) Closed(conn.Conn, error) {}

// talker sends a stream and wants it back, byte for byte, then the end.
type talker struct {
	w        *world
	size     int
	sent     int
	got      int
	slow     bool // reads little and seldom
	quit     int  // bytes to get before it leaves without a word, or 0
	lossy    bool // the connection may be reset by the loop for good reason
	over     bool
	buffer   [512]byte
	halfDone bool
}

// patternAt is byte i of the stream of connection n.
func patternAt(n, i int) byte { return byte(i*7 + i>>8*13 + n*31) }

func (c *talker) Step(p *sim.Peer) {
	r := p.Rand()
	if c.over {
		return
	}
	for p.Err() == nil && c.sent < c.size {
		n := min(1+r.IntN(len(c.buffer)), c.size-c.sent)
		for i := range n {
			c.buffer[i] = patternAt(p.Number, c.sent+i)
		}
		k, err := p.Write(c.buffer[:n])
		c.sent += k
		if k == 0 || err != nil || r.IntN(3) == 0 {
			break
		}
	}
	if c.sent == c.size && !c.halfDone {
		c.halfDone = true
		p.CloseWrite()
	}
	if c.slow && r.IntN(4) != 0 {
		p.After(time.Duration(r.IntN(5e6)))
		return
	}
	c.read(p)
	if c.over {
		c.w.finished()
		return
	}
	p.After(time.Duration(r.IntN(2e6)))
}

// read takes what has come, and finds out whether it is over.
func (c *talker) read(p *sim.Peer) {
	r := p.Rand()
	for {
		want := len(c.buffer)
		if c.slow {
			want = 1 + r.IntN(want)
		}
		n, err := p.Read(c.buffer[:want])
		for i := range n {
			if c.buffer[i] != patternAt(p.Number, c.got+i) {
				p.Fail("connection %d: byte %d is wrong", p.Number, c.got+i)
			}
		}
		c.got += n
		switch {
		case err == io.EOF:
			if c.got != c.size {
				p.Fail("connection %d: the end after %d of %d bytes", p.Number, c.got, c.size)
			}
			p.Close()
			c.over = true
		case err != nil:
			if !c.lossy {
				p.Fail("connection %d: %v after %d of %d bytes", p.Number, err, c.got, c.size)
			}
			p.Close()
			c.over = true
		case c.quit > 0 && c.got >= c.quit:
			p.Reset()
			c.over = true
		}
		if c.over || n == 0 || c.slow {
			return
		}
	}
}

func TestSimEcho(t *testing.T) {
	overSeeds(t, func(w *world) {
		r := w.rand
		w.options.Faults.Reset = 0
		w.build(&echo{w: w, slack: int64(r.IntN(2000)), lazy: r.IntN(2) == 0})
		for range 1 + r.IntN(20) {
			size := r.IntN(1 << r.IntN(16))
			c := &talker{w: w, size: size, slow: r.IntN(4) == 0}
			if size > 0 && r.IntN(5) == 0 {
				c.quit = 1 + r.IntN(size)
			}
			c.lossy = w.options.Faults.AcceptError > 0
			w.dial(time.Duration(r.IntN(20e6)), c)
		}
		w.run()
	})
}
