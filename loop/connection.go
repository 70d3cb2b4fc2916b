package loop

import (
	"net/netip"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	slotsPerChunk = 512
	slotBits      = 24
	maxSlots      = 1<<slotBits - 1
	noOwner       = ^uint64(0) // User of a Close that nobody waits for
	momentShift   = 26
	freshMoments  = 1e9 >> momentShift // a connection that was never served is not idle for this long
)

// connection is a slot: all that an idle connection costs, one cache line, no Go pointer. It is the conn.Conn that
// handlers see, and its address stays.
type connection struct {
	recv     driver.Token // in flight, or zero
	send     driver.Token // Send, SendFile or Shutdown in flight, or zero
	bytesIn  uint64
	bytesOut uint64
	requests uint32 // see CountRequest
	index    uint32
	fd       int32
	work     uint32 // index of its work plus one, or zero; in a free slot the next free one
	since    uint32 // moment of the last SetIdle(true) or Pause; of one that is neither, of its last turn
	listener uint16
	loop     uint8
	state    conn.State
	flags    flags
	attached uint32 // place of what is attached plus one, or zero
}

// flags are facts beside the state; each may hold in several states.
type flags uint32

const (
	flagMarked  flags = 1 << iota // in Loop.dirty
	flagIdle                      // SetIdle(true)
	flagPaused                    // Pause
	flagEnded                     // the peer has sent its last byte
	flagFinal                     // our FIN is on its way
	flagClosing                   // Close is in flight
	flagRefeed                    // Resume: the rest comes again
	flagHungry                    // in Loop.hungry
	flagCalled                    // the receive in flight has been cancelled
	flagReset                     // close with a reset
	flagTold                      // Ended was called
	flagLazy                      // the send in flight may be reported late
	flagAwaited                   // but is waited for: counted in Loop.awaited
	flagLast                      // CloseWrite: our FIN follows what is queued
	flagLingers                   // draining: the peer's FIN is waited for
	flagMoving                    // in Loop.moves
	flagWatched                   // evidence is gathered, in its work
	flagPiped                     // a route leads from it
	flagFed                       // a route leads to it
	flagSplices                   // the receive in flight is one of the route
	flagMade                      // opening: connected, and to be opened by pump
	flagBroken                    // what is queued cannot be sent; what has come is still read
	flagBulk                      // it was paused since it was idle: what it brings may have to wait
	flagBroad                     // in Loop.broad
	flagDenied                    // in Loop.denied or Loop.deaf
	flagNoted                     // it has a ring of its last events
	flagWarned                    // Stopped was called
	flagLeaves                    // in Loop.exodus
	flagStays                     // arrived where connections leave
)

// work is what a connection needs only while there is something to do. It comes from a free list and goes back as
// soon as there is no input left over and nothing queued. What is attached is kept elsewhere: a connection may hold it
// for as long as it lives.
type work struct {
	why     error
	waiting []arrival // input that came while the connection was paused, or that follows the rest
	rest    []byte    // input the handler has not used
	restIn  *buf.Block
	open    *buf.Block // the block that Reserve hands out, and how much of it is filled
	filled  int
	queue   []segment // output; queue[:flying] is in flight
	flying  int
	queued  int64
	memory  int64 // queued, without files
	still   standstill
	pieces  [driver.RestMax][]byte
	watched evidence
}

// arrival is a block of input and how much of it is input.
type arrival struct {
	block *buf.Block
	n     int
}

// segment is a piece of output: bytes of a block, or bytes of a file.
type segment struct {
	block    *buf.Block
	file     conn.File
	from, to int
	off, n   int64
}

func (l *Loop) at(index uint32) *connection {
	return &l.chunks[index/slotsPerChunk][index%slotsPerChunk]
}

func (l *Loop) handlerOf(c *connection) conn.Handler {
	if c.state >= conn.Closing {
		return &l.witness
	}
	return l.listeners[c.listener].handler
}

// moment is the time of the turn in steps of some 67 ms, which last for nine years.
func (l *Loop) moment() uint32 { return uint32(l.now >> momentShift) }

// admit gives a descriptor a slot. The caller has checked the limit.
func (l *Loop) admit(fd int, listener int) *connection {
	index := l.vacant
	if index == none {
		index = l.made
		if index%slotsPerChunk == 0 {
			l.chunks = append(l.chunks, new([slotsPerChunk]connection))
			l.asides = append(l.asides, new([slotsPerChunk]aside))
		}
		l.made++
	} else {
		l.vacant = l.at(index).work
	}
	c := l.at(index)
	*c = connection{
		index: index, fd: int32(fd), listener: uint16(listener), loop: l.number, since: l.moment(), state: conn.Open,
	}
	beside := l.aside(index)
	beside.gen, beside.opened = beside.gen+1, c.since
	if l.open++; l.limit-l.open == acceptMargin {
		l.cancelAccepts() // from here on one by one: a driver may bring any number of many
	}
	return c
}

// vacate takes the slot back.
func (l *Loop) vacate(c *connection) {
	c.state = conn.Closed
	if l.recorder != nil {
		l.recorder.drop(c)
	}
	c.work, l.vacant = l.vacant, c.index
	l.open--
}

// workOf is the connection's work, taken from the free list if it has none.
func (l *Loop) workOf(c *connection) *work {
	if c.work != 0 {
		return l.working[c.work-1]
	}
	if n := len(l.resting); n > 0 {
		c.work = l.resting[n-1] + 1
		l.resting = l.resting[:n-1]
	} else {
		l.working = append(l.working, new(work))
		c.work = uint32(len(l.working))
	}
	return l.working[c.work-1]
}

// has is the connection's work, or nil.
func (l *Loop) has(c *connection) *work {
	if c.work == 0 {
		return nil
	}
	return l.working[c.work-1]
}

// rest gives the work back if there is nothing in it, and before that the block of output that has left: what is
// received and cannot be passed on may stay for long.
func (l *Loop) rest(c *connection) {
	w := l.has(c)
	if w == nil || len(w.queue) > 0 {
		return
	}
	if w.open != nil {
		w.open.Release()
		w.open = nil
	}
	if len(w.rest) > 0 || len(w.waiting) > 0 || w.why != nil || c.flags&flagWatched != 0 {
		return
	}
	w.still = standstill{}
	l.resting = append(l.resting, c.work-1)
	c.work = 0
}

// mark has the connection looked at when the turn ends.
func (l *Loop) mark(c *connection) {
	if c.flags&flagMarked == 0 {
		c.flags |= flagMarked
		l.dirty = append(l.dirty, c.index)
	}
}

func (c *connection) on() *Loop { return running[c.loop] }

// ID holds loop, generation and slot, so that it is not used again for a long time.
func (c *connection) ID() uint64 {
	return uint64(c.loop)<<56 | uint64(c.on().aside(c.index).gen)<<slotBits | uint64(c.index)
}

// find is the connection of an ID, or nil if it is gone.
func (l *Loop) find(id uint64) *connection {
	index := uint32(id & maxSlots)
	if index >= l.made {
		return nil
	}
	c := l.at(index)
	if c.ID() != id || c.state > conn.Draining {
		return nil
	}
	return c
}

func (c *connection) State() conn.State      { return c.state }
func (c *connection) Local() netip.AddrPort  { return c.address(sys.LocalAddress) }
func (c *connection) Remote() netip.AddrPort { return c.address(sys.RemoteAddress) }

func (c *connection) address(of func(int) (netip.AddrPort, error)) netip.AddrPort {
	if c.flags&flagClosing != 0 {
		return netip.AddrPort{}
	}
	fd, done, err := c.on().driver.Descriptor(int(c.fd))
	if err != nil {
		return netip.AddrPort{}
	}
	defer done()
	a, _ := of(fd) // an address that is gone is the zero address
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (c *connection) Now() int64  { return c.on().now }
func (c *connection) Wall() int64 { return c.on().wall }

func (c *connection) SetTimer(ns int64) {
	l := c.on()
	if ns <= 0 {
		l.wheel.Clear(c.index)
		return
	}
	if c.state <= conn.Draining {
		l.wheel.Set(c.index, l.now+ns)
	}
}

func (c *connection) SetIdle(idle bool) {
	l := c.on()
	if was := c.flags&flagIdle != 0; was == idle || c.state != conn.Open {
		return
	}
	if !idle {
		c.flags &^= flagIdle
		l.idle--
		return
	}
	c.flags |= flagIdle
	c.flags &^= flagBulk
	c.since = l.moment()
	l.idle++
	if l.pressed && l.idle == 1 {
		l.resumeAt = l.now // it can make room
	}
}

func (c *connection) Stopping() bool { l := c.on(); return l.stopping || l.goes(c) }

func (c *connection) Ref() conn.Ref { return conn.Ref{Door: c.on(), ID: c.ID()} }
