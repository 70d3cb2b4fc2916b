package loop

import (
	"slices"
	"time"

	"github.com/myriad-server/myriad/conn"
)

const (
	tellPause = 10 * time.Millisecond // between two looks at connections that are to be told
	tellLeast = 64                    // slots that are looked at each time
)

// departure is a listener that the loop gives up, and how far its connections have been told.
type departure struct {
	from  []*listener // of one number: those that were succeeded as well
	next  uint32      // the next slot to be looked at
	step  uint32
	until int64 // when what is left is cut
	cut   bool
	gone  func()
	rest  func() // ends the looking
}

// Unlisten gives a listener up. What its backlog holds is taken, and its descriptor is closed. Its connections are told
// with Stopped, evenly over half of the drain, so that their clients do not all come back at once; what is still open
// when the drain is over is ended with [conn.ErrStopping]. gone is called when the last one is closed, on the loop's
// thread.
func (l *Loop) Unlisten(listener int, drain time.Duration, gone func()) {
	if l.listeners[listener].leaving {
		return
	}
	ticks := max(drain/2/tellPause, 1)
	d := &departure{gone: gone, until: l.now + int64(drain), step: max(l.made/uint32(ticks)+1, tellLeast)}
	for _, s := range l.listeners {
		if !s.dials && s.number == l.listeners[listener].number {
			s.leaving = true
			d.from = append(d.from, s)
		}
	}
	for _, s := range d.from {
		l.abandon(s)
	}
	d.rest = l.dials.Every(tellPause, func() { l.tell(d) })
	l.tell(d)
}

// Retire lets the number of a listener that is gone be given to another one: no other loop gives connections to it any
// more.
func (l *Loop) Retire(listener int) { l.listeners[listener].retired = true }

// Succeed has h serve what a listener accepts from now on; the connections that it has accepted stay with its handler.
// It returns the loop's number for the listener from now on. Retire gives the old one free.
func (l *Loop) Succeed(predecessor int, h conn.Handler) (successor int) {
	was := l.listeners[predecessor]
	s := &listener{handler: h, fd: was.fd, number: was.number, token: was.token, called: was.called, departs: was.departs}
	l.install(s)
	was.fd, was.called, was.successor = -1, true, s
	l.settleIn(h)
	return s.index
}

// used reports that there is still something of a listener.
func (s *listener) used() bool { return s.users > 0 || s.token != 0 }

// tell goes on with a departure.
func (l *Loop) tell(d *departure) {
	if !slices.ContainsFunc(d.from, (*listener).used) {
		if d.rest(); d.gone != nil {
			d.gone()
			d.gone = nil
		}
		return
	}
	if !d.cut && l.now >= d.until {
		d.cut, d.next, d.step = true, 0, stopsPerTurn
	}
	for last := min(d.next+d.step, l.made); d.next < last; d.next++ {
		c := l.at(d.next)
		if c.state >= conn.Closing || !slices.Contains(d.from, l.listeners[c.listener]) {
			continue
		}
		if d.cut {
			c.flags |= flagReset
			l.end(c, conn.ErrStopping)
		} else {
			l.stop(c)
		}
	}
}

// abandon takes what a listener's backlog holds, so that no client that was accepted by the kernel is lost, and closes
// its descriptor.
func (l *Loop) abandon(s *listener) {
	if s.fd < 0 {
		return
	}
	if s.token != 0 && !s.called {
		s.called = true
		_ = l.driver.Cancel(s.token)
	}
	l.emptyBacklog(s)
	l.discard(s.fd)
	s.fd = -1
}

// UnlistenDatagrams closes the datagram sockets that h serves.
func (l *Loop) UnlistenDatagrams(h conn.DatagramHandler) {
	for _, d := range l.sockets {
		if d != nil && !d.opened && d.handler == h {
			d.close()
		}
	}
}

// goes reports that a connection's listener is being given up.
func (l *Loop) goes(c *connection) bool { return l.listeners[c.listener].leaving }

// Dialer is the loop for those who connect on its thread.
func (l *Loop) Dialer() conn.Dialer { return l.dials }

// overdue reports that a connection which begins now would otherwise not be told that it has to end.
func (l *Loop) overdue(c *connection) bool {
	return l.stopping && c.index < l.stopNext || l.goes(c)
}
