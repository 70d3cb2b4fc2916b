package uring

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// received handles an outcome of Recv.
func (d *uring) received(r *ring, slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	if o.Res > 0 && o.Flags&sys.OutcomeBuffer != 0 {
		c.Block = r.supply.pick(uint16(o.Flags >> 16))
		c.Result = int(o.Res)
		if e.marks&fed == 0 {
			e.marks |= fed
		}
		if o.Flags&(sys.OutcomeMore|sys.OutcomeRest) == sys.OutcomeMore {
			d.doubts.add(e, uint64(c.Token))
		}
		if e.hold != 0 && e.marks&many != 0 {
			if e.hold -= min(e.hold, uint32(o.Res)); e.hold == 0 {
				e.marks &^= many // the kernel has counted too
			}
		}
		d.goOn(slot, e, o, c)
		return true
	}
	if o.Flags&sys.OutcomeBuffer != 0 {
		r.supply.pick(uint16(o.Flags >> 16)).Release()
	}
	return d.receivedNothing(r, slot, e, o, c)
}

// goOn decides whether a receive or an accept that has just brought something completes again. The kernel ends a
// multishot operation for its own reasons, a full queue among them; the contract knows none.
func (d *uring) goOn(slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) {
	switch {
	case o.Flags&sys.OutcomeMore != 0:
		c.Flags = driver.More
	case e.marks&(many|canceled) == many:
		c.Flags = driver.More
		d.again(slot, e)
	default:
		d.drop(slot, e)
	}
}

// receivedNothing handles the end, an error, and the lack of a block. An end needs no block, but the kernel looks for
// one first: whether it has come is then asked in a second step.
func (d *uring) receivedNothing(r *ring, slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	peeked := e.marks & peeking
	e.marks &^= peeking
	switch errno := syscall.Errno(-o.Res); {
	case o.Res == 0:
	case e.marks&canceled != 0:
		c.Err = driver.ErrCanceled
	case o.Res > 0:
		c.Err = driver.ErrNoBlock // the peeked byte stays where it is
	case errno == syscall.ENOBUFS && !r.supply.exhausted():
		if e.code == driver.Recv {
			e.marks |= peeking
			d.again(slot, e)
			return false
		}
		c.Err = driver.ErrNoBlock
	case errno == syscall.ENOBUFS, errno == syscall.EINTR, errno == syscall.EAGAIN && peeked != 0,
		errno == syscall.ECANCELED && e.marks&renewed != 0:
		d.again(slot, e)
		return false
	default:
		c.Err = errno
	}
	d.drop(slot, e)
	return true
}

// sent handles an outcome of Send: all of it, a silent one that was not taken whole, or an error behind which may be
// another.
func (d *uring) sent(slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	h := d.holds.at(e.hold)
	e.marks &^= silent
	if o.Res > 0 {
		h.taken += int(o.Res)
	}
	switch {
	case h.taken >= h.total && o.Res >= 0:
	case e.marks&canceled != 0:
		c.Err = driver.ErrCanceled
	case o.Res > 0 || o.Res == -int32(syscall.EAGAIN) || o.Res == -int32(syscall.EINTR):
		d.again(slot, e) // waits for room, or finds the error that cut it short
		return false
	case o.Res == 0:
		c.Err = syscall.EPIPE
	default:
		c.Err = syscall.Errno(-o.Res)
	}
	c.Result = h.taken
	d.drop(slot, e)
	return true
}

// sentTo handles an outcome of SendTo, which is never partial: of an attempt, or of waiting for room after one.
func (d *uring) sentTo(slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	waited := e.marks & parked
	e.marks &^= silent | parked
	switch {
	case o.Res >= 0 && waited == 0:
		c.Result = int(o.Res)
	case e.marks&canceled != 0:
		c.Err = driver.ErrCanceled
	case o.Res >= 0:
		d.again(slot, e)
		return false
	case waited == 0 && o.Res == -int32(syscall.EAGAIN) && sys.ToUnix(d.holds.at(e.hold).addr):
		c.Err = syscall.ENOBUFS
	case waited == 0 && o.Res == -int32(syscall.EAGAIN):
		e.marks |= parked
		d.again(slot, e)
		return false
	default:
		c.Err = syscall.Errno(-o.Res)
	}
	d.drop(slot, e)
	return true
}

// acceptsMany tells whether the kernel is to go on accepting by itself. Of those that wait at one socket it wakes the
// first: a multishot accept stays the first, and gets every connection, also while its process is stopped. A single one
// goes to the end of the queue each time.
func (d *uring) acceptsMany(e *entry) bool { return e.marks&many != 0 && !d.shared }

// accepted handles an outcome of Accept on an ordinary ring.
func (d *uring) accepted(r *ring, slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	if d.direct != nil {
		return d.acceptedDirect(r, slot, e, o, c)
	}
	if o.Res >= 0 {
		c.Result = int(o.Res)
		d.goOn(slot, e, o, c)
		return true
	}
	c.Err = syscall.Errno(-o.Res)
	d.drop(slot, e)
	return true
}

// proceed continues what is not with the kernel: operations for which there was no room, shutdowns, and files whose
// share of the last turn was used up.
func (d *uring) proceed() {
	d.local, d.swap = d.swap[:0], d.local
	for _, tok := range d.swap {
		slot, e := d.ops.find(tok)
		if e == nil {
			continue
		}
		e.marks &^= local
		switch {
		case e.marks&canceled != 0:
			d.finish(slot, e, 0, driver.ErrCanceled)
		case e.code == driver.Shutdown && !isDirect(int(e.fd)):
			if d.main.q.Pending() {
				_ = d.main.q.Enter() // a send may be before it
			}
			d.finish(slot, e, 0, sys.Shutdown(int(e.fd), shutdownWrite))
		default:
			d.again(slot, e)
		}
	}
}

// finish completes an operation without the kernel.
func (d *uring) finish(slot uint32, e *entry, result int, err error) {
	d.ready = append(d.ready, driver.Completion{
		Token: driver.Token(token(slot, e)), User: e.user, Code: e.code, Result: result, Err: err,
	})
	d.drop(slot, e)
}
