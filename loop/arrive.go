package loop

import (
	"errors"
	"syscall"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
)

// errMate refuses a pair of which the handler has taken one connection alone.
var errMate = errors.New("loop: the handler has left the mate of a connection that arrived")

// fits reports whether there is room for n more connections.
func (l *Loop) fits(n int) bool { return l.open-l.shedding+n <= l.limit }

// takesIn reports whether there is room for n more connections, or has been made.
func (l *Loop) takesIn(n int) bool { return l.fits(n) || l.shed() > 0 }

// Arrive goes on with a connection that was accepted or served elsewhere, as one of the listener: with its handler's
// Unpack in the place of Opened, if the parcel has a state. Its descriptors are the loop's then; after an error they
// are the caller's as before, under the numbers that p has by then. On the loop's thread.
func (l *Loop) Arrive(listener int, p *conn.Parcel) error {
	s := l.listeners[listener]
	portable, ok := s.handler.(conn.Portable)
	if len(p.State) == 0 && p.Mate == nil {
		portable, ok = nil, true
	}
	fresh := l.chunksOf(p)
	n := 1
	if p.Mate != nil {
		fresh += l.chunksOf(p.Mate)
		n++
	}
	switch {
	case !ok:
		return conn.ErrNotPortable
	case l.stopping || s.leaving || s.retired:
		return conn.ErrStopping
	case portable != nil && !l.fits(n): // it can stay where it is: an idle one that was closed for it would be lost
		return listen.ErrLimit
	case l.open+n > maxSlots || !l.takesIn(n):
		return listen.ErrLimit
	case fresh > 0 && l.relayable() < fresh:
		return syscall.ENOBUFS
	}
	fds, err := l.adoptPair(p)
	if err != nil {
		return err
	}
	c := l.seat(fds[0], listener, p)
	s.users++
	if l.recorder != nil {
		l.recorder.admitted(c)
	}
	if portable == nil {
		l.meter.Add(meter.Accepted, 1)
		l.handlerOf(c).Opened(c)
		l.resume(c, p)
		return nil
	}
	return l.unpack(c, portable, fds[1], p)
}

// settler is a driver with places for connections that are no descriptors of the process. Settle is its Adopt for those
// that need none.
type settler interface {
	Settle(fd int) (int, error)
}

// adoptPair takes the descriptors of a parcel into the driver; the second is -1 if there is none. What was accepted is
// settled, as what is accepted here; what was dialled is looked at by its number too often for that.
func (l *Loop) adoptPair(p *conn.Parcel) (fds [2]int, err error) {
	adopt := l.driver.Adopt
	if d, settles := l.driver.(settler); settles {
		adopt = d.Settle
	}
	fds[1] = -1
	if fds[0], err = adopt(p.FD); err != nil || p.Mate == nil {
		return fds, err
	}
	if fds[1], err = l.driver.Adopt(p.Mate.FD); err != nil {
		l.giveBack(fds[0], p)
	}
	return fds, err
}

// giveBack makes a descriptor the caller's again on which nothing was submitted.
func (l *Loop) giveBack(fd int, p *conn.Parcel) {
	if ordinary, err := l.driver.Part(fd); err == nil {
		p.FD = ordinary
	} else { // no descriptor is left for a direct one: it cannot be saved
		l.discard(fd)
		p.FD = -1
	}
}

// seat makes a connection of a parcel's descriptor.
func (l *Loop) seat(fd, listener int, p *conn.Parcel) *connection {
	c := l.admit(fd, listener)
	c.bytesIn, c.bytesOut, c.requests = p.In, p.Out, p.Requests
	l.meter.Add(meter.Open, 1)
	if p.Final {
		c.flags |= flagLast | flagFinal
	}
	c.SetIdle(p.Idle)
	if l.listeners[listener].departs {
		c.flags |= flagStays
	}
	return c
}

// unpack has the handler take over what it is told of a connection, and of its mate.
func (l *Loop) unpack(c *connection, handler conn.Portable, mateFD int, p *conn.Parcel) error {
	var mate *connection
	err := handler.Unpack(c, p.State, func(h conn.Handler, v any) conn.Conn {
		if p.Mate == nil || mate != nil {
			return nil
		}
		mate = l.seat(mateFD, l.handlerNumber(h), p.Mate)
		mate.Attach(v)
		return mate
	})
	if err == nil && p.Mate != nil && mate == nil {
		err = errMate
	}
	if err == nil {
		l.meter.Add(meter.Moved, 1)
		l.resume(c, p)
		if mate != nil {
			l.meter.Add(meter.Moved, 1)
			l.resume(mate, p.Mate)
		}
		return nil
	}
	l.giveBack(int(c.fd), p)
	if mate != nil {
		l.giveBack(int(mate.fd), p.Mate)
		l.letGo(c, mate)
		return err
	}
	if p.Mate != nil {
		l.giveBack(mateFD, p.Mate)
	}
	l.letGo(c)
	return err
}

// chunksOf is how many blocks it takes to keep what a parcel has unread, beyond what lies in memory of its own.
func (l *Loop) chunksOf(p *conn.Parcel) int {
	size := l.blocks.BlockSize()
	return max(len(p.Unread)-1, 0) / size
}

// resume has what was unread come again when the turn ends, and then the peer's end.
func (l *Loop) resume(c *connection, p *conn.Parcel) {
	l.mark(c)
	if c.state != conn.Open {
		return
	}
	if p.Ended {
		c.flags |= flagEnded | flagRefeed
	}
	unread := p.Unread
	if len(unread) == 0 {
		return
	}
	c.flags |= flagRefeed
	w := l.workOf(c)
	first := min(len(unread), l.blocks.BlockSize())
	w.rest = append([]byte(nil), unread[:first]...)
	for unread = unread[first:]; len(unread) > 0; {
		b := l.blocks.Take()
		if b == nil {
			l.scarce(c)
			return
		}
		n := copy(b.Bytes(), unread)
		w.waiting = append(w.waiting, arrival{b, n})
		unread = unread[n:]
	}
}
