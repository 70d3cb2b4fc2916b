package sim

import (
	"io"
	"math/rand/v2"
	"syscall"
	"time"
)

// latency is how long it takes at least until a client hears of something. It is
// not zero, so that a client cannot do much within one Wait.
const latency = time.Microsecond

// Client works the far end of a connection. Step is called when the connection is
// made, has failed, or something has changed for it (bytes or the end came, there
// is room again), and when a time has passed that it asked for. It may be called
// for no reason, and must not block.
type Client interface {
	Step(p *Peer)
}

// Peer is the far end of a connection, as its client holds it.
type Peer struct {
	kernel    *Kernel
	client    Client
	stream    *stream
	failure   error
	alarm     int64 // when the client asked to be stepped, or zero
	Number    int   // of the connection, from 1
	connected bool
	closed    bool
	ended     bool // CloseWrite
	scheduled bool
}

// Rand is the kernel's source of chance.
func (p *Peer) Rand() *rand.Rand { return p.kernel.rand }

// Now is the simulated time.
func (p *Peer) Now() time.Duration { return p.kernel.Now() }

// Connected tells whether the connection was made.
func (p *Peer) Connected() bool { return p.connected }

// Closed tells whether the client has closed or reset the connection.
func (p *Peer) Closed() bool { return p.closed }

// Err is ECONNREFUSED or ETIMEDOUT if the connection could not be made, ECONNRESET
// if it was reset by the loop, or nil.
func (p *Peer) Err() error { return p.failure }

// Fail ends the run; see [Kernel.Fail].
func (p *Peer) Fail(format string, args ...any) { p.kernel.Fail(format, args...) }

// After has the client stepped after d, at the latest. There is one such time: the soonest that was asked for.
func (p *Peer) After(d time.Duration) {
	at := p.kernel.now + max(1, int64(d))
	if p.alarm != 0 && p.alarm <= at {
		return
	}
	p.alarm = at
	p.kernel.events.push(event{at: at, peer: p, alarm: true})
}

// step comes from an event.
func (p *Peer) step(e *event) {
	if e.alarm {
		if p.alarm != e.at {
			return // another took its place
		}
		p.alarm = 0
	} else {
		p.scheduled = false
	}
	if !p.closed {
		p.client.Step(p)
	}
}

// nudge has the client stepped soon, because something has changed.
func (p *Peer) nudge() {
	if p.scheduled || p.closed {
		return
	}
	p.scheduled = true
	p.kernel.events.push(event{at: p.kernel.now + int64(latency) + p.kernel.delay(), peer: p})
}

// broken is a reset or a refusal that has reached the client.
func (p *Peer) broken(err error) {
	if p.closed {
		return
	}
	p.failure = err
	p.nudge()
}

// Write gives bytes to the network, as far as there is room for them.
func (p *Peer) Write(b []byte) (int, error) {
	s := p.stream
	switch {
	case p.failure != nil:
		return 0, p.failure
	case p.closed || p.ended:
		return 0, syscall.EPIPE
	case !p.connected:
		return 0, nil
	case s.closed:
		s.out.drop()
		p.failure = syscall.ECONNRESET
		return 0, p.failure
	}
	n := min(len(b), s.in.room())
	if n > 0 {
		s.in.write(b[:n])
		p.kernel.noteClient("client >", s, n)
		p.kernel.stir(s.reading())
	}
	return n, nil
}

// Read takes bytes that have come: none, io.EOF after the last, or an error.
func (p *Peer) Read(b []byte) (int, error) {
	s := p.stream
	switch {
	case p.closed:
		return 0, syscall.EBADF
	case s.out.size() > 0:
		n := s.out.read(b)
		p.kernel.noteClient("client <", s, n)
		p.kernel.stir(s.writing())
		return n, nil
	case p.failure != nil:
		return 0, p.failure
	case s.out.fin:
		return 0, io.EOF
	}
	return 0, nil
}

// CloseWrite sends a FIN; the client can still read.
func (p *Peer) CloseWrite() {
	if p.ended || p.closed || p.failure != nil {
		return
	}
	p.ended = true
	p.kernel.noteClient("client FIN", p.stream, 0)
	p.stream.in.fin = true
	p.kernel.stir(p.stream.reading())
}

// Close ends the connection: with a FIN, or with a reset if the client has not read all.
func (p *Peer) Close() {
	if p.closed {
		return
	}
	if p.stream.out.size() > 0 {
		p.Reset()
		return
	}
	p.CloseWrite()
	p.closed = true
}

// Reset ends the connection with a reset.
func (p *Peer) Reset() {
	if p.closed {
		return
	}
	p.closed = true
	p.kernel.noteClient("client RST", p.stream, 0)
	if s := p.stream; p.failure == nil && !s.closed {
		s.reset(p.kernel, syscall.ECONNRESET)
	}
}
