package loop

import (
	"errors"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// errSocket refuses a session whose socket its handler did not take.
var errSocket = errors.New("loop: the handler has left the socket of a session that arrived")

// parting is the leaving of the sessions of one handler. Its listening sockets come first: when nothing comes from
// these any more, nothing is received for the sessions either, and each leaves when nothing is in flight on its socket.
// So what this process has received it also passes on.
type parting struct {
	loop     *Loop
	number   int // of the listener
	take     func(p *conn.Parcel)
	gone     func()
	fronts   []*datagrams // the listening sockets
	heard    int          // of these: something may still come
	asked    bool         // the sessions were
	sessions []*datagrams // while they are asked for
	left     int          // sessions that have not gone
}

// DepartDatagrams has the datagram sockets that h serves not be read from any more, until ResumeDatagrams. The
// sessions leave, with the number of their listener, if h is a conn.PortableDatagrams: take is given each of them when
// nothing is in flight on its socket; otherwise they go on to send from it. gone is called once, when all have left,
// and what was to be sent to their clients. It is a part of Depart, and EndDeparture ends it.
func (l *Loop) DepartDatagrams(h conn.DatagramHandler, number int, take func(p *conn.Parcel), gone func()) {
	p := &parting{loop: l, number: number, take: take, gone: gone}
	for _, d := range l.sockets {
		if !d.serves(h) {
			continue
		}
		p.fronts = append(p.fronts, d)
		if d.pause(); d.recv != 0 {
			d.parting = p
			p.heard++
		}
	}
	p.goOn()
}

// serves reports that the socket is one of a listener, and of h.
func (d *datagrams) serves(h conn.DatagramHandler) bool {
	return d != nil && !d.opened && !d.closed && d.handler == h
}

// pause has nothing received on a socket. What is on its way out of the driver is delivered.
func (d *datagrams) pause() {
	d.paused = true
	if d.recv != 0 {
		_ = d.loop.driver.Cancel(d.recv)
	}
}

// resume has a socket received from again.
func (d *datagrams) resume() {
	d.paused, d.parting = false, nil
	d.arm()
}

// ResumeDatagrams has the datagram sockets that h serves received from that were paused: by ListenDatagrams, or as
// sessions have departed.
func (l *Loop) ResumeDatagrams(h conn.DatagramHandler) error {
	for _, d := range l.sockets {
		if d.serves(h) {
			if err := d.bringBack(); err != nil {
				return err
			}
			d.resume()
		}
	}
	return nil
}

// bringBack makes a socket the driver's again.
func (d *datagrams) bringBack() error {
	if !d.aside {
		return nil
	}
	fd, err := d.loop.driver.Adopt(d.fd)
	if err != nil {
		return err
	}
	d.fd, d.aside = fd, false
	d.mark() // there may be answers of sessions that have arrived
	return nil
}

// putAside leaves a socket to another process, if the driver lets go of it. Some drivers have the kernel tell one
// process alone of a socket.
func (d *datagrams) putAside() {
	if fd, err := d.loop.driver.Part(d.fd); err == nil {
		d.fd, d.aside = fd, true
	}
}

// goOn has the sessions leave once nothing comes any more.
func (p *parting) goOn() {
	if p.heard > 0 {
		return
	}
	if !p.asked {
		p.askAll()
	}
	if p.left > 0 || p.gone == nil {
		return
	}
	for _, d := range p.fronts {
		if !d.closed && (d.send != 0 || len(d.queue) > 0) {
			d.parting = p // it is heard of when they have gone
			return
		}
	}
	for _, d := range p.fronts {
		if _, leaves := d.handler.(conn.PortableDatagrams); leaves && !d.closed && !d.aside {
			d.putAside()
		}
	}
	gone := p.gone
	p.gone = nil
	gone()
}

// askAll asks for the sessions, and has those leave that can at once.
func (p *parting) askAll() {
	p.asked = true
	for _, d := range p.fronts {
		if h, ok := d.handler.(conn.PortableDatagrams); ok && !d.closed {
			h.Sessions(d, p.invite)
		}
	}
	sessions := p.sessions
	p.sessions = nil
	for _, s := range sessions {
		s.goOnParting()
	}
}

// invite has a session leave soon.
func (p *parting) invite(socket conn.Datagrams) {
	s, ok := socket.(*datagrams)
	if !ok || !s.opened || s.closed || s.parting != nil || s.loop != p.loop {
		return
	}
	if _, ok := s.handler.(conn.PortableSession); ok {
		s.pause()
		s.parting = p
		p.left++
		p.sessions = append(p.sessions, s)
	}
}

// goOnParting goes on with the leaving that the socket is a part of, if nothing is in flight any more.
func (d *datagrams) goOnParting() {
	p := d.parting
	switch {
	case p == nil, d.recv != 0 && !d.closed:
		return
	case !d.opened && p.asked: // what it had to send may have gone
	case !d.opened:
		p.heard--
	case d.closed: // by its handler
		p.left--
	case d.send != 0 || len(d.queue) > 0:
		return
	default:
		p.left--
		p.pack(d)
	}
	d.parting = nil
	p.goOn()
}

// pack gives a session away, or has it go on here if that is impossible.
func (p *parting) pack(s *datagrams) {
	l := p.loop
	fd, err := l.driver.Part(s.fd)
	if err != nil {
		s.resume()
		return
	}
	state := s.handler.(conn.PortableSession).PackSession(nil)
	s.vanish()
	l.meter.Add(meter.Moved, 1)
	p.take(&conn.Parcel{Listener: p.number, FD: fd, State: state})
}

// endPartings has the sessions go on here that have not left. The sockets that they came by stay paused.
func (l *Loop) endPartings() {
	for _, d := range l.sockets {
		if d == nil || d.parting == nil {
			continue
		}
		d.parting.gone, d.parting.asked = nil, true
		if d.opened {
			d.resume()
		} else {
			d.parting = nil
		}
	}
}

// vanish gives up the place of a socket whose descriptor is somebody else's.
func (d *datagrams) vanish() {
	d.closed = true
	d.empty()
	d.leave()
}

// ArriveSession goes on with a session of datagrams of another process, at the socket that h serves here, also while
// that is paused. The socket of the session is the loop's then; after an error it is the caller's as before, under the
// number that p has by then.
func (l *Loop) ArriveSession(h conn.DatagramHandler, p *conn.Parcel) error {
	portable, ok := h.(conn.PortableDatagrams)
	if !ok {
		return conn.ErrNotPortable
	}
	var at *datagrams
	for _, d := range l.sockets {
		if d.serves(h) {
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
