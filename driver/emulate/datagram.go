package emulate

import (
	"net/netip"
	"syscall"

	"github.com/myriad-server/myriad/internal/sys"
)

const (
	// messageBlocks is how many blocks one message may need: it has as many datagrams.
	messageBlocks = 64
	// gatherBlocks is the smallest pool for which the kernel is asked to gather datagrams.
	gatherBlocks = 2 * messageBlocks
)

// gathers decides how datagrams of a socket are received. For UDP the kernel passes on as one message what came in a
// row, and with one call many messages: that is received beside the pool, and copied into blocks. All else is received
// into blocks, one by one. A socket that gathers must always be received from in the first way.
func (m *machine) gathers(o *operation, e *entry) bool {
	on := e.marks&gathering != 0
	want := o.marks&many != 0 && m.blocks.Limit() >= gatherBlocks
	if on == want || want && e.marks&apart != 0 {
		return on
	}
	if want && m.messages == nil {
		messages, err := sys.NewReceiveBatch()
		if err != nil {
			return false
		}
		m.messages = messages
	}
	switch err := sys.Gather(int(o.fd), want); {
	case err != nil:
		e.marks |= apart
	case want:
		e.marks |= gathering
	default:
		e.marks &^= gathering
	}
	return e.marks&gathering != 0
}

func (m *machine) receiveFrom(slot uint32, o *operation, budget int) {
	if e := &m.table[o.fd]; m.gathers(o, e) {
		m.receiveMany(slot, o, budget)
		return
	}
	for ; budget > 0 && m.urgent < m.room; budget-- {
		b := m.blocks.TakeInput()
		if b == nil {
			m.starve(slot, o)
			return
		}
		n, size, home, err := sys.RecvDatagram(int(o.fd), b.Bytes(), m.address[:])
		if err != nil {
			b.Release()
			m.receivedNothing(slot, o, err)
			return
		}
		b.Peer, b.Home = m.peers.Decode(m.address[:size]), home
		if o.marks&many == 0 {
			m.finish(slot, o, n, nil, b)
			return
		}
		m.progress(slot, o, n, b)
	}
	m.again(slot, o)
}

// receiveMany receives some messages with one call: one at first, and more when as many came as were asked for.
func (m *machine) receiveMany(slot uint32, o *operation, budget int) {
	for budget > 0 && m.urgent < m.room {
		free := m.blocks.Limit() - m.blocks.Lent()
		if free <= 0 {
			m.starve(slot, o)
			return
		}
		most := max(1, min(int(o.next), sys.MessagesMost, free/messageBlocks))
		n, err := m.messages.Receive(int(o.fd), most)
		if err != nil {
			m.receivedNothing(slot, o, err)
			return
		}
		if o.next = uint32(n); n == most {
			o.next = uint32(2 * n)
		}
		for i := range n {
			p, from, home, size := m.messages.Message(i)
			budget -= m.apportion(slot, o, p, from, home, size)
		}
	}
	m.again(slot, o)
}

// apportion gives each datagram of a message a block, and counts them. Where there is none the datagram is lost, as it
// is when the kernel's queue is full.
func (m *machine) apportion(
	slot uint32, o *operation, p []byte, from netip.AddrPort, home netip.Addr, size int,
) (count int) {
	for {
		one := p[:min(size, len(p))]
		p = p[len(one):]
		count++
		if b := m.blocks.TakeInput(); b != nil {
			b.Peer, b.Home = from, home
			m.progress(slot, o, copy(b.Bytes(), one), b)
		}
		if len(p) == 0 {
			return count
		}
	}
}

func (m *machine) sendTo(slot uint32, o *operation, c *cargo) bool {
	n, err := sys.SendTo(int(o.fd), c.head, c.addr)
	if err == syscall.EAGAIN {
		return !m.park(slot, o, Writable, 0)
	}
	if err != nil {
		n = 0
	}
	m.finish(slot, o, n, err, nil)
	return true
}

func (m *machine) sendMany(slot uint32, o *operation, c *cargo) bool {
	if m.datagrams == nil {
		m.datagrams = new(sys.DatagramBatch)
	}
	n, err := m.datagrams.Send(int(o.fd), c.rest[2*c.done:], c.left != 0)
	c.done += n
	if err == syscall.EAGAIN {
		return !m.park(slot, o, Writable, c.done)
	}
	m.finish(slot, o, c.done, err, nil)
	return true
}
