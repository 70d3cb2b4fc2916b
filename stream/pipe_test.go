package stream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/upstream"
)

// watched is a handler that tells which connection it was given last.
type watched struct {
	*near
	client conn.Conn
}

func (w *watched) Opened(c conn.Conn) {
	w.client = c
	w.near.Opened(c)
}

// orders serves a connection that sends orders: for 'b' it gets size bytes of the stream, any other comes back.
func orders(c net.Conn, size int64) {
	var order [1]byte
	for {
		if _, err := io.ReadFull(c, order[:]); err != nil {
			return
		}
		if order[0] == 'b' {
			sendStream(c, size)
		} else {
			c.Write(order[:])
		}
	}
}

// TestPipeBack leaves bulk to the kernel, takes over again when messages are small, and then pipes bulk once more. It
// goes by what the session says, not by the clock: where bulk begins again before the session has looked a second time,
// it stays with the kernel.
func TestPipeBack(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		t.Parallel() // most of it is waiting
		const size = 4 << 20
		p, err := NewTCP(TCPOptions{Group: group(t, upstream.Options{}, server(t, "tcp", func(c net.Conn) {
			orders(c, size)
		}))})
		if err != nil {
			t.Fatal(err)
		}
		h := &watched{near: p.Handler().(*near)}
		r := serve(t, rigOptions{factory: f, handler: func() conn.Handler { return h }})
		c := r.dial()
		piped := func() (is bool) {
			r.do(func() { is = sessionOf(h.client).facts[downward]&isPiped != 0 })
			return is
		}
		// until repeats an exchange. An error of one is about bytes that did not come in time.
		until := func(what string, over func() bool, exchange func()) {
			for began, times := time.Now(), 0; !over(); times++ {
				if time.Since(began) > patience {
					t.Fatalf("%s: not after %d exchanges, counted %v", what, times, p.Counts())
				}
				c.SetDeadline(time.Now().Add(patience))
				exchange()
			}
		}
		for wanted := int64(1); wanted <= 2; wanted++ {
			until("bulk is left to the kernel", piped, func() {
				send(t, c, "b")
				if err := wantStream(c, size, 64<<10); err != nil {
					t.Fatal(err)
				}
			})
			until("small messages are copied", func() bool { return !piped() }, func() {
				send(t, c, "s")
				want(t, c, "s")
			})
			if n := p.Counts()[Pipes]; n != wanted {
				t.Errorf("left to the kernel %d times, want %d", n, wanted)
			}
		}
	})
}

// answerer is a simulated server that takes orders.
type answerer struct {
	size, at int  // of the stream that is being sent
	sending  bool // that, or
	echoes   int  // as many single bytes
}

func (a *answerer) Step(p *sim.Peer) {
	for p.Err() == nil {
		switch {
		case a.sending:
			n, _ := p.Write(streamed[a.at:a.size]) // all of it is in one length of the stream
			if a.at += n; a.at == a.size {
				a.sending, a.at = false, 0
			} else if n == 0 {
				return // a step comes when there is room
			}
		case a.echoes > 0:
			n, _ := p.Write([]byte{'s'})
			if a.echoes -= n; n == 0 {
				return
			}
		default:
			var order [1]byte
			switch n, err := p.Read(order[:]); {
			case errors.Is(err, io.EOF):
				p.Close()
				return
			case n == 0:
				return
			case order[0] == 'b':
				a.sending = true
			default:
				a.echoes++
			}
		}
	}
}

// asker is a simulated client that asks for bulk and for small messages by turns, and for nothing before it has the
// answer.
type asker struct {
	w        *world
	size     int
	rounds   int           // to go
	quiet    time.Duration // until when messages are small
	bulks    int           // to ask for before that
	asked    byte          // what is being answered, or 0
	since    time.Duration // when it was asked for
	got      int
	taken    int64 // times that bulk was left to the kernel, at the beginning of the round
	reliable bool  // every round has to bring one more
	buffer   [5000]byte
}

// answerTime is how long an answer may take at most. A direction that waits for what nobody will do takes for ever.
const answerTime = 10 * time.Second

func (c *asker) Step(p *sim.Peer) {
	r := p.Rand()
	if p.Err() != nil {
		p.Fail("%v", p.Err())
		return
	}
	for {
		if c.asked == 0 && !c.ask(p) {
			return
		}
		n, err := p.Read(c.buffer[:1+r.IntN(len(c.buffer))])
		if err != nil {
			p.Fail("%v after %d bytes of an answer to %c", err, c.got, c.asked)
			return
		}
		wanted := []byte{'s'}
		if c.asked == 'b' {
			wanted = streamed[:c.size]
		}
		if !bytes.HasPrefix(wanted[c.got:], c.buffer[:n]) {
			p.Fail("a wrong byte among the %d from %d on of an answer to %c", n, c.got, c.asked)
			return
		}
		c.got += n
		if c.got == len(wanted) {
			c.asked, c.got = 0, 0
			if r.IntN(3) > 0 {
				p.After(time.Duration(1 + r.IntN(100e6)))
				return
			}
		} else if n == 0 || r.IntN(4) == 0 {
			if p.Now()-c.since > answerTime {
				p.Fail("%d bytes of an answer to %c in %v", c.got, c.asked, answerTime)
			}
			p.After(time.Duration(1 + r.IntN(2e6)))
			return
		}
	}
}

// ask sends the next order. It reports false when that has to wait or nothing is left to be asked for.
func (c *asker) ask(p *sim.Peer) bool {
	r := p.Rand()
	if c.bulks == 0 && p.Now() >= c.quiet {
		pipes := c.w.tcp.Counts()[Pipes]
		if c.reliable && c.taken >= 0 && pipes != c.taken+1 {
			p.Fail("bulk was left to the kernel %d times, want %d", pipes, c.taken+1)
		}
		if c.rounds--; c.rounds < 0 {
			p.Close()
			c.w.finished()
			return false
		}
		c.taken, c.bulks = pipes, 1+r.IntN(3)
	}
	order := byte('s')
	if c.bulks > 0 {
		order = 'b'
	}
	n, _ := p.Write([]byte{order})
	if n == 0 {
		return false
	}
	c.asked, c.since = order, p.Now()
	if order == 'b' {
		c.bulks--
		// Around the second look it is open which comes first, the look or the next bulk.
		c.quiet = p.Now() + 2*pipeLook + time.Duration(r.Int64N(60e6)) - 20*time.Millisecond
		if c.reliable {
			c.quiet += time.Second
		}
	}
	return true
}

// TestSimPipeBack has a direction change between the kernel and copying again and again, with bulk that begins at any
// moment around the look that takes it back: every answer comes, whole and in time. Where nothing goes wrong and the
// pauses are long enough, every bulk is left to the kernel.
func TestSimPipeBack(t *testing.T) {
	overSeeds(t, func(w *world, seed uint64) {
		r := w.rand
		faults := sim.Draw(r)
		faults.Reset, faults.AcceptError, faults.Jump = 0, 0, 0
		reliable := r.IntN(3) == 0
		if reliable {
			faults = sim.Faults{}
		}
		w.block = 8 << 10 << r.IntN(2)
		w.build(sim.Options{
			Seed: seed, Faults: faults, ReceiveBytes: 8 << 10 << r.IntN(4), SendBytes: 4 << 10 << r.IntN(4),
		}, TCPOptions{Idle: Unlimited, PipeBytes: 16 << 10}, 10, 10)
		size := 24<<10 + r.IntN(40<<10)
		w.kernel.Reach(farAt, func() sim.Client { return &answerer{size: size} })
		w.left = 1
		w.kernel.Dial(w.front, &asker{w: w, size: size, rounds: 3, taken: -1, reliable: reliable})
		w.run(1)
	})
}
