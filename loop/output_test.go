package loop_test

import (
	"encoding/binary"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver/sim"
)

// supplier answers requests of four bytes, each a number, with so many bytes of the
// connection's stream, which it queues in every way there is.
type supplier struct {
	w      *world
	states map[uint64]*supply
	why    map[error]int // reasons of Closed
}

type supply struct {
	number, at, owed int
	ending           bool
}

func newSupplier(w *world) *supplier {
	return &supplier{w: w, states: map[uint64]*supply{}, why: map[error]int{}}
}

func (h *supplier) Opened(c conn.Conn) {
	h.states[c.ID()] = &supply{}
	c.SetIdle(h.w.kernel.Rand().IntN(2) == 0)
}

func (h *supplier) Received(c conn.Conn, in []byte) int {
	s := h.states[c.ID()]
	used := 0
	for ; len(in)-used >= 6; used += 6 {
		s.number = int(binary.BigEndian.Uint16(in[used:]))
		s.owed += int(binary.BigEndian.Uint32(in[used+2:]))
		c.SetIdle(false)
	}
	h.more(c, s)
	return used
}

// more queues some of what is owed, in a random way, until enough is queued.
func (h *supplier) more(c conn.Conn, s *supply) {
	r := h.w.kernel.Rand()
	for s.owed > 0 && c.Queued() < 8<<10 && c.State() == conn.Open {
		n := min(s.owed, 1+r.IntN(1<<r.IntN(13)))
		n = h.queue(c, s, n)
		s.at += n
		s.owed -= n
	}
	switch {
	case s.owed > 0:
	case s.ending:
		c.Drain()
	default:
		c.SetIdle(r.IntN(2) == 0)
	}
}

// queue queues up to n bytes of the stream, and returns how many.
func (h *supplier) queue(c conn.Conn, s *supply, n int) int {
	fill := func(p []byte) {
		for i := range p {
			p[i] = patternAt(s.number, s.at+i)
		}
	}
	switch way := h.w.kernel.Rand().IntN(4); {
	case way == 0:
		p := make([]byte, n)
		fill(p)
		c.Write(p)
	case way == 1:
		n = min(n, h.w.limits.blockBytes)
		if room := c.Reserve(n); room != nil {
			fill(room[:n])
			c.Commit(n)
		}
	case way == 2:
		b := h.w.pool.Take()
		if b == nil {
			c.Abort(errPoor)
			return 0
		}
		n = min(n, b.Size())
		from := h.w.kernel.Rand().IntN(b.Size() - n + 1)
		fill(b.Bytes()[from : from+n])
		c.Send(b, from, from+n)
	default:
		content := make([]byte, n+10)
		fill(content[5 : 5+n])
		f := h.w.kernel.File(content)
		h.w.files = append(h.w.files, f)
		c.SendFile(f, 5, int64(n))
	}
	return n
}

var errPoor = errors.New("no block")

func (h *supplier) Flushed(c conn.Conn) { h.more(c, h.states[c.ID()]) }

func (h *supplier) Expired(conn.Conn) {}

func (h *supplier) Ended(c conn.Conn) {
	s := h.states[c.ID()]
	s.ending = true
	if s.owed == 0 {
		c.Drain()
	}
}

func (h *supplier) Stopped(c conn.Conn) { h.Ended(c) }

func (h *supplier) Closed(c conn.Conn, why error) {
	h.why[why]++
	delete(h.states, c.ID())
}

// asker sends requests and checks what comes.
type asker struct {
	w        *world
	requests []int
	out      []byte // request bytes not yet sent
	due, got int
	number   int
	patient  bool // asks for the next when it has the last
	slow     bool
	half     bool // sends its FIN behind the last request
	stay     bool // waits for the loop's end
	lossy    bool
	mayEnd   bool // the server stops: the end may come at any time
	over     bool
	buffer   [4096]byte
}

func (c *asker) Step(p *sim.Peer) {
	r := p.Rand()
	if c.over {
		return
	}
	for len(c.requests) > 0 && (!c.patient || c.got == c.due) && r.IntN(3) > 0 {
		c.number = p.Number & 0xffff
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(c.number))
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(c.requests[0]))
		c.due += c.requests[0]
		c.requests = c.requests[1:]
	}
	if len(c.out) > 0 {
		n, _ := p.Write(c.out[:1+r.IntN(len(c.out))])
		c.out = c.out[n:]
	}
	if c.half && len(c.requests)+len(c.out) == 0 {
		p.CloseWrite()
	}
	if !c.slow || r.IntN(4) == 0 {
		c.read(p)
	}
	switch {
	case c.over:
	case len(c.requests)+len(c.out) == 0 && c.got == c.due && !c.half && !c.stay:
		p.Close()
		c.over = true
	default:
		p.After(time.Duration(1 + r.IntN(3e6)))
	}
	if c.over {
		c.w.finished()
	}
}

func (c *asker) read(p *sim.Peer) {
	for {
		n := len(c.buffer)
		if c.slow {
			n = 1 + p.Rand().IntN(200)
		}
		n, err := p.Read(c.buffer[:n])
		for i := range n {
			if c.buffer[i] != patternAt(c.number, c.got+i) {
				p.Fail("connection %d: byte %d is wrong", p.Number, c.got+i)
			}
		}
		c.got += n
		if err != nil {
			complete := c.got == c.due && len(c.out)+len(c.requests) == 0
			refused := c.mayEnd && !p.Connected()
			if !c.lossy && !refused && (err != io.EOF || !c.mayEnd && !complete) {
				p.Fail("connection %d: %v after %d of %d bytes", p.Number, err, c.got, c.due)
			}
			p.Close()
			c.over = true
		}
		if c.over || n == 0 || c.slow {
			return
		}
	}
}

// ask adds clients with random requests.
func ask(w *world, clients, sizeBits int) (all []*asker) {
	r := w.rand
	for range clients {
		c := &asker{
			w: w, patient: r.IntN(2) == 0, slow: r.IntN(4) == 0, half: r.IntN(2) == 0,
			lossy: w.options.Faults.AcceptError > 0 || w.options.Faults.Reset > 0,
		}
		for range 1 + r.IntN(8) {
			c.requests = append(c.requests, r.IntN(1<<r.IntN(sizeBits)))
		}
		all = append(all, c)
		w.dial(time.Duration(r.IntN(20e6)), c)
	}
	return all
}

func TestSimOutput(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset = 0
		w.build(newSupplier(w))
		ask(w, 1+w.rand.IntN(20), 16)
		w.run()
	})
}

func TestSimResets(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset = 0.7
		w.build(newSupplier(w))
		ask(w, 30, 15)
		w.left = 0 // those that are reset never finish
		w.kernel.After(10*time.Second, func() { w.loop.Stop(false) })
		w.kernel.After(20*time.Second, func() { w.loop.Stop(true) })
		w.run()
	})
}

// flood answers the first bytes with more than the connection may hold.
type flood struct {
	supplier
	w *world
}

func (h *flood) Received(c conn.Conn, in []byte) int {
	room := make([]byte, 1000)
	for c.State() == conn.Open {
		c.Write(room)
		if n := c.Queued(); n > h.w.limits.outputBytes+int64(h.w.limits.blockBytes)+1000 {
			h.w.kernel.Fail("%d bytes are queued with a limit of %d", n, h.w.limits.outputBytes)
			return len(in)
		}
	}
	return len(in)
}

func TestSimOutputLimit(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset = 0
		w.limits.outputBytes, w.limits.blocks = 1+int64(w.rand.IntN(100_000)), 1<<16
		h := &flood{supplier: *newSupplier(w), w: w}
		w.build(h)
		for _, c := range ask(w, 1+w.rand.IntN(5), 2) {
			c.lossy = true
		}
		w.run()
		for why := range h.why {
			if !errors.Is(why, conn.ErrOutputLimit) && !errors.Is(why, syscall.ECONNRESET) &&
				!errors.Is(why, conn.ErrPressure) && why != nil {
				w.kernel.Fail("closed for %v", why)
			}
		}
	})
}
