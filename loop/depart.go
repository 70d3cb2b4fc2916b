package loop

import (
	"errors"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	offersPerTurn = 256                    // slots that are looked at in a turn for who may leave
	offerTime     = time.Microsecond       // for each slot: how long a look at all of them is followed by none
	frozenTime    = 250 * time.Millisecond // how long a connection waits for what is under way on it, unread from
	restTime      = time.Second            // how long one is not asked again that could not leave in that time
)

// errDeparting refuses a second departure.
var errDeparting = errors.New("loop: connections are leaving already")

// Departure says which connections are to leave the loop, and where to. Room is how many more Take has room for, and
// Only which listeners are meant, by their numbers; nil: all. All are called on the loop's thread.
type Departure struct {
	Room func() int
	Take func(p *conn.Parcel)
	Only func(listener int) bool
}

// exodus is a departure that is under way.
//
// All slots are looked at again and again, a few in each turn, and connections that become idle when their turn ends.
// Whose handler says that it may leave is frozen: its receive is cancelled, and what still comes is kept. When nothing
// is in flight and all that was queued has left, with what its routes hold, it is packed.
type exodus struct {
	Departure
	closed func() // told once that no listening socket is open any more
	next   uint32 // the slot to be looked at
	walks  bool   // step is among the posts
	step   func()
	passAt int64 // when the next look at all begins
	going  []*leave
	of     map[uint32]*leave // by slot
	rests  map[uint32]int64  // until when those are left alone that could not leave
	memory []byte            // for states
	rest   func()            // ends the ticks
}

// leave is a connection that is frozen, with its mate.
type leave struct {
	pair  [2]*connection
	n     int // of them: 1 if there is no mate
	place int // in exodus.going
	until int64
	piped [2]bool // it to its mate, and the mate to it
}

// both is the connection and its mate, if it has one.
func (v *leave) both() []*connection { return v.pair[:v.n] }

// Depart has connections leave for another process. The listening sockets are closed as soon as nothing is in flight on
// them, because another process accepts from the same ones; then closed is called.
func (l *Loop) Depart(d Departure, closed func()) error {
	if l.exodus != nil {
		return errDeparting
	}
	x := &exodus{Departure: d, closed: closed, of: make(map[uint32]*leave), rests: make(map[uint32]int64)}
	x.step = func() { l.offerNext(x) }
	l.exodus = x
	for _, s := range l.listeners {
		if s.dials || d.Only != nil && !d.Only(s.number) {
			continue
		}
		if s.departs = true; s.token != 0 && !s.called {
			s.called = true
			_ = l.driver.Cancel(s.token)
		}
	}
	l.withdraw()
	x.rest = l.dials.Every(tellPause, func() { l.pursue(x) })
	l.pursue(x)
	return nil
}

// EndDeparture ends what Depart has begun. Who has not left goes on here.
func (l *Loop) EndDeparture() {
	x := l.exodus
	if x == nil {
		return
	}
	l.endPartings()
	x.rest()
	for len(x.going) > 0 {
		l.thaw(x, x.going[0])
	}
	l.exodus = nil
	for _, s := range l.listeners {
		s.departs = false
	}
	for index := range l.made {
		l.at(index).flags &^= flagStays
	}
}

// withdraw closes the listening sockets that are given up and on which nothing is in flight any more. The driver parts
// with them first: they stay open elsewhere, and the kernel would go on telling it of them.
//
// What waits there is taken: of several who wait at one socket the kernel may have woken this one alone, whose wait was
// being cancelled, and nobody else before the next client comes.
func (l *Loop) withdraw() {
	left := false
	for _, s := range l.listeners {
		if !s.departs || s.fd < 0 {
			continue
		}
		if s.token != 0 {
			left = true
			continue
		}
		l.emptyBacklog(s)
		if fd, err := l.driver.Part(s.fd); err == nil {
			_ = sys.Close(fd)
		} else {
			l.discard(s.fd)
		}
		s.fd = -1
	}
	if x := l.exodus; !left && x.closed != nil {
		x.closed()
		x.closed = nil
	}
}

// pursue is called every few milliseconds.
func (l *Loop) pursue(x *exodus) {
	for i := 0; i < len(x.going); {
		if v := x.going[i]; l.now >= v.until {
			l.thaw(x, v) // the last one takes its place
			x.rests[v.pair[0].index] = l.now + int64(restTime)
		} else {
			i++
		}
	}
	if !x.walks && (x.next > 0 || l.now >= x.passAt) {
		l.offerNext(x)
	}
}

// offerNext looks at the next few slots, and comes back in the next turn if there are more, and there is room.
func (l *Loop) offerNext(x *exodus) {
	x.walks = false
	if l.exodus != x {
		return
	}
	room := x.room()
	for range offersPerTurn {
		if x.next >= l.made || room <= 0 {
			break
		}
		c := l.at(x.next)
		if x.next++; l.offer(x, c) {
			room--
		}
	}
	switch {
	case x.next >= l.made:
		x.next, x.passAt = 0, l.now+int64(offerTime)*int64(l.made)
		for index, until := range x.rests {
			if l.now >= until {
				delete(x.rests, index)
			}
		}
	case room > 0:
		x.walks = true
		l.again(x.step)
	}
}

// room is how many more connections may begin to leave.
func (x *exodus) room() int { return x.Room() - len(x.going) }

// leaves reports that a connection may leave as far as the loop is concerned: nothing prevents it but what is under
// way.
func (l *Loop) leaves(c *connection) bool {
	return c.state == conn.Open && c.flags&(flagStays|flagMoving|flagBroken) == 0 &&
		c.flags&(flagEnded|flagTold) != flagEnded
}

// offer asks the handler of a connection whether it may leave, and freezes it then.
func (l *Loop) offer(x *exodus, c *connection) bool {
	s := l.listeners[c.listener]
	if !s.departs || c.flags&flagLeaves != 0 || !l.leaves(c) {
		return false
	}
	if len(x.rests) > 0 {
		if until, rests := x.rests[c.index]; rests && l.now < until {
			return false
		}
	}
	mate, ok := l.askToLeave(c)
	if !ok || mate != nil && (mate.flags&flagLeaves != 0 || !l.leaves(mate)) {
		return false
	}
	if mate == nil && c.flags&(flagPiped|flagFed) != 0 {
		return false // its route leads to one that stays
	}
	v := &leave{pair: [2]*connection{c, mate}, n: 1, place: len(x.going), until: l.now + int64(frozenTime)}
	if mate != nil {
		v.n, v.piped = 2, [2]bool{l.unroute(c, mate), l.unroute(mate, c)}
	}
	x.going = append(x.going, v)
	for _, c := range v.both() {
		c.flags |= flagLeaves
		x.of[c.index] = v
		l.await(c)
		l.mark(c)
	}
	return true
}

// askToLeave asks the handler of a connection.
func (l *Loop) askToLeave(c *connection) (mate *connection, ok bool) {
	portable, ok := l.handlerOf(c).(conn.Portable)
	if !ok {
		return nil, false
	}
	m, ok := portable.Leaves(c)
	if !ok || m == nil {
		return nil, ok
	}
	mate, ok = m.(*connection)
	return mate, ok && mate.loop == c.loop && mate != c
}

// unroute ends the route from one connection to another, as Pipe(nil) would, and reports whether there was one.
func (l *Loop) unroute(from, to *connection) bool {
	if from.flags&flagPiped == 0 {
		return false
	}
	rt := l.linkOf(from).to
	if rt == nil || !rt.active || rt.dst != to.index {
		return false
	}
	rt.active = false
	return true
}

// goOnLeaving is called by pump for a connection that is frozen. It packs it when nothing is under way any more.
func (l *Loop) goOnLeaving(c *connection) {
	x := l.exodus
	v := x.of[c.index]
	stays, quiet := false, true
	for _, c := range v.both() {
		stays = stays || !l.leaves(c)
		quiet = quiet && l.quiet(c)
	}
	switch {
	case stays:
		l.thaw(x, v)
	case quiet && !l.depart(x, v):
		l.thaw(x, v)
		x.rests[v.pair[0].index] = l.now + int64(restTime)
	}
}

// quiet reports that nothing is in flight on a connection, and nothing queued.
func (l *Loop) quiet(c *connection) bool {
	w := l.has(c)
	return c.recv == 0 && c.send == 0 && c.flags&(flagPiped|flagFed) == 0 && c.flags&(flagLast|flagFinal) != flagLast &&
		(w == nil || len(w.queue) == 0)
}

// depart packs a connection, and lets go of it. It reports false if it stays.
func (l *Loop) depart(x *exodus, v *leave) bool {
	c := v.pair[0]
	mate, ok := l.askToLeave(c)
	if !ok || mate != v.pair[1] {
		return false
	}
	p, ok := l.parcel(c)
	if ok && mate != nil {
		p.Mate, ok = l.parcel(mate)
	}
	if ok {
		p.State, ok = l.handlerOf(c).(conn.Portable).Pack(c, x.memory)
	}
	for _, c := range v.both() {
		ok = ok && l.leaves(c) && l.quiet(c)
	}
	if !ok || !l.partWith(v, p) {
		return false
	}
	x.keep(p)
	x.forget(v)
	l.meter.Add(meter.Moved, int64(v.n))
	l.letGo(v.both()...)
	x.Take(p)
	return true
}

// parcel tells a connection. It reports false if more was received than a parcel carries, which is a block.
func (l *Loop) parcel(c *connection) (*conn.Parcel, bool) {
	s := l.listeners[c.listener]
	p := &conn.Parcel{
		Listener: s.number, FD: -1, In: c.bytesIn, Out: c.bytesOut, Requests: c.requests,
		Idle: c.flags&flagIdle != 0, Ended: c.flags&flagEnded != 0, Final: c.flags&flagFinal != 0,
	}
	if s.dials {
		p.Listener = -1
	}
	w := l.has(c)
	if w == nil {
		return p, true
	}
	n := len(w.rest)
	for _, a := range w.waiting {
		n += a.n
	}
	if n == 0 {
		return p, true
	}
	if n > l.blocks.BlockSize() {
		return nil, false
	}
	p.Unread = append(make([]byte, 0, n), w.rest...)
	for _, a := range w.waiting {
		p.Unread = append(p.Unread, a.block.Bytes()[:a.n]...)
	}
	return p, true
}

// partWith takes the descriptors out of the driver, both or none.
func (l *Loop) partWith(v *leave, p *conn.Parcel) bool {
	c, mate := v.pair[0], v.pair[1]
	fd, err := l.driver.Part(int(c.fd))
	if err != nil {
		return false
	}
	p.FD = fd
	if mate == nil {
		return true
	}
	if p.Mate.FD, err = l.driver.Part(int(mate.fd)); err == nil {
		return true
	}
	if fd, err = l.driver.Adopt(fd); err == nil {
		c.fd = int32(fd)
	} else {
		c.fd = -1
		_ = sys.Close(p.FD)
		l.end(c, err)
	}
	return false
}

// stateMemory is what is allocated for states at a time.
const stateMemory = 16 << 10

// keep gives a parcel what its state lies in.
func (x *exodus) keep(p *conn.Parcel) {
	n := len(p.State)
	p.State = p.State[:n:n]
	if left := cap(x.memory) - n; left >= stateMemory/16 {
		x.memory = x.memory[n:n:cap(x.memory)]
	} else {
		x.memory = make([]byte, 0, stateMemory)
	}
}

// forget takes a connection from among those that leave.
func (x *exodus) forget(v *leave) {
	last := len(x.going) - 1
	x.going[v.place] = x.going[last]
	x.going[v.place].place = v.place
	x.going[last] = nil
	x.going = x.going[:last]
	for _, c := range v.both() {
		c.flags &^= flagLeaves
		delete(x.of, c.index)
	}
}

// thaw has a connection go on here: what has come meanwhile is delivered, and its routes are taken up again.
func (l *Loop) thaw(x *exodus, v *leave) {
	x.forget(v)
	for _, c := range v.both() {
		w := l.has(c)
		if c.flags&(flagEnded|flagTold) == flagEnded || w != nil && len(w.rest)+len(w.waiting) > 0 {
			c.flags |= flagRefeed
		}
		l.mark(c)
	}
	if v.piped[0] {
		v.pair[0].Pipe(v.pair[1])
	}
	if v.piped[1] {
		v.pair[1].Pipe(v.pair[0])
	}
}
