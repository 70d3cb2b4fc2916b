package loop

import (
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
		if h, ok := s.handler.(conn.Starter); ok {
			h.Started(l.dials)
		}
	}
	for _, d := range l.sockets {
		if h, ok := d.handler.(conn.Starter); ok {
			h.Started(l.dials)
		}
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
	l.workOf(c).attached = v
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

// handlerNumber finds the handler's place among the listeners, or makes one. There are few: one for each kind of use.
func (l *Loop) handlerNumber(h conn.Handler) int {
	for i := len(l.listeners) - 1; i >= 0; i-- {
		if s := l.listeners[i]; s.dials && s.handler == h {
			return i
		}
	}
	l.listeners = append(l.listeners, &listener{handler: h, fd: -1, index: len(l.listeners), dials: true})
	return len(l.listeners) - 1
}

// connect makes the socket of a connection, and begins to connect it.
func (l *Loop) connect(c *connection, t *conn.Target) error {
	var address []byte
	var family int
	var err error
	if t.Path == "" {
		address, family = sys.EncodeAddress(nil, unmapped(t.Address))
	} else if address, err = sys.EncodeUnix(t.Path); err != nil {
		return err
	} else {
		family = sys.Unix
	}
	fd, err := sys.Socket(family, sys.Stream, true)
	if err != nil {
		return l.pressedDial(err)
	}
	if family != sys.Unix {
		err = dress(fd, t)
	}
	if err == nil {
		var adopted int
		if adopted, err = l.driver.Adopt(fd); err == nil {
			c.fd = int32(adopted)
			c.send, err = l.driver.Submit(driver.Op{Code: driver.Connect, FD: adopted, User: uint64(c.index), Addr: address})
			return err // the connection closes its descriptor
		}
	}
	_ = sys.Close(fd)
	return err
}

// pressedDial makes room when there was no descriptor for a socket: the next one may have one.
func (l *Loop) pressedDial(err error) error {
	l.shed()
	if l.pressure != nil {
		l.pressure()
	}
	return err
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
	if done.Err != nil {
		err := done.Err
		if err == syscall.EADDRNOTAVAIL {
			l.meter.Add(meter.PortsExhausted, 1)
		}
		l.end(c, err)
		return
	}
	c.state = conn.Open
	l.handlerOf(c).Opened(c)
}

// ticker is a function that is called again and again.
type ticker struct {
	do    func()
	every int64
	next  int64
	over  bool
}

// Every calls f again and again.
func (d *dialer) Every(every time.Duration, f func()) (stop func()) {
	t := &ticker{do: f, every: max(int64(every), int64(wheelTick)), next: d.now + int64(every)}
	d.tickers = append(d.tickers, t)
	return func() { t.over = true }
}

// tick calls what is due. What a call falls behind is not made up for.
func (l *Loop) tick() {
	over := 0
	for i := 0; i < len(l.tickers); i++ { // a call may add one
		t := l.tickers[i]
		if !t.over && l.now >= t.next {
			t.next = l.now + t.every
			t.do()
		}
		if t.over {
			over++
		}
	}
	if over == 0 {
		return
	}
	kept := l.tickers[:0]
	for _, t := range l.tickers {
		if !t.over {
			kept = append(kept, t)
		}
	}
	clear(l.tickers[len(kept):])
	l.tickers = kept
}

// nextTick is how long it is until a call is due; negative if none is.
func (l *Loop) nextTick() time.Duration {
	next := int64(-1)
	for _, t := range l.tickers {
		if left := max(0, t.next-l.now); !t.over && (next < 0 || left < next) {
			next = left
		}
	}
	return time.Duration(next)
}

// Traffic is what was received and sent.
func (c *connection) Traffic() (in, out uint64) { return c.bytesIn, c.bytesOut }

// Alive looks at the socket without taking anything from it.
func (c *connection) Alive() bool {
	if c.state != conn.Open || c.flags&flagEnded != 0 {
		return false
	}
	fd, done, err := c.on().driver.Descriptor(int(c.fd))
	if err != nil {
		return false
	}
	defer done()
	var look [1]byte
	_, err = sys.Recv(fd, look[:], sys.MsgPeek|sys.MsgDontWait)
	return err == syscall.EAGAIN
}
