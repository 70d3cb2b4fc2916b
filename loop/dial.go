package loop

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// dialer is the loop as its handlers see it when they make connections. A Loop would do, but its handlers should not
// find the rest of it.
type dialer struct{ *Loop }

func (c *connection) Dialer() conn.Dialer { return c.on().dials }

// introduce tells the handlers that want to know on which thread they are.
func (l *Loop) introduce() {
	for _, s := range l.listeners {
		l.introduceTo(s.handler)
	}
	for _, d := range l.sockets {
		l.introduceTo(d.handler)
	}
}

func (l *Loop) introduceTo(handler any) {
	if h, ok := handler.(conn.Starter); ok {
		h.Started(l.dials)
	}
}

// Number is the loop's own in the process.
func (d *dialer) Number() int { return int(d.number) }

// Now is the time of the turn.
func (d *dialer) Now() int64 { return d.now }

// Stopping reports that the loop winds down.
func (d *dialer) Stopping() bool { return d.stopping }

// Dial begins to connect. Whatever goes wrong is told by Closed at the end of the turn.
func (d *dialer) Dial(t *conn.Target, h conn.Handler, v any) conn.Conn {
	l := d.Loop
	c := l.admit(-1, l.handlerNumber(h))
	c.state = conn.Opening
	l.meter.Add(meter.Dialled, 1)
	l.meter.Add(meter.Open, 1)
	c.Attach(v)
	l.mark(c)
	if l.killed {
		l.end(c, conn.ErrStopping)
	} else if l.open-l.shedding > l.limit && l.shed() == 0 {
		l.end(c, listen.ErrLimit)
	} else if err := l.connect(c, t); err != nil {
		l.end(c, err)
	}
	return c
}

// handlerNumber finds the handler's place among the listeners, or makes one, for one more connection. There are few:
// one for each kind of use.
func (l *Loop) handlerNumber(h conn.Handler) int {
	for i := len(l.listeners) - 1; i >= 0; i-- {
		if s := l.listeners[i]; s.dials && s.handler == h {
			s.users++
			return i
		}
	}
	s := &listener{handler: h, fd: -1, dials: true, users: 1}
	l.install(s)
	return s.index
}

// install gives a listener the place of one that is not used any more, or a new one.
func (l *Loop) install(s *listener) {
	for i, was := range l.listeners {
		if (was.dials || was.retired) && !was.used() {
			s.index, l.listeners[i] = i, s
			return
		}
	}
	s.index = len(l.listeners)
	l.listeners = append(l.listeners, s)
}

// attempt is a connect that has to be tried again: the driver had no room for it, or the listener of a Unix socket had
// none in its queue.
type attempt struct {
	id      uint64
	address []byte
	unix    bool
	until   int64
}

const (
	attemptPause    = 10 * time.Millisecond
	attemptPatience = 30 * time.Second // the handler's own timer is usually sooner
)

var (
	errNoAddress = errors.New("loop: the target has no address")
	errBacklog   = errors.New("the Unix socket's queue of connections that are not accepted yet stays full")
)

// connect makes the socket of a connection, and begins to connect it.
func (l *Loop) connect(c *connection, t *conn.Target) (err error) {
	a := attempt{id: c.ID(), unix: t.Path != "", until: l.now + int64(attemptPatience)}
	family := sys.Unix
	switch {
	case a.unix:
		if a.address, err = sys.EncodeUnix(t.Path); err != nil {
			return err
		}
	case t.Address.IsValid():
		a.address, family = sys.EncodeAddress(make([]byte, 0, 28), unmapped(t.Address))
	default:
		return errNoAddress
	}
	fd, err := sys.Socket(family, sys.Stream, true)
	if err != nil {
		l.pressedDial()
		return err
	}
	if !a.unix {
		err = dress(fd, t)
	}
	var adopted int
	if err == nil {
		adopted, err = l.driver.Adopt(fd)
	}
	if err != nil {
		_ = sys.Close(fd)
		return err
	}
	c.fd = int32(adopted) // the connection closes it
	return l.reach(c, &a)
}

// reach connects, or will try again. A Unix socket is connected at once: whatever its answer is, it needs no waiting.
func (l *Loop) reach(c *connection, a *attempt) (err error) {
	if a.unix {
		var fd int
		var done func()
		if fd, done, err = l.driver.Descriptor(int(c.fd)); err == nil {
			err = sys.Connect(fd, a.address)
			done()
		}
	} else {
		op := driver.Op{Code: driver.Connect, FD: int(c.fd), User: uint64(c.index), Addr: a.address}
		c.send, err = l.driver.Submit(op)
	}
	switch {
	case errors.Is(err, driver.ErrFull), a.unix && err == syscall.EAGAIN:
		if l.now >= a.until {
			return errBacklog
		}
		if len(l.attempts) == 0 {
			l.redials = l.dials.Every(attemptPause, l.redial)
		}
		l.attempts = append(l.attempts, *a)
		return nil
	case a.unix && err == nil:
		c.flags |= flagMade // pump opens it
		l.mark(c)
	}
	return err
}

// redial tries again what could not be begun.
func (l *Loop) redial() {
	attempts := l.attempts
	l.attempts = nil
	l.redials()
	for i := range attempts {
		if c := l.find(attempts[i].id); c != nil && c.state == conn.Opening {
			if err := l.reach(c, &attempts[i]); err != nil {
				l.end(c, err)
			}
		}
	}
}

// pressedDial makes room when there was no descriptor for a socket: the next one may have one.
func (l *Loop) pressedDial() {
	if l.shedding > 0 {
		return // room is being made
	}
	l.shed()
	if l.pressure != nil {
		l.pressure()
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// dress sets the options of a TCP socket before it connects.
func dress(fd int, t *conn.Target) error {
	options := []sys.Option{{Level: sys.LevelTCP, Name: sys.NoDelay, Value: 1}}
	if t.KeepAlive > 0 {
		idle := int(max(1, t.KeepAlive/time.Second))
		options = append(options, sys.Option{Level: sys.LevelSocket, Name: sys.KeepAlive, Value: 1},
			sys.Option{Level: sys.LevelTCP, Name: sys.KeepAliveIdle, Value: idle})
	}
	if t.UserTimeout > 0 {
		options = append(options, sys.Option{
			Level: sys.LevelTCP, Name: sys.UserTimeout, Value: int(max(1, t.UserTimeout/time.Millisecond)),
		})
	}
	if t.Source.IsValid() {
		options = append(options, sys.Option{Level: sys.LevelIP, Name: sys.BindAddressNoPort, Value: 1})
	}
	for _, o := range options {
		if err := sys.SetOption(fd, o); err != nil {
			return err
		}
	}
	congestion := t.Congestion
	if congestion == "" && t.Address.Addr().IsLoopback() {
		congestion = "reno" // nothing to pace on loopback
	}
	if congestion != "" && congestion != "system" {
		if err := sys.SetCongestion(fd, congestion); err != nil {
			return err
		}
	}
	if !t.Source.IsValid() {
		return nil
	}
	source, _ := sys.EncodeAddress(nil, netip.AddrPortFrom(t.Source.Unmap(), 0))
	return sys.Bind(fd, source)
}

// connected takes the completion of a Connect.
func (l *Loop) connected(c *connection, done *driver.Completion) {
	c.send = 0
	l.mark(c)
	if c.state != conn.Opening {
		return
	}
	if done.Err == nil {
		l.begin(c)
		return
	}
	if done.Err == syscall.EADDRNOTAVAIL {
		l.meter.Add(meter.PortsExhausted, 1)
	}
	l.end(c, done.Err)
}

// begin opens a connection that has been made.
func (l *Loop) begin(c *connection) {
	c.flags &^= flagMade
	c.state = conn.Open
	l.handlerOf(c).Opened(c)
	if l.overdue(c) {
		l.stop(c)
	}
}

// Traffic is what was received and sent.
func (c *connection) Traffic() (in, out uint64) { return c.bytesIn, c.bytesOut }

// Alive looks at the socket without taking anything from it.
func (c *connection) Alive() bool {
	if c.state != conn.Open || c.flags&flagEnded != 0 {
		return false
	}
	l := c.on()
	for i := l.done + 1; i < l.came; i++ { // what was heard in this turn, and not acted on yet
		if o := &l.completions[i]; o.Code == driver.Recv && o.User == uint64(c.index) {
			return false
		}
	}
	fd, done, err := l.driver.Descriptor(int(c.fd))
	if err != nil {
		return false
	}
	defer done()
	var look [1]byte
	_, err = sys.Recv(fd, look[:], sys.MsgPeek|sys.MsgDontWait)
	return err == syscall.EAGAIN
}
