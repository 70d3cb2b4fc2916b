package sim

import (
	"syscall"
	"time"
)

// pipe is one direction of a connection: bytes under way, up to a limit.
type pipe struct {
	data  []byte
	head  int
	limit int
	fin   bool // nothing follows
}

func (p *pipe) size() int { return len(p.data) - p.head }
func (p *pipe) room() int { return max(0, p.limit-p.size()) }

func (p *pipe) write(b []byte) {
	if p.head > 0 && len(p.data)+len(b) > cap(p.data) {
		p.data = p.data[:copy(p.data, p.data[p.head:])]
		p.head = 0
	}
	p.data = append(p.data, b...)
}

func (p *pipe) read(b []byte) int {
	n := copy(b, p.data[p.head:])
	if p.head += n; p.head == len(p.data) {
		p.data, p.head = p.data[:0], 0
	}
	return n
}

func (p *pipe) drop() { p.data, p.head = p.data[:0], 0 }

// stream is a connection between a client and the loop.
type stream struct {
	in, out pipe // from the client, and to it
	peer    *Peer
	end     *descriptor // nil until it is accepted
	err     error       // for the loop, told once
	dead    bool        // reset: for the loop nothing moves any more
	closed  bool        // by the loop
}

// read and write are the loop's operations in flight, or nil.
func (s *stream) reading() *operation {
	if s.end == nil {
		return nil
	}
	return s.end.read
}

func (s *stream) writing() *operation {
	if s.end == nil {
		return nil
	}
	return s.end.write
}

// Listener is a listening socket.
type Listener struct {
	kernel  *Kernel
	d       *descriptor
	pending []*stream
	backlog int
	closed  bool
}

// Listen makes a listening socket with room for backlog connections that were not accepted yet.
func (k *Kernel) Listen(backlog int) *Listener {
	l := &Listener{kernel: k, backlog: backlog}
	l.d = &descriptor{listener: l}
	if err := k.install(l.d); err != nil {
		k.Fail("no descriptor for a listener: %v", err)
	}
	return l
}

// Descriptor is what Adopt takes.
func (l *Listener) Descriptor() int { return l.d.number }

// Pending is the number of connections that wait to be accepted.
func (l *Listener) Pending() int { return len(l.pending) }

func (l *Listener) shift() *stream {
	s := l.pending[0]
	l.pending = l.pending[:copy(l.pending, l.pending[1:])]
	return s
}

// acceptOne gives the oldest pending connection a descriptor.
func (k *Kernel) acceptOne(l *Listener) (*descriptor, error) {
	if len(l.pending) == 0 {
		return nil, syscall.EAGAIN
	}
	s := l.pending[0]
	d := &descriptor{stream: s}
	if err := k.install(d); err != nil {
		return nil, err
	}
	l.shift()
	s.end = d
	k.noteClient("accepted", s, s.in.size())
	return d, nil
}

// abandon resets a connection that nobody accepted.
func (k *Kernel) abandon(s *stream) {
	s.closed = true
	s.peer.broken(syscall.ECONNRESET)
}

func (k *Kernel) closeListener(l *Listener) {
	l.closed = true
	for _, s := range l.pending {
		k.abandon(s)
	}
	l.pending = nil
}

// Connection attempts that meet a full backlog are repeated like a SYN, so often.
const (
	synAgain = time.Second
	synTries = 60
)

// Dial connects a client to l, now; its first step comes when it is connected or was refused.
func (k *Kernel) Dial(l *Listener, c Client) *Peer {
	k.made++
	p := &Peer{kernel: k, client: c, Number: k.made}
	p.stream = &stream{
		in: pipe{limit: k.options.ReceiveBytes}, out: pipe{limit: k.options.SendBytes}, peer: p,
	}
	k.call(l, p, synTries)
	return p
}

func (k *Kernel) call(l *Listener, p *Peer, tries int) {
	switch {
	case l.closed:
		p.broken(syscall.ECONNREFUSED)
	case len(l.pending) >= l.backlog && tries == 0:
		p.broken(syscall.ETIMEDOUT)
	case len(l.pending) >= l.backlog:
		k.After(synAgain, func() { k.call(l, p, tries-1) })
	default:
		l.pending = append(l.pending, p.stream)
		p.connected = true
		p.nudge()
		k.stir(l.d.read)
		if k.chance(k.faults.Reset) {
			k.After(time.Duration(k.upTo(3*time.Second)), p.Reset)
		}
	}
}

// carry takes bytes to the client. If that has gone they come back as a reset.
func (k *Kernel) carry(s *stream, b []byte) {
	if s.peer.closed {
		if !s.dead {
			k.noteClient("answered with a reset", s, len(b))
			s.reset(k, syscall.ECONNRESET)
		}
		return
	}
	s.out.write(b)
	s.peer.nudge()
}

// reset is what the loop's end sees of a peer that has reset the connection. What
// it had sent may still be there to be received, or be gone.
func (s *stream) reset(k *Kernel, err error) {
	s.dead, s.err = true, err
	if k.rand.IntN(2) == 0 {
		s.in.drop()
	}
	s.out.drop()
	k.stir(s.reading())
	k.stir(s.writing())
}

// shutdown ends the direction to the client.
func (k *Kernel) shutdown(s *stream) error {
	if s.dead {
		return syscall.ENOTCONN
	}
	s.out.fin = true
	s.peer.nudge()
	return nil
}

// closeStream ends both directions for the loop. With bytes that nobody has read,
// or when asked to, it is a reset, and what the client has not read is lost.
func (k *Kernel) closeStream(s *stream, reset bool) {
	s.closed = true
	switch {
	case s.dead || s.peer == nil:
	case reset || s.in.size() > 0:
		s.out.drop()
		s.peer.broken(syscall.ECONNRESET)
	default:
		s.out.fin = true
		s.peer.nudge()
	}
}
