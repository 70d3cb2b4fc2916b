package loop

import (
	"errors"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	shedAtOnce = 32
	// acceptMargin is how near to the limit connections are accepted one by one, so that a burst cannot pass it far.
	acceptMargin = 1024
	logPause     = 10 * time.Second // between two lines of a pressure that comes and goes
)

// listener is a listening socket, or only the handler of connections that are placed here.
type listener struct {
	handler conn.Handler
	token   driver.Token
	fd      int // -1: connections come through Give
	index   int
	number  int // what the site calls it

	successor *listener // has the descriptor, and what is accepted

	called  bool // the accept in flight has been cancelled
	dials   bool // the handler of connections that were dialled
	leaving bool // Unlisten was called
	departs bool // Depart was called
	retired bool // Retire was called
	users   int  // connections
}

// Listen makes the loop accept connections from an ordinary non-blocking descriptor, and serve them with h; fd -1
// means that they come through Give. It returns the listener's number. Listen comes before Run, or on the loop's
// thread.
func (l *Loop) Listen(fd int, h conn.Handler) (int, error) {
	if fd >= 0 {
		adopted, err := l.driver.Adopt(fd)
		if err != nil {
			return 0, err
		}
		fd = adopted
	}
	s := &listener{handler: h, fd: fd}
	l.install(s)
	s.number = s.index
	l.settleIn(h)
	return s.index, nil
}

// settleIn lets what began to be served while the loop runs catch up with what was served before.
func (l *Loop) settleIn(handler any) {
	if !l.runs || l.stopping {
		return
	}
	l.introduceTo(handler)
	l.listen()
}

// Rename has a listener be called number, in records of connections and where they are placed, instead of by what
// Listen has returned.
func (l *Loop) Rename(listener, number int) { l.listeners[listener].number = number }

// Give hands the loop an accepted ordinary non-blocking descriptor, from any goroutine. It reports false, and the
// descriptor stays the caller's, if the loop has ended.
func (l *Loop) Give(listener int, fd int) bool {
	return l.Do(func() {
		adopted, err := l.driver.Adopt(fd)
		if err != nil {
			_ = sys.Close(fd)
			l.meter.Add(meter.Refused, 1)
			return
		}
		l.enter(adopted, listener)
	})
}

// listen arms the accepts that should be armed, and the datagram sockets.
func (l *Loop) listen() {
	for _, d := range l.sockets {
		if d != nil {
			d.arm()
		}
	}
	for _, s := range l.listeners {
		if s.token != 0 || s.fd < 0 || s.departs || l.pressed || l.stopping {
			continue
		}
		op := driver.Op{Code: driver.Accept, FD: s.fd, User: uint64(s.index), Many: l.limit-l.open > acceptMargin}
		token, err := l.driver.Submit(op)
		if errors.Is(err, driver.ErrFull) { // nobody has to go for it
			l.pressed, l.resumeAt = true, l.now+int64(fullPatience)
			return
		}
		if err != nil {
			l.press(err)
			return
		}
		s.token, s.called = token, false
	}
}

// accepted takes a completion of an accept.
func (l *Loop) accepted(s *listener, done *driver.Completion) {
	for last := done.Flags&driver.More == 0; ; s = s.successor {
		if last {
			s.token = 0
		}
		if s.successor == nil {
			break
		}
	}
	switch {
	case done.Err == nil:
	case l.stopping:
		return
	case errors.Is(done.Err, driver.ErrCanceled), errors.Is(done.Err, syscall.ECONNABORTED):
		// Either the pause was over before the cancelled accept was, or a client has left the queue again.
		if !l.pressed {
			l.listen()
		}
		return
	default:
		l.press(done.Err)
		return
	}
	l.meter.Add(meter.Accepted, 1)
	if l.place == nil {
		l.enter(done.Result, s.index)
	} else if !l.place(s.number, done.Result) {
		l.meter.Add(meter.Refused, 1)
		l.discard(done.Result)
	}
	if s.token == 0 && !l.pressed {
		l.listen()
	}
}

// discard closes a descriptor that became no connection, now or as soon as the driver takes the operation.
func (l *Loop) discard(fd int) {
	l.orphans = append(l.orphans, fd)
	l.closeOrphans()
}

func (l *Loop) closeOrphans() {
	closed := 0
	for _, fd := range l.orphans {
		op := driver.Op{Code: driver.Close, FD: fd, User: noOwner, Lazy: true}
		_, err := l.driver.Submit(op)
		if errors.Is(err, driver.ErrFull) {
			break
		}
		if err != nil {
			l.log.Warn("a refused connection could not be closed", "error", err)
		}
		closed++
	}
	l.orphans = l.orphans[:copy(l.orphans, l.orphans[closed:])]
}

// enter makes a connection of a descriptor. At the limit, connections that are idle make room. If there are none,
// accepting stops, but what was accepted already is served: the limit may be passed by what one turn brought.
func (l *Loop) enter(fd int, listener int) {
	if l.open >= maxSlots {
		l.meter.Add(meter.Refused, 1)
		l.discard(fd)
		return
	}
	c := l.admit(fd, listener)
	l.listeners[listener].users++
	l.meter.Add(meter.Open, 1)
	if l.recorder != nil {
		l.recorder.admitted(c)
	}
	l.handlerOf(c).Opened(c)
	if l.overdue(c) {
		l.stop(c)
	}
	l.mark(c)
	if l.open-l.shedding > l.limit && l.shed() == 0 || l.full() {
		l.press(listen.ErrLimit)
	}
}

// full reports that there is no room for one more connection, nor an idle one that could make it.
func (l *Loop) full() bool { return l.open-l.shedding >= l.limit && l.idle == 0 }

// press pauses accepting, and closes the connections that have been idle for longest. It resumes when one is gone, or
// else after a moment: an error of the kernel that nothing here can mend must not make the loop spin.
func (l *Loop) press(why error) {
	l.resumeAt = l.now + int64(acceptPause)
	if l.pressed {
		return
	}
	l.pressed = true
	l.cancelAccepts()
	shed := l.shed()
	if l.pressure != nil && !errors.Is(why, listen.ErrLimit) {
		l.pressure()
	}
	l.meter.Add(meter.AcceptPauses, 1)
	if l.logged == 0 || l.now-l.logged > int64(logPause) {
		l.logged = max(l.now, 1)
		l.log.Warn("accepting is paused", "cause", why, "open", l.open, "idle_closed", shed, "mend", listen.AcceptMend(why))
	}
}

func (l *Loop) cancelAccepts() {
	for _, s := range l.listeners {
		if s.token != 0 && !s.called {
			s.called = true
			_ = l.driver.Cancel(s.token)
		}
	}
}

// relieve accepts again.
func (l *Loop) relieve() {
	if l.stopping {
		l.pressed = false
		return
	}
	if l.full() || l.open-l.shedding >= l.limit && l.shed() == 0 {
		l.resumeAt = l.now + int64(acceptPause)
		return
	}
	l.pressed = false
	l.listen()
}

// Shed closes the connections that have been idle for longest, from any goroutine: another loop needs descriptors.
func (l *Loop) Shed() { l.Do(func() { l.shed() }) }

// shed closes connections, those that have been idle for longest, and returns how many: an eighth of all, within
// bounds. It looks at every slot: the price is paid under pressure, so that keeping an order costs no request anything.
func (l *Loop) shed() int {
	l.pipes.Shed()
	n := max(1, min(shedAtOnce, l.open/8))
	if l.idle == 0 {
		return 0
	}
	oldest := make([]uint32, 0, n)
	for index := range l.made {
		c := l.at(index)
		if c.state != conn.Open || c.flags&flagIdle == 0 || c.send != 0 || l.busy(c) {
			continue
		}
		if c.bytesIn == 0 && l.moment()-c.since < freshMoments {
			continue // its request is on the way
		}
		if len(oldest) == n {
			if c.since >= l.at(oldest[n-1]).since {
				continue
			}
			oldest = oldest[:n-1]
		}
		i := len(oldest)
		oldest = append(oldest, index)
		for ; i > 0 && l.at(oldest[i-1]).since > c.since; i-- {
			oldest[i] = oldest[i-1]
		}
		oldest[i] = index
	}
	for _, index := range oldest {
		l.end(l.at(index), conn.ErrPressure)
	}
	l.shedding += len(oldest)
	l.meter.Add(meter.Shed, int64(len(oldest)))
	return len(oldest)
}
