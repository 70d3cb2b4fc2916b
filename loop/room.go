package loop

import (
	"syscall"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
)

// This file shares the blocks out when there are few. The fewer are left, the less is done that can wait: with half of
// them gone, relays get a fair share each, and unused input is moved out of the way; with a quarter left, relays get a
// block each, and nothing is received for those that have had to wait before; with an eighth left, relays get nothing,
// and nothing is received at all. The rest is for the answers to what was received.

// fairBlocks is how many blocks of output a connection may hold when blocks are scarce.
const fairBlocks = 4

// portionBlocks is the largest portion: what it costs to arm a receive does not show beside so many blocks.
const portionBlocks = 4

// tight reports that less than half of the blocks is left.
func (l *Loop) tight() bool { return l.blocks.Left() < l.blocks.Limit()/2 || l.blocks.Left() == 0 }

// scant reports that no more than a quarter of the blocks is left.
func (l *Loop) scant() bool { return l.blocks.Left() <= l.blocks.Limit()/4 }

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

// portion is how many bytes a receive may bring before it is armed again. A Pause stops a receive only after all that
// it has brought in the meantime: the portions of all connections, armed when there were fewer of them, are not to take
// the blocks that answers need.
func (l *Loop) portion() int {
	blocks := l.blocks.Limit() / 4 / max(l.open, 1)
	return min(max(blocks, 1), portionBlocks) * l.blocks.BlockSize()
}

// putOff reports that a connection which pushes is not to be received from yet, and remembers it.
func (l *Loop) putOff(c *connection) bool {
	if !l.scant() {
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
		if w := l.has(c); c.state == conn.Open && (w == nil || w.queued == 0) {
			l.handlerOf(c).Flushed(c)
			l.mark(c)
		}
	}
	l.denied = append(l.denied[:0], l.denied[n:]...)
	n = max(min(l.blocks.Left()-l.blocks.Limit()/4-n, len(l.broad)), 0)
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
