package uring

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// Bytes are moved by splice(2) and not through the ring, which would hand each piece to a helper thread; the ring only
// waits for bytes, or for room.

// spliceIn moves bytes into a pipe of the pool, or arranges to be told of some. The pipe is empty before, so EAGAIN can
// only mean that the socket is.
func (d *uring) spliceIn(slot uint32, e *entry) {
	if isDirect(int(e.fd)) && e.marks&primed == 0 { // an attempt would cost a descriptor
		d.poll(slot, e, sys.PollIn)
		return
	}
	e.marks &^= primed
	fd, done, err := d.ordinary(int(e.fd))
	if err != nil {
		d.finish(slot, e, 0, err)
		return
	}
	defer done()
	p := d.pipes.Take()
	var n int
	if p == nil {
		var look [1]byte
		if n, err = sys.Recv(fd, look[:], sys.MsgPeek|sys.MsgDontWait); err == nil && n > 0 {
			n, err = 0, driver.ErrNoPipe
		}
	} else if n, err = sys.Splice(p.Write, fd, int(e.hold)); err != nil || n == 0 {
		p.Release()
		p = nil
	}
	if err == syscall.EAGAIN {
		d.poll(slot, e, sys.PollIn)
		return
	}
	d.finish(slot, e, n, err)
	if p != nil {
		p.Bytes = n
		d.ready[len(d.ready)-1].Pipe = p
	}
}

// spliceOut empties a pipe. There are bytes in it, so EAGAIN can only mean that the socket is full.
func (d *uring) spliceOut(slot uint32, e *entry) {
	fd, done, err := d.ordinary(int(e.fd))
	if err != nil {
		d.finish(slot, e, 0, err)
		return
	}
	defer done()
	p := d.holds.at(e.hold).pipe
	total := 0
	for p.Bytes > 0 && err == nil {
		var n int
		if n, err = sys.Splice(fd, p.Read, p.Bytes); err == nil && n == 0 {
			err = syscall.EPIPE
		}
		p.Bytes -= n
		total += n
	}
	if err != syscall.EAGAIN {
		d.finish(slot, e, total, err)
		return
	}
	d.progress(slot, e, total)
	d.poll(slot, e, sys.PollOut)
}

// poll asks the ring to tell when an attempt is worth it. If there is no room for that, one is made in the next Wait.
func (d *uring) poll(slot uint32, e *entry, events uint32) {
	r, fd := d.ringOf(int(e.fd)), int(e.fd)
	s := d.next(r)
	if s == nil {
		d.postpone(slot, e)
		return
	}
	if !isDirect(fd) {
		s.Poll(fd, events, false, token(slot, e))
		return
	}
	s.Poll(slotOf(fd), events, false, token(slot, e))
	s.Flags |= sys.FixedFile
}

// polled handles the outcome of poll.
func (d *uring) polled(slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	switch {
	case e.marks&canceled != 0:
		c.Err = driver.ErrCanceled
	case o.Res < 0:
		c.Err = syscall.Errno(-o.Res)
	default:
		e.marks |= primed
		d.again(slot, e)
		return false
	}
	d.drop(slot, e)
	return true
}

// ordinary is Descriptor for one call. A direct descriptor gets its ordinary one for that long; when the process has no
// room for it, in place of one that is kept for that.
func (d *uring) ordinary(fd int) (int, func(), error) {
	if !isDirect(fd) {
		return fd, nothing, nil
	}
	if d.reserve < 0 {
		d.reserve, _ = sys.Eventfd()
	}
	ordinary, done, err := d.Descriptor(fd)
	if err != syscall.EMFILE && err != syscall.ENFILE || d.reserve < 0 {
		return ordinary, done, err
	}
	_ = sys.Close(d.reserve)
	d.reserve = -1
	if ordinary, done, err = d.Descriptor(fd); err != nil {
		return ordinary, done, err
	}
	return ordinary, func() {
		done()
		d.reserve, _ = sys.Eventfd()
	}, nil
}
