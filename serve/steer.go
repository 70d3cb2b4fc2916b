package serve

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
)

// tellPace is how far apart connections are told that their listener is left, on the average, if there is time.
const tellPace = 150 * time.Microsecond

// listening is one listener that is being served.
type listening struct {
	*Listener
	site     *Blocking
	index    int
	post     *post
	bell     int // an eventfd that stays readable once the listener is to be closed
	once     sync.Once
	closed   atomic.Bool
	released atomic.Bool   // and Listener.Closed was told
	free     []*connection // seats that are not used; under Blocking.mu, as is life
	life     int           // how often it was succeeded
	resumed  bool          // it was Paused; under Blocking.steers

	handler func() conn.Handler // under Blocking.making

	users    atomic.Int64
	deadline atomic.Int64 // when the drain of a listener that is left is over, by clock; zero before
	spread   atomic.Int64 // how long its connections are told
	gone     atomic.Pointer[func()]
}

// all is the listeners of now.
func (b *Blocking) all() []*listening {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listeners[:len(b.listeners):len(b.listeners)]
}

// openOne opens a listener. Nothing is accepted before launch.
func (b *Blocking) openOne(of *Listener) (*listening, error) {
	l := &listening{Listener: of, site: b, index: len(b.all()), handler: of.Handler}
	fd, err := l.Open(0)
	if err != nil {
		return nil, err
	}
	if l.bell, err = sys.Eventfd(); err == nil {
		if l.post, err = b.newPost(l, fd); err != nil {
			_ = sys.Close(l.bell)
		}
	} else {
		_ = sys.Close(fd)
	}
	if err != nil {
		if l.Closed != nil {
			l.Closed(0)
		}
		return nil, err
	}
	b.mu.Lock()
	b.listeners = append(b.listeners, l)
	b.mu.Unlock()
	return l, nil
}

// launch has a listener accepted or received from.
func (b *Blocking) launch(l *listening) {
	switch {
	case l.Datagram == nil:
		b.begin(l)
	case l.Paused && !l.resumed:
	default:
		b.running.Go(func() { b.receiveDatagrams(l) })
	}
}

// Resume is that of [Steering].
func (b *Blocking) Resume(number int) error {
	b.steers.Lock()
	defer b.steers.Unlock()
	l := b.all()[number]
	switch {
	case l.Datagram == nil || l.stopping():
		return fmt.Errorf("listener %s: it does not receive datagrams", l.Name)
	case l.Paused && !l.resumed:
		l.resumed = true
		b.launch(l)
	}
	return nil
}

// newDoorstep has the one thread look at the listeners of now.
func (b *Blocking) newDoorstep() {
	bell := (*b.doorstep.Load())[0]
	list := []sys.Await{bell}
	for _, l := range b.all() {
		if l.Handler != nil && !l.closed.Load() {
			list = append(list, sys.Await{FD: int32(l.post.fd), Want: sys.Readable})
		}
	}
	b.doorstep.Store(&list)
	_ = sys.Notify(int(bell.FD))
}

// stopping reports that the listener is left, or the whole site.
func (l *listening) stopping() bool { return l.deadline.Load() != 0 || l.site.stopping() }

// stopAt is when what is still open is aborted; zero before anything stops.
func (l *listening) stopAt() int64 {
	own, all := l.deadline.Load(), l.site.deadline.Load()
	if own == 0 || all != 0 && all < own {
		return all
	}
	return own
}

// ring has everybody who waits at the listener look up.
func (l *listening) ring() {
	_ = sys.Notify(l.bell)
	l.post.stop()
}

// close closes the listening descriptor, once, and says so.
func (l *listening) close() {
	l.once.Do(func() {
		l.closed.Store(true)
		if l.site.alone && l.Handler != nil {
			l.site.newDoorstep() // a descriptor of the same number may be opened next
		}
		l.post.close()
		if l.Closed != nil {
			l.Closed(0)
		}
		l.released.Store(true)
		l.settle()
	})
}

// depart is the end of a connection.
func (l *listening) depart() {
	if l.users.Add(-1) == 0 {
		l.settle()
	}
}

// settle tells, once, that a listener which is left has no connections any more.
func (l *listening) settle() {
	if !l.released.Load() || l.users.Load() > 0 {
		return
	}
	if f := l.gone.Swap(nil); f != nil {
		(*f)()
	}
}

// Listen is that of [Steering].
func (b *Blocking) Listen(of Listener) (int, error) {
	b.steers.Lock()
	defer b.steers.Unlock()
	if b.stopping() {
		return -1, errors.New("the site is stopping")
	}
	err := of.Validate()
	var l *listening
	if err == nil {
		l, err = b.openOne(&of)
	}
	if err != nil {
		return -1, fmt.Errorf("listener %s: %w", of.Name, err)
	}
	b.launch(l)
	return l.index, nil
}

// Leave is that of [Steering].
func (b *Blocking) Leave(number int, drain time.Duration, gone func()) {
	b.steers.Lock()
	defer b.steers.Unlock()
	l := b.all()[number]
	if l.deadline.Load() != 0 || b.stopping() {
		return
	}
	if gone != nil {
		l.gone.Store(&gone)
	}
	l.spread.Store(int64(min(drain/2, time.Duration(l.users.Load())*tellPace)))
	l.deadline.Store(b.clock() + int64(max(drain, 1)))
	l.ring()
	if l.Paused && !l.resumed { // nobody waits there
		l.close()
	}
	if b.alone && l.Handler != nil {
		b.newDoorstep()
	}
	b.wakeAll(l)
}

// Succeed is that of [Steering].
func (b *Blocking) Succeed(number int, h func() conn.Handler) error {
	b.steers.Lock()
	defer b.steers.Unlock()
	l := b.all()[number]
	if l.Handler == nil || l.stopping() {
		return fmt.Errorf("listener %s: nothing that is accepted there can be served anew", l.Name)
	}
	b.making.Lock()
	defer b.making.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	l.handler = h
	for _, c := range l.free {
		b.dismiss(c)
	}
	l.free, l.life = nil, l.life+1
	return nil
}

// dismiss takes a seat away whose handler is not wanted any more. Under mu.
func (b *Blocking) dismiss(c *connection) {
	b.seats = slices.DeleteFunc(slices.Clone(b.seats), func(other *connection) bool { return other == c })
	if g, ok := c.gate.(*threadGate); ok {
		g.discard()
	}
}

// Each is that of [Steering]: nobody dials here.
func (b *Blocking) Each(func(d conn.Dialer)) {}

// tellable reports whether the connection is to be told now that it should end: at once when the site stops, and at
// some time within the spread of a listener that is left.
func (c *connection) tellable() bool {
	if c.site.stopping() {
		return true
	}
	if c.tellAt == 0 {
		c.tellAt = c.now + rand.Int64N(c.at.spread.Load()+1)
	}
	return c.now >= c.tellAt
}
