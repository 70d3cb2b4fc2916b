package uring

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	// fileCallBytes is how much one sendfile(2) is asked for: small ones cost twice as much per byte.
	fileCallBytes = 1 << 20
	// fileTurnBytes is how much one operation may send before the others have their turn.
	fileTurnBytes = 4 << 20
)

// fileSend is a SendFile in flight. Files go by sendfile(2) and not through the ring, which would hand each piece to
// a helper thread; the ring only waits for room in the socket.
type fileSend struct {
	from   int
	off    int64
	left   int
	target int // ordinary descriptor to send to, -1 if none is known
	opened bool

	copying bool // there is no ordinary descriptor and none to be had
	staging []byte
	piece   []byte // what is left of staging
}

// sendFile sends what the socket takes and arranges for the rest; false if the ring had no room to wait in.
func (d *uring) sendFile(slot uint32, e *entry) bool {
	h := d.holds.at(e.hold)
	f := h.file
	if f.copying {
		return d.copyFile(slot, e, h, f)
	}
	if f.target < 0 {
		if isDirect(int(e.fd)) {
			return d.installTarget(slot, e)
		}
		f.target = int(e.fd)
	}
	n, err := f.send(h, e.marks&corked != 0)
	switch {
	case err == nil && h.taken == len(h.buf) && f.left == 0:
		d.finish(slot, e, n, nil)
		return true
	case err == nil:
		d.progress(slot, e, n)
		d.postpone(slot, e)
		return true
	case err != syscall.EAGAIN:
		d.finish(slot, e, n, err)
		return true
	}
	d.progress(slot, e, n)
	s := d.next(d.ringOf(int(e.fd)))
	if s == nil {
		d.postpone(slot, e)
		return true
	}
	s.Poll(f.target, sys.PollOut, false, token(slot, e))
	return true
}

// send makes the calls of one turn and returns the bytes taken. EAGAIN says that the socket is full; no error with
// something left, that the turn is used up.
func (f *fileSend) send(h *hold, more bool) (int, error) {
	n := 0
	for h.taken < len(h.buf) {
		flags := sys.MsgDontWait
		if more || f.left > 0 {
			flags |= sys.MsgMore
		}
		k, err := sys.Send(f.target, h.buf[h.taken:], flags)
		if err != nil {
			return n, err
		}
		h.taken += k
		n += k
	}
	for f.left > 0 && n < fileTurnBytes {
		k, err := sys.SendFile(f.target, f.from, f.off, min(f.left, fileCallBytes))
		if err != nil {
			return n, err
		}
		if k == 0 {
			return n, driver.ErrShrunk
		}
		f.off += int64(k)
		f.left -= k
		n += k
	}
	return n, nil
}

// progress reports bytes taken of an operation that goes on.
func (d *uring) progress(slot uint32, e *entry, n int) {
	if n > 0 {
		d.ready = append(d.ready, driver.Completion{
			Token: driver.Token(token(slot, e)), User: e.user, Code: e.code, Result: n, Flags: driver.More,
		})
	}
}

// sentFile handles the outcome of waiting for room, and everything that direct descriptors need.
func (d *uring) sentFile(slot uint32, e *entry, o *sys.Outcome, _ *driver.Completion) bool {
	f := d.holds.at(e.hold).file
	switch {
	case e.marks&canceled != 0:
		f.abandon(o)
		d.finish(slot, e, 0, driver.ErrCanceled)
	case f.copying:
		d.copied(slot, e, o)
	case f.target < 0:
		d.installed(slot, e, o)
	case o.Res < 0:
		d.finish(slot, e, 0, syscall.Errno(-o.Res))
	default:
		d.again(slot, e)
	}
	return false
}
