package loop

import (
	"errors"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// errSocket refuses a session whose socket its handler did not take.
var errSocket = errors.New("loop: the handler has left the socket of a session that arrived")

// DepartDatagrams has the datagram socket that h serves not be read from any more. The sessions leave, with the number
// of their listener, if h is a conn.PortableDatagrams: take is given each of them when nothing is in flight on its
// socket. Then the listener's socket is closed too. It reports whether that is so; otherwise sessions go on to send
// from it.
func (l *Loop) DepartDatagrams(h conn.DatagramHandler, number int, take func(p *conn.Parcel)) (leaves bool) {
	portable, leaves := h.(conn.PortableDatagrams)
	for _, d := range l.sockets {
		if d == nil || d.opened || d.closed || d.gone != nil || d.handler != h {
			continue
		}
		d.mute()
		if !leaves {
			continue
		}
		portable.PackAll(d, func(socket conn.Datagrams, state []byte) {
			s, ok := socket.(*datagrams)
			if !ok || s.closed || s.gone != nil || s.loop != l {
				return
			}
			p := &conn.Parcel{Listener: number, State: append([]byte(nil), state...)}
			s.part(func(fd int) {
				p.FD = fd
				l.meter.Add(meter.Moved, 1)
				take(p)
			})
		})
		d.part(func(fd int) { _ = sys.Close(fd) })
	}
	return leaves
}

// mute has nothing received on a socket any more.
func (d *datagrams) mute() {
	d.muted = true
	if d.recv != 0 {
		_ = d.loop.driver.Cancel(d.recv)
	}
}

// part gives the socket away as soon as nothing is in flight on it and nothing queued. Its handler hears of it no more.
func (d *datagrams) part(gone func(fd int)) {
	d.mute()
	d.gone = gone
	d.goOnParting()
}

// goOnParting gives the socket away if nothing is under way.
func (d *datagrams) goOnParting() {
	l := d.loop
	if d.gone == nil || d.closed || d.recv != 0 || d.send != 0 || len(d.queue) > 0 {
		return
	}
	fd, err := l.driver.Part(d.fd)
	if err != nil {
		d.close()
		return
	}
	gone := d.gone
	d.vanish()
	gone(fd)
}

// vanish gives up the place of a socket whose descriptor is somebody else's.
func (d *datagrams) vanish() {
	d.closed = true
	d.empty()
	d.leave()
}

// ArriveSession goes on with a session of datagrams of another process, at the socket that h serves here. The socket of
// the session is the loop's then; after an error it is the caller's as before, under the number that p has by then.
func (l *Loop) ArriveSession(h conn.DatagramHandler, p *conn.Parcel) error {
	portable, ok := h.(conn.PortableDatagrams)
	if !ok {
		return conn.ErrNotPortable
	}
	var at *datagrams
	for _, d := range l.sockets {
		if d != nil && !d.opened && !d.closed && !d.muted && d.handler == h {
			at = d
		}
	}
	if at == nil || l.stopping {
		return conn.ErrStopping
	}
	local, err := sys.LocalAddress(p.FD)
	if err != nil {
		return err
	}
	fd, err := l.driver.Adopt(p.FD)
	if err != nil {
		return err
	}
	var s *datagrams
	err = portable.UnpackSession(at, p.State, func(h conn.DatagramHandler) conn.Datagrams {
		if s != nil {
			return nil
		}
		s = &datagrams{loop: l, handler: h, opened: true, local: local, fd: fd}
		l.settleSocket(s)
		return s
	})
	switch {
	case err == nil && s != nil:
		l.meter.Add(meter.Moved, 1)
		s.arm()
		return nil
	case err == nil:
		err = errSocket
	}
	if s == nil || !s.closed {
		l.giveBack(fd, p)
	} else {
		p.FD = -1 // the handler has closed it
	}
	if s != nil && !s.closed {
		s.vanish()
	}
	return err
}
