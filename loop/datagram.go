package loop

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// datagrams is one datagram socket of the loop.
type datagrams struct {
	loop    *Loop
	handler conn.DatagramHandler
	recv    driver.Token
	send    driver.Token
	queue   []datagram // queue[:flying] is in flight
	pairs   [][]byte   // what is in flight, as SendMany has it; nil if it is one
	open    *buf.Block // the block that the next datagram goes into, and how much of it is filled
	filled  int
	flying  int
	local   netip.AddrPort
	from    netip.AddrPort // of the datagram that the handler has, and where it was sent to
	home    netip.Addr
	fd      int
	index   int
	dropped int64 // datagrams that did not fit
	logged  int64 // when that was said last; 0: never
	closed  bool
	opened  bool // by OpenDatagrams
	marked  bool // in Loop.talkers
	stalled bool // in Loop.stalled
	again   bool // the datagram in flight is sent for the second time
	paused  bool // nothing is received for now
	aside   bool // fd is an ordinary descriptor, of which the driver does not know: another process serves the socket

	parting *parting // that it takes part in; nil: it stays
}

// ListenDatagrams makes the loop serve an ordinary non-blocking datagram socket with h. It comes before Run, or on
// the loop's thread. One that is paused is left to another process until ResumeDatagrams, and nothing is sent by it.
func (l *Loop) ListenDatagrams(fd int, h conn.DatagramHandler, paused bool) error {
	local, err := sys.LocalAddress(fd)
	if err != nil {
		return err
	}
	d := &datagrams{loop: l, handler: h, local: local, fd: fd, paused: paused, aside: paused}
	if !paused {
		if d.fd, err = l.driver.Adopt(fd); err != nil {
			return err
		}
	}
	l.settleSocket(d)
	l.settleIn(h)
	return nil
}

// settleSocket gives a socket a place.
func (l *Loop) settleSocket(d *datagrams) {
	if n := len(l.seats); n > 0 {
		d.index, l.seats = int(l.seats[n-1]), l.seats[:n-1]
		l.sockets[d.index] = d
		return
	}
	d.index = len(l.sockets)
	l.sockets = append(l.sockets, d)
}

// OpenDatagrams makes a socket that is connected to the target, of UDP or, if that is a path, a Unix datagram socket
// with an abstract name that the kernel chooses, so that it can be answered. A handler that has a method
// Failed(conn.Datagrams, error) is told by it what the kernel heard of datagrams that could not be delivered, such as
// ECONNREFUSED where nobody listens; the socket stays open.
func (d *dialer) OpenDatagrams(t *conn.Target, h conn.DatagramHandler) (conn.Datagrams, error) {
	l := d.Loop
	if l.stopping {
		return nil, conn.ErrStopping
	}
	near, far, family, err := datagramEnds(t)
	if err != nil {
		return nil, err
	}
	fd, err := sys.Socket(family, sys.Datagram, true)
	if err != nil {
		l.pressedDial()
		return nil, err
	}
	if near != nil {
		err = sys.Bind(fd, near)
	}
	if err == nil {
		err = sys.Connect(fd, far)
	}
	s := &datagrams{loop: l, handler: h, opened: true}
	if err == nil {
		s.local, err = sys.LocalAddress(fd)
	}
	if err == nil {
		s.fd, err = l.driver.Adopt(fd)
	}
	if err != nil {
		_ = sys.Close(fd)
		// What it is called when no port is left; a Unix socket needs none.
		if family != sys.Unix && (err == syscall.EAGAIN || err == syscall.EADDRINUSE) {
			l.meter.Add(meter.PortsExhausted, 1)
			err = syscall.EADDRNOTAVAIL
		}
		return nil, err
	}
	l.settleSocket(s)
	s.arm()
	return s, nil
}

// datagramEnds are the raw addresses of a socket to the target, and their family. The near one is nil where the kernel
// chooses as it connects.
func datagramEnds(t *conn.Target) (near, far []byte, family int, err error) {
	switch {
	case t.Path != "":
		if far, err = sys.EncodeUnix(t.Path); err == nil {
			near = far[:2:2] // the family alone: any name
		}
		return near, far, sys.Unix, err
	case !t.Address.IsValid():
		return nil, nil, 0, errNoAddress
	case t.Source.IsValid():
		near, _ = sys.EncodeAddress(make([]byte, 0, 28), netip.AddrPortFrom(t.Source.Unmap(), 0))
	}
	far, family = sys.EncodeAddress(make([]byte, 0, 28), unmapped(t.Address))
	return near, far, family, nil
}

func (d *datagrams) arm() {
	if d.recv != 0 || d.closed || d.stalled || d.paused {
		return
	}
	op := driver.Op{Code: driver.RecvFrom, FD: d.fd, User: uint64(d.index), Many: true}
	token, err := d.loop.driver.Submit(op)
	if err != nil {
		d.stall()
		return
	}
	d.recv = token
}

// stallPause is how long a socket rests that cannot receive or send now for want of something.
const stallPause = 10 * time.Millisecond

// stall has the socket go on a little later. Others do not wait for it.
func (d *datagrams) stall() {
	if d.stalled || d.closed {
		return
	}
	l := d.loop
	if len(l.stalled) == 0 {
		l.revival = l.dials.Every(stallPause, l.revive)
	}
	d.stalled = true
	l.stalled = append(l.stalled, d)
}

// revive goes on with the sockets that were stalled.
func (l *Loop) revive() {
	stalled := l.stalled
	l.stalled = nil
	l.revival()
	for _, d := range stalled {
		d.stalled = false
		d.arm()
		d.mark()
	}
}

func (d *datagrams) received(done *driver.Completion) {
	if done.Flags&driver.More == 0 {
		d.recv = 0
	}
	l := d.loop
	if b := done.Block; b != nil {
		switch {
		case done.Err != nil || d.closed:
		case done.Result > l.longestDatagram():
			d.truncated(b.Peer)
		default:
			l.meter.Add(meter.BytesIn, int64(done.Result))
			d.from, d.home = b.Peer, b.Home
			d.handler.Datagram(d, b.Peer, b.Bytes()[:done.Result])
			d.from, d.home = netip.AddrPort{}, netip.Addr{}
		}
		b.Release()
	}
	switch {
	case d.closed:
		d.leave()
	case d.recv != 0:
	case d.paused:
		if undelivered(done.Err) {
			d.failed(done.Err)
		}
		d.goOnParting()
	case done.Err == nil, errors.Is(done.Err, driver.ErrCanceled), // it was paused for a moment
		errors.Is(done.Err, driver.ErrNoBlock) && l.blocks.TakesInput():
		d.arm()
	case undelivered(done.Err):
		d.failed(done.Err)
		d.arm()
	default:
		d.stall()
		if errors.Is(done.Err, syscall.ENOMEM) || errors.Is(done.Err, syscall.ENOBUFS) {
			l.press(done.Err)
		}
	}
}

// undelivered tells the errors of a connected socket that are about datagrams it has sent: each is told once, and the
// socket is as good as before. See ip(7) and udp(7).
func undelivered(err error) bool {
	switch err {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN,
		syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EMSGSIZE, syscall.EACCES, syscall.EPERM, syscall.ECONNRESET:
		return true
	}
	return false
}

// failed tells the handler that a datagram was not delivered.
func (d *datagrams) failed(err error) {
	d.loop.meter.Add(meter.DatagramErrors, 1)
	if h, ok := d.handler.(interface {
		Failed(d conn.Datagrams, err error)
	}); ok && !d.closed {
		h.Failed(d, err)
	}
}

// besideDatagram is what a block holds beside a datagram. No driver has less room for one, and all have some bytes
// more, so that a datagram of which the kernel cut something off is always too long.
const besideDatagram = sys.DatagramOffset + 8

// longestDatagram is how many bytes a datagram may have, both ways.
func (l *Loop) longestDatagram() int { return l.blocks.BlockSize() - besideDatagram }

// truncated drops a datagram that is too long. The kernel cuts what does not fit without a word, and half a message is
// worse than none, which users of datagrams are prepared for.
func (d *datagrams) truncated(from netip.AddrPort) {
	l := d.loop
	d.dropped++
	l.meter.Add(meter.Truncated, 1)
	if d.logged != 0 && l.now-d.logged < int64(logPause) {
		return
	}
	d.logged = max(l.now, 1)
	l.log.Warn("a datagram was dropped: it is longer than a block has room for", "listener", d.local, "from", from,
		"longest", l.longestDatagram(), "dropped", d.dropped, "mend", "raise engine.block")
}

// Local is the socket's address.
func (d *datagrams) Local() netip.AddrPort { return d.local }

// Home is the address that the datagram was sent to which the handler was just given, on a socket of every address.
func (d *datagrams) Home() netip.Addr { return d.home }

// Now is the time of the turn.
func (d *datagrams) Now() int64 { return d.loop.now }

// close ends the socket: nothing more is received, and what is queued and not in flight is dropped.
func (d *datagrams) close() {
	if d.closed {
		return
	}
	d.closed = true
	if d.recv != 0 {
		_ = d.loop.driver.Cancel(d.recv)
	}
	if d.send != 0 {
		_ = d.loop.driver.Cancel(d.send)
	}
	d.empty()
	if d.aside {
		_ = sys.Close(d.fd)
	} else {
		d.loop.discard(d.fd)
	}
	d.leave()
	d.goOnParting()
}

// Close closes a socket that was opened for its handler; those of listeners are closed when the loop stops.
func (d *datagrams) Close() {
	if d.opened {
		d.close()
	}
}

// leave gives the place back when nothing is in flight any more.
func (d *datagrams) leave() {
	if d.recv != 0 || d.send != 0 || d.loop.sockets[d.index] != d {
		return
	}
	d.loop.sockets[d.index] = nil
	d.loop.seats = append(d.loop.seats, uint32(d.index))
}
