package loop

import (
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// move is a connection that is to go to another loop. There are few at a time: loops move what is idle, when another
// one has nothing of its own.
type move struct {
	id      uint64
	to      *Loop
	handler conn.Handler
	v       any
	taken   func(c conn.Conn)
	in, out uint64 // its traffic: what it has been when the move began
}

// unmovable are the flags of a connection that something is going on with.
const unmovable = flagWatched | flagEnded | flagFinal | flagLast | flagRefeed | flagHungry | flagMoving |
	flagPiped | flagFed

// Move hands the connection over to another loop, as soon as its receive is cancelled. Until then it may end, receive,
// or be given something to send; then it stays. Where to has ended, nobody is left to be told.
func (c *connection) Move(to conn.Dialer, h conn.Handler, v any, taken func(c conn.Conn)) {
	l := c.on()
	m := &move{id: c.ID(), handler: h, v: v, taken: taken, in: c.bytesIn, out: c.bytesOut}
	d, ok := to.(*dialer)
	if !ok || d.Loop == l || !l.movable(c) || c.flags&flagMoving != 0 {
		to.Do(func() { taken(nil) })
		return
	}
	m.to = d.Loop
	c.flags |= flagMoving
	l.moves = append(l.moves, m)
	l.mark(c)
}

// movable reports that nothing is going on with a connection but its receive.
func (l *Loop) movable(c *connection) bool {
	if c.state != conn.Open || c.flags&(unmovable&^flagMoving) != 0 || c.send != 0 {
		return false
	}
	w := l.has(c)
	return w == nil || len(w.queue) == 0 && len(w.rest) == 0 && len(w.waiting) == 0
}

// goOnMoving is called by pump: it cancels the receive, hands over what has none any more, or gives up.
func (l *Loop) goOnMoving(c *connection) {
	i := 0
	for l.moves[i].id != c.ID() {
		i++
	}
	m := l.moves[i]
	if !l.movable(c) || c.bytesIn != m.in {
		l.moves = append(l.moves[:i], l.moves[i+1:]...)
		c.flags &^= flagMoving
		m.refuse()
		return
	}
	if c.recv != 0 {
		if c.flags&flagCalled == 0 {
			l.call(c)
		}
		return
	}
	l.moves = append(l.moves[:i], l.moves[i+1:]...)
	c.flags &^= flagMoving
	fd, err := l.driver.Part(int(c.fd))
	if err != nil {
		m.refuse()
		return
	}
	l.letGo(c) // Closed has returned before anybody there can touch what both know
	if !m.to.Do(func() { m.to.receive(m, fd) }) {
		_ = sys.Close(fd)
	}
}

// letGo ends connections here whose descriptors are somebody else's.
func (l *Loop) letGo(all ...*connection) {
	for _, c := range all {
		c.fd = -1
		l.end(c, conn.ErrMoved)
	}
	for _, c := range all {
		l.close(c)
	}
}

func (m *move) refuse() { m.to.Do(func() { m.taken(nil) }) }

// receive takes in a connection of another loop.
func (l *Loop) receive(m *move, fd int) {
	if l.killed || !l.takesIn(1) {
		_ = sys.Close(fd)
		m.taken(nil)
		return
	}
	adopted, err := l.driver.Adopt(fd)
	if err != nil {
		_ = sys.Close(fd)
		m.taken(nil)
		return
	}
	c := l.admit(adopted, l.handlerNumber(m.handler))
	c.bytesIn, c.bytesOut = m.in, m.out
	l.meter.Add(meter.Open, 1)
	l.meter.Add(meter.Moved, 1)
	c.Attach(m.v)
	l.begin(c)
	l.mark(c)
	if c.state != conn.Open {
		m.taken(nil)
		return
	}
	m.taken(c)
}
