package loop

import (
	"errors"
	"syscall"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
)

// evidence is what is remembered of a connection that is watched.
type evidence struct {
	acknowledged uint64 // by the peer, at Watch
	decided      bool   // the connection was reset or closed, and this is final:
	undelivered  bool
}

// Watch begins to gather evidence. It costs a system call; a byte that comes ends it.
func (c *connection) Watch() {
	l := c.on()
	c.flags &^= flagWatched
	if c.state != conn.Open {
		return
	}
	fd, done, err := l.driver.Descriptor(int(c.fd))
	if err != nil {
		return
	}
	defer done()
	ends, err := sys.EndsOf(fd)
	if err != nil {
		return // no TCP
	}
	c.flags |= flagWatched
	l.workOf(c).watched = evidence{acknowledged: ends.Acknowledged}
}

// Undelivered tells what the evidence says. It is gathered when the connection fails, so it can be asked for in Closed.
//
// The peer's end may be heard of before its reset, which takes another round trip: our bytes must get there first. A
// handler that is told Ended behind Watch, and has received nothing, therefore keeps the connection open, sets a timer
// of some round trips, and asks again when it expires. The loop does not hear of the reset in the meantime, because it
// receives no more.
func (c *connection) Undelivered() bool {
	if c.flags&flagWatched == 0 {
		return false
	}
	l := c.on()
	if e := &l.workOf(c).watched; e.decided || c.state >= conn.Closing {
		return e.undelivered
	}
	l.gather(c, nil)
	return l.workOf(c).watched.undelivered
}

// gather looks what came of the bytes behind Watch, if the connection is over. What the kernel had to say may have been
// said already: that is why.
//
// When a reset comes behind the peer's end, the kernel says EPIPE; without that end, ECONNRESET. But EPIPE is also what
// it says to whoever asks a second time, hence the count: the end, and nothing else, came behind what was received.
func (l *Loop) gather(c *connection, why error) {
	e := &l.workOf(c).watched
	if e.decided || c.fd < 0 {
		return
	}
	fd, done, err := l.driver.Descriptor(int(c.fd))
	if err != nil {
		return
	}
	defer done()
	ends, err := sys.EndsOf(fd)
	if err != nil || !ends.Over {
		return
	}
	if said := sys.TakeError(fd); said != nil {
		why = said
	}
	e.decided = true
	e.undelivered = errors.Is(why, syscall.EPIPE) && ends.Received == c.bytesIn+1 && ends.Acknowledged == e.acknowledged
}
