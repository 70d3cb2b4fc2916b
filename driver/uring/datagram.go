package uring

import (
	"syscall"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// receivedFrom handles an outcome of RecvFrom. With Many the kernel puts a header and the source before the
// datagram, so that sys.DatagramOffset bytes of a block are not available to it, and the datagram is moved to the
// beginning of its block: some nanoseconds, against a system call for each.
func (d *uring) receivedFrom(r *ring, slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	if e.marks&joined != 0 {
		d.receivedJoined(r, slot, e, o, c)
		return false
	}
	if e.marks&many == 0 {
		return d.receiveNow(slot, e, o, c)
	}
	if o.Flags&sys.OutcomeBuffer == 0 || o.Res < 0 {
		return d.receivedNothing(r, slot, e, o, c)
	}
	b := r.supply.pick(uint16(o.Flags >> 16))
	source, home, payload := sys.ReadDatagram(b.Bytes(), int(o.Res))
	b.Peer, b.Home = d.peers.Decode(source), home
	c.Result = copy(b.Bytes(), payload)
	c.Block = b
	d.goOn(slot, e, o, c)
	return true
}

// recvFromOnce waits until there is a datagram: the kernel has no way of receiving just one with its source into a
// block that is picked when it arrives.
func (d *uring) recvFromOnce(slot uint32, e *entry) bool {
	s := d.next(d.main)
	if s == nil {
		return false
	}
	s.Poll(int(e.fd), sys.PollIn, false, token(slot, e))
	return true
}

// receiveNow takes the datagram that recvFromOnce has waited for.
func (d *uring) receiveNow(slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	var b *buf.Block
	var n int
	var err error
	switch {
	case e.marks&canceled != 0:
		err = driver.ErrCanceled
	case o.Res < 0:
		err = syscall.Errno(-o.Res)
	default:
		if b = d.pool.TakeInput(); b == nil {
			err = driver.ErrNoBlock
			break
		}
		n, err = d.recvFrom(int(e.fd), b)
		if err == syscall.EAGAIN {
			b.Release()
			d.again(slot, e)
			return false
		}
	}
	c.Result, c.Err = n, err
	if err == nil {
		c.Block = b
	} else if b != nil {
		c.Result = 0
		b.Release()
	}
	d.drop(slot, e)
	return true
}

func (d *uring) recvFrom(fd int, b *buf.Block) (int, error) {
	if d.address == nil {
		d.address = make([]byte, sys.AddressBytes)
	}
	n, size, home, err := sys.RecvDatagram(fd, b.Bytes(), d.address)
	if err == nil {
		b.Peer, b.Home = d.peers.Decode(d.address[:size]), home
	}
	return n, err
}

// sendMany sends what it can at once: one call for all of them is cheaper than a submission for each. For the rest it
// waits until there is room.
func (d *uring) sendMany(slot uint32, e *entry) bool {
	h := d.holds.at(e.hold)
	if d.batch == nil {
		d.batch = new(sys.DatagramBatch)
	}
	n, err := d.batch.Send(int(e.fd), h.rest[2*h.taken:], h.total != 0)
	h.taken += n
	if err == syscall.EAGAIN {
		e.marks |= parked
		d.again(slot, e)
		return true
	}
	d.finish(slot, e, h.taken, err)
	return true
}

// waitedToSend goes on with a SendMany that has waited for room.
func (d *uring) waitedToSend(slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	e.marks &^= parked
	switch {
	case e.marks&canceled != 0:
		c.Err = driver.ErrCanceled
	case o.Res < 0:
		c.Err = syscall.Errno(-o.Res)
	default:
		d.sendMany(slot, e)
		return false
	}
	c.Result = d.holds.at(e.hold).taken
	d.drop(slot, e)
	return true
}
