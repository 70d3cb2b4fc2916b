package emulate

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// How much one descriptor may take of a turn before the others have theirs.
const (
	acceptsTurn = 64
	blocksTurn  = 16
)

// attemptRead goes on with a read-side operation, for at most budget steps.
func (m *machine) attemptRead(slot uint32, o *operation, budget int) {
	switch o.code {
	case driver.Accept:
		m.accept(slot, o, budget)
	case driver.Recv:
		m.receive(slot, o, budget)
	case driver.SpliceIn:
		m.spliceIn(slot, o)
	default:
		m.receiveFrom(slot, o, budget)
	}
}

// again gives the operation another place in the turn: there may be more, but
// others come first.
func (m *machine) again(slot uint32, o *operation) {
	if o.marks&queued == 0 {
		o.marks |= queued
		m.turn.push(m.slots.tokenOf(slot))
	}
}

func (m *machine) accept(slot uint32, o *operation, budget int) {
	for ; budget > 0 && m.urgent < m.room; budget-- {
		fd, err := sys.Accept(int(o.fd))
		switch {
		case err == nil:
			m.enter(fd, m.table[o.fd].marks&pieces|adopted)
			if o.marks&many == 0 {
				m.finish(slot, o, fd, nil, nil)
				return
			}
			m.progress(slot, o, fd, nil)
		case err == syscall.EAGAIN:
			m.park(slot, o, Readable, 0)
			return
		case !passing(err):
			m.finish(slot, o, 0, err, nil)
			return
		}
	}
	m.again(slot, o)
}

// passing tells the errors of accept(2) that belong to the connection which was
// about to be accepted, not to the listener. EOPNOTSUPP is in that list too, but
// is also what a socket that cannot accept at all answers for ever.
func passing(err error) bool {
	switch err {
	case syscall.ECONNABORTED, syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.EHOSTUNREACH, syscall.ENETUNREACH:
		return true
	}
	return false
}

func (m *machine) receive(slot uint32, o *operation, budget int) {
	e := &m.table[o.fd]
	for ; budget > 0 && m.urgent < m.room; budget-- {
		b := m.blocks.TakeInput()
		if b == nil {
			m.starve(slot, o)
			return
		}
		n, err := sys.Recv(int(o.fd), b.Bytes(), 0)
		if err != nil || n == 0 {
			b.Release()
			m.receivedNothing(slot, o, err)
			return
		}
		short := n < b.Size() && e.marks&(doubt|pieces) == 0
		if o.next != 0 {
			if o.next -= min(o.next, uint32(n)); o.next == 0 {
				o.marks &^= many
			}
		}
		if o.marks&many == 0 {
			if short {
				e.dry |= Readable
			}
			m.finish(slot, o, n, nil, b)
			return
		}
		m.progress(slot, o, n, b)
		if short {
			m.park(slot, o, Readable, 0)
			return
		}
	}
	m.again(slot, o)
}

// receivedNothing ends an attempt that brought no bytes: the stream's end, an
// error, or EAGAIN, which removes all doubt.
func (m *machine) receivedNothing(slot uint32, o *operation, err error) {
	if err != syscall.EAGAIN {
		m.finish(slot, o, 0, err, nil)
		return
	}
	m.table[o.fd].marks &^= doubt
	m.park(slot, o, Readable, 0)
}

// starve looks whether there is anything for which a block is missing. The end of
// a stream needs no block.
func (m *machine) starve(slot uint32, o *operation) {
	n, err := sys.Recv(int(o.fd), m.peek[:], sys.MsgPeek)
	if err == nil && (n > 0 || o.code == driver.RecvFrom) {
		err = driver.ErrNoBlock
	}
	m.receivedNothing(slot, o, err)
}
