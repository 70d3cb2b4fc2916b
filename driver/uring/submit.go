package uring

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// wholeBytes is the largest send that may be silent: the kernel cuts longer ones, and that would look like success.
const wholeBytes = 1 << 30

// Submit queues op for the next Wait. Shutdown and SendFile, for which the ring is slower than a system call, act at
// once or in the next Wait.
func (d *uring) Submit(op driver.Op) (driver.Token, error) {
	slot, e := d.ops.take()
	if e == nil {
		return 0, driver.ErrFull
	}
	e.user, e.fd, e.code, e.marks = op.User, int32(op.FD), op.Code, 0
	switch op.Code {
	case driver.Recv:
		if e.hold = uint32(op.Len); op.Many && (op.Len == 0 || limits()) {
			e.marks = many
		}
		if len(d.joins.on) != 0 {
			d.separate(e.fd)
		}
	case driver.Accept:
		if op.Many {
			e.marks = many
		}
	case driver.RecvFrom:
		if op.Many {
			e.marks = many
			d.join(e)
		} else {
			d.separate(e.fd)
		}
	case driver.SpliceIn:
		e.hold = uint32(op.Len)
	case driver.Send, driver.SendTo, driver.SendMany, driver.Connect, driver.SendFile, driver.SpliceOut:
		d.keep(e, &op)
	case driver.Close:
		delete(d.joins.on, e.fd)
	case driver.Shutdown:
	default:
		d.ops.give(slot, e)
		return 0, syscall.EINVAL
	}
	tok := token(slot, e)
	if !d.issue(slot, e) {
		d.drop(slot, e)
		return 0, driver.ErrFull
	}
	return driver.Token(tok), nil
}

// keep remembers what a write-side operation refers to.
func (d *uring) keep(e *entry, op *driver.Op) {
	i, h := d.holds.take()
	e.hold = i
	h.buf, h.total = op.Buf, len(op.Buf)
	switch op.Code {
	case driver.Send:
		if len(op.Rest) != 0 {
			h.rest = op.Rest
			for _, p := range op.Rest {
				h.total += len(p)
			}
		}
		if op.Lazy && h.total <= wholeBytes {
			e.marks |= silent
		}
		if op.Corked {
			e.marks |= corked
		}
	case driver.SendTo:
		h.addr = op.Addr
		if op.Lazy {
			e.marks |= silent
		}
	case driver.SendMany:
		h.rest, h.total = op.Rest, op.Len
	case driver.Connect:
		h.addr = op.Addr
	case driver.SpliceOut:
		h.pipe = op.Pipe
	case driver.SendFile:
		h.file = d.newFile()
		*h.file = fileSend{from: op.From, off: op.Off, left: op.Len, target: -1}
		if op.Corked {
			e.marks |= corked
		}
	}
}

// drop gives an operation back with what it holds.
func (d *uring) drop(slot uint32, e *entry) {
	switch e.code {
	case driver.SendFile:
		d.endFile(d.holds.at(e.hold).file)
		d.holds.give(e.hold)
	case driver.Send, driver.SendTo, driver.SendMany, driver.Connect, driver.SpliceOut:
		d.holds.give(e.hold)
	case driver.Accept:
		if d.direct != nil {
			d.direct.acceptors[e.hold].tok = 0
		}
	}
	was, fd := e.marks&canceled, e.fd
	d.ops.give(slot, e)
	if was != 0 {
		d.ended(fd)
	}
}

// ended counts a cancelled operation that is over; the last one lets the Close of its descriptor go.
func (d *uring) ended(fd int32) {
	end := d.endings[fd]
	if end.count--; end.count > 0 {
		d.endings[fd] = end
		return
	}
	delete(d.endings, fd)
	if slot, e := d.ops.find(end.close); e != nil {
		d.again(slot, e)
	}
}

// again issues an operation once more, now or, if there is no room, in the next Wait.
func (d *uring) again(slot uint32, e *entry) {
	if !d.issue(slot, e) {
		d.postpone(slot, e)
	}
}

// postpone leaves an operation to the next Wait.
func (d *uring) postpone(slot uint32, e *entry) {
	e.marks |= local
	d.local = append(d.local, token(slot, e))
}

// issue hands an operation, or the rest of it, to the kernel; false if there was no room.
func (d *uring) issue(slot uint32, e *entry) bool {
	switch e.code {
	case driver.Accept:
		if d.direct != nil {
			return d.acceptDirect(slot, e)
		}
	case driver.SendFile:
		return d.sendFile(slot, e)
	case driver.SpliceIn:
		d.spliceIn(slot, e)
		return true
	case driver.SpliceOut:
		d.spliceOut(slot, e)
		return true
	case driver.RecvFrom:
		if e.marks&many == 0 {
			return d.recvFromOnce(slot, e)
		}
	case driver.SendMany:
		if e.marks&parked == 0 {
			return d.sendMany(slot, e)
		}
	case driver.Shutdown:
		if !isDirect(int(e.fd)) {
			d.postpone(slot, e)
			return true
		}
	case driver.Close:
		if len(d.endings) != 0 && d.endings[e.fd].count > 0 {
			d.endings[e.fd] = ending{d.endings[e.fd].count, token(slot, e)}
			return true
		}
	}
	r, fd := d.main, int(e.fd)
	var flags uint8
	if isDirect(fd) {
		r, fd, flags = d.ringOf(fd), slotOf(fd), sys.FixedFile
	}
	s := d.next(r)
	if s == nil {
		return false
	}
	d.prepare(r, s, fd, token(slot, e), e)
	if e.marks&silent != 0 {
		d.hush(r, token(slot, e))
		flags |= sys.SkipSuccess
	}
	if e.code == driver.Close {
		flags &^= sys.FixedFile // the slot is told another way
	}
	s.Flags |= flags
	return true
}

func (d *uring) prepare(r *ring, s *sys.Submission, fd int, tok uint64, e *entry) {
	switch e.code {
	case driver.Recv:
		if e.marks&peeking != 0 {
			r.q.Peek(s, fd, tok)
			return
		}
		if r.supply.offered == 0 {
			r.supply.wanted = true
			r.supply.fill()
		}
		// Without a block on offer an attempt would fail although no byte may have come. And one that has been fed
		// lets those go first that found no block.
		s.Recv(fd, 0, e.marks&many != 0, r.supply.offered == 0 || e.marks&fed != 0, e.hold, tok)
		e.marks &^= fed | renewed
	case driver.Send:
		d.prepareSend(r, s, fd, tok, e)
	case driver.Accept:
		s.Accept(fd, d.acceptsMany(e), tok)
	case driver.Close:
		if isDirect(int(e.fd)) {
			s.CloseDirect(fd, tok)
		} else {
			s.Close(fd, tok)
		}
	case driver.Connect:
		r.q.Connect(s, fd, d.holds.at(e.hold).addr, tok)
	case driver.RecvFrom:
		if e.marks&joined != 0 {
			r.q.RecvDatagrams(s, fd, joinedGroup, true, tok)
			return
		}
		r.supply.wanted = true
		r.q.RecvDatagrams(s, fd, 0, false, tok)
	case driver.SendMany:
		s.Poll(fd, sys.PollOut, false, tok)
	case driver.SendTo:
		if e.marks&parked != 0 {
			s.Poll(fd, sys.PollOut, false, tok)
			return
		}
		// The kernel would wait itself, but a second attempt of its own sends an empty datagram into a Unix socket
		// whose queue was full at the first.
		h := d.holds.at(e.hold)
		r.q.SendVector(s, fd, h.buf, nil, h.addr, sys.MsgDontWait, tok)
	case driver.Shutdown:
		s.Shutdown(fd, shutdownWrite, tok)
	}
}

const shutdownWrite = 1

func (d *uring) prepareSend(r *ring, s *sys.Submission, fd int, tok uint64, e *entry) {
	flags := sys.MsgWaitAll
	if e.marks&silent != 0 {
		flags |= sys.MsgDontWait
	}
	if e.marks&corked != 0 {
		flags |= sys.MsgMore
	}
	h := d.holds.at(e.hold)
	if h.rest == nil && h.taken == 0 {
		s.Send(fd, h.buf, flags, tok)
		return
	}
	var space [driver.RestMax][]byte
	head, rest := h.remaining(&space)
	r.q.SendVector(s, fd, head, rest, nil, flags, tok)
}
