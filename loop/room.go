package loop

import (
	"math"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
)

// This file shares the blocks out when there are few. The fewer are left, the less is done that can wait: with half of
// them gone, relays get a fair share each, and unused input is moved out of the way; with a quarter left, relays get a
// block each, and only those to whom it can leave at once; with five in thirty-two left, nothing is received for those
// that have had to wait before; with an eighth left, relays get nothing, and nothing is received at all. The rest is
// for the answers to what was received.
//
// A peer that does not read thus holds what it got while there was plenty, and of the last quarter nothing: that goes
// round among those that read. Who reads slowly waits for a part of its kernel buffer to be free, with nothing in hand.
// Those that take nothing at all are ended after a while, see stall.go, so that there is plenty again.

// fairBlocks is how many blocks of output a connection may hold when blocks are scarce.
const fairBlocks = 4

// portionBlocks is the largest portion: what it costs to arm a receive does not show beside so many blocks.
const portionBlocks = 4

// tight reports that less than half of the blocks is left.
func (l *Loop) tight() bool { return l.blocks.Left() < l.blocks.Limit()/2 || l.blocks.Left() == 0 }

// scant reports that no more than a quarter of the blocks is left.
func (l *Loop) scant() bool { return l.blocks.Left() <= l.blocks.Limit()/4 }

// bulkLeft is how many blocks are left for input that may wait. It is less than what a driver may have on offer, a
// sixteenth, leaves of the last quarter.
func (l *Loop) bulkLeft() int { return l.blocks.Left() - l.blocks.Limit()*5/32 }

// relayable is how many blocks relays may have, all together.
func (l *Loop) relayable() int { return l.blocks.Left() - l.blocks.Limit()/8 }

// outputBlock takes a block for output. When blocks are scarce, who holds many gets no more: a few hundred clients that
// do not read must not take the answers of all others.
func (l *Loop) outputBlock(w *work) *buf.Block {
	if l.blocks.Left() < l.blocks.Limit()/4 && w.memory > int64(fairBlocks*l.blocks.BlockSize()) {
		return nil
	}
	return l.blocks.Take()
}

// Room is what may be queued without harm to others.
func (c *connection) Room() int64 {
	l := c.on()
	if !c.writable() {
		return 0
	}
	var held, queued int64
	if w := l.has(c); w != nil {
		held, queued = w.memory, w.queued
	}
	room := l.maxQueue - held
	size := int64(l.blocks.BlockSize())
	switch {
	case l.scant():
		room = min(room, size-held)
		if queued > 0 {
			room = 0
		} else if space := l.takes(c); space > 0 {
			room = min(room, space)
		} else {
			l.deafen(c)
			return 0
		}
	case l.tight():
		room = min(room, fairBlocks*size-held)
	}
	// What is queued piece by piece does not fill its last blocks.
	if room = min(room, int64(l.relayable())*max(size*3/4, 1)); room > 0 {
		return room
	}
	if queued == 0 && c.flags&flagDenied == 0 && c.state == conn.Open {
		c.flags |= flagDenied
		l.denied = append(l.denied, c.index)
	}
	return 0
}

// takes asks the kernel how many bytes it would take for the peer now. What cannot be asked takes any number.
func (l *Loop) takes(c *connection) int64 {
	if c.state != conn.Open {
		return math.MaxInt64
	}
	fd, done, err := l.driver.Descriptor(int(c.fd))
	if err != nil {
		return math.MaxInt64
	}
	defer done()
	if space, known := sys.SendSpace(fd); known {
		return space
	}
	return math.MaxInt64
}

const (
	deafPause  = 20 * time.Millisecond // until the kernel is asked again about those for whom it takes nothing
	deafAtOnce = 256                   // about how many of them it is asked at a time
)

// deafen remembers a connection that has room as soon as the kernel takes something for it.
func (l *Loop) deafen(c *connection) {
	if c.flags&flagDenied != 0 {
		return
	}
	c.flags |= flagDenied
	if l.deaf = append(l.deaf, c.index); l.asks == nil {
		l.asks = l.dials.Every(deafPause, l.listenAgain)
	}
}

// listenAgain has those wait for nothing but a block for whom the kernel takes bytes again. The others go to the end.
func (l *Loop) listenAgain() {
	n := len(l.deaf)
	if l.scant() {
		n = min(n, deafAtOnce)
	}
	for _, index := range l.deaf[:n] {
		switch c := l.at(index); {
		case c.flags&flagDenied == 0: // another connection by now
		case l.scant() && l.takes(c) == 0:
			l.deaf = append(l.deaf, index)
		default:
			l.denied = append(l.denied, index)
		}
	}
	if l.deaf = l.deaf[:copy(l.deaf, l.deaf[n:])]; len(l.deaf) == 0 {
		l.asks()
		l.asks = nil
	}
}

// portion is how many bytes a receive may bring before it is armed again. A Pause stops a receive only after all that
// it has brought in the meantime: the portions of all connections, armed when there were fewer of them, are not to take
// the blocks that answers need.
func (l *Loop) portion() int {
	blocks := l.blocks.Limit() / 4 / max(l.open, 1)
	return min(max(blocks, 1), portionBlocks) * l.blocks.BlockSize()
}

// putOff reports that a connection which pushes is not to be received from yet, and remembers it.
func (l *Loop) putOff(c *connection) bool {
	if l.bulkLeft() > 0 {
		return false
	}
	if c.flags&flagBroad == 0 {
		c.flags |= flagBroad
		l.broad = append(l.broad, c.index)
	}
	return true
}

// starves reports that somebody waits for blocks.
func (l *Loop) starves() bool { return len(l.hungry)+len(l.denied)+len(l.broad) > 0 }

// share goes on with what waited for blocks, as far as there are some now.
func (l *Loop) share() {
	if len(l.hungry) > 0 && l.blocks.TakesInput() {
		for _, index := range l.hungry {
			c := l.at(index)
			c.flags &^= flagHungry
			l.mark(c)
		}
		l.hungry = l.hungry[:0]
	}
	// Who was denied room goes first: it holds input. No more go on than there are blocks for.
	n := max(min(l.relayable(), len(l.denied)), 0)
	for _, index := range l.denied[:n] {
		c := l.at(index)
		if c.flags&flagDenied == 0 {
			continue // another connection by now
		}
		c.flags &^= flagDenied
		if c.state == conn.Open && c.Queued() == 0 {
			l.handlerOf(c).Flushed(c)
			l.mark(c)
		}
	}
	l.denied = append(l.denied[:0], l.denied[n:]...)
	n = max(min(l.bulkLeft()-n, len(l.broad)), 0)
	for _, index := range l.broad[:n] {
		c := l.at(index)
		c.flags &^= flagBroad
		l.mark(c)
	}
	l.broad = append(l.broad[:0], l.broad[n:]...)
}

// scarce ends a connection for want of a block. With a reset: the peer must not take what it has for all.
func (l *Loop) scarce(c *connection) {
	c.flags |= flagReset
	l.end(c, syscall.ENOBUFS)
	if l.starved == 0 || l.now-l.starved > int64(logPause) {
		l.starved = max(l.now, 1)
		l.log.Warn("a connection is closed for want of memory", "cause", "no block is left", "blocks", l.blocks.Limit(),
			"mend", "raise engine.blocks, or lower limits.output_per_connection")
	}
}
