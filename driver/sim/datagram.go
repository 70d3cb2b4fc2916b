package sim

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// socketDatagrams is how many datagrams a socket holds; what comes beyond is dropped.
const socketDatagrams = 64

// Socket is a datagram socket.
type Socket struct {
	kernel *Kernel
	d      *descriptor
	queue  []packet
	stand  int
	closed bool
	// Sent, if set, is called with each datagram that the loop sends; p is lent.
	Sent func(to netip.AddrPort, p []byte)
	// Dropped counts datagrams for which the queue had no room.
	Dropped int
}

type packet struct {
	from  netip.AddrPort
	bytes []byte
}

// ListenDatagrams makes a datagram socket. A real one, bound to nothing, stands for
// it where addresses are asked for, until the simulated one is closed.
func (k *Kernel) ListenDatagrams() (*Socket, error) {
	stand, err := sys.Socket(sys.Inet4, sys.Datagram, true)
	if err != nil {
		return nil, err
	}
	s := &Socket{kernel: k, stand: stand}
	s.d = &descriptor{socket: s}
	if err := k.install(s.d); err != nil {
		return nil, errors.Join(err, sys.Close(stand))
	}
	k.stands[stand] = s.d
	return s, nil
}

// Descriptor is what Adopt takes.
func (s *Socket) Descriptor() int { return s.stand }

// Send brings a datagram to the loop. It reports false if it was dropped.
func (s *Socket) Send(from netip.AddrPort, p []byte) bool {
	if s.closed || len(s.queue) >= socketDatagrams {
		s.Dropped++
		return false
	}
	s.queue = append(s.queue, packet{from, slices.Clone(p)})
	s.kernel.stir(s.d.read)
	return true
}

func (k *Kernel) closeSocket(s *Socket) {
	s.closed = true
	delete(k.stands, s.stand)
	_ = sys.Close(s.stand)
}

func (m *machine) receiveFrom(o *operation) {
	k, s := m.kernel, o.d.socket
	for range 1 + k.rand.IntN(4) {
		if len(s.queue) == 0 {
			return
		}
		b := m.blocks.TakeInput()
		if b != nil && k.chance(k.faults.NoBlock) {
			b.Release()
			b = nil
		}
		if b == nil {
			m.finish(o, 0, driver.ErrNoBlock, nil)
			return
		}
		n := copy(b.Bytes(), s.queue[0].bytes)
		b.Peer = s.queue[0].from
		s.queue = slices.Delete(s.queue, 0, 1)
		if !o.op.Many || o.cancelled && k.chance(0.5) {
			m.finish(o, n, nil, b)
			return
		}
		m.progress(o, n, b)
	}
	k.stir(o)
}

func (m *machine) sendTo(o *operation) {
	k, s := m.kernel, o.d.socket
	if k.chance(k.faults.ShortWrite / 4) {
		k.events.push(event{at: k.now + 1 + k.delay(), op: o, generation: o.generation})
		return
	}
	to := m.peers.Decode(o.op.Addr)
	if !to.IsValid() {
		m.finish(o, 0, syscall.EDESTADDRREQ, nil)
		return
	}
	if s.Sent != nil {
		s.Sent(to, o.op.Buf)
	}
	m.finish(o, len(o.op.Buf), nil, nil)
}

func (m *machine) sendMany(o *operation) {
	k, s := m.kernel, o.d.socket
	for 2*o.done < len(o.op.Rest) {
		if k.chance(k.faults.ShortWrite / 4) {
			k.events.push(event{at: k.now + 1 + k.delay(), op: o, generation: o.generation})
			return
		}
		p, to := o.op.Rest[2*o.done], m.peers.Decode(o.op.Rest[2*o.done+1])
		if !to.IsValid() {
			m.finish(o, 0, syscall.EDESTADDRREQ, nil)
			return
		}
		if s.Sent != nil {
			s.Sent(to, p)
		}
		o.done++
	}
	m.finish(o, 0, nil, nil)
}
