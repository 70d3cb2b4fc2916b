package loop

import (
	"errors"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
)

// errStuck ends a connection whose handler uses nothing of a full block.
var errStuck = errors.New("the handler used nothing of a full block")

// received takes a completion of the connection's receive.
func (l *Loop) received(c *connection, done *driver.Completion) {
	if done.Flags&driver.More == 0 {
		c.recv = 0
	}
	if c.flags&flagPiped != 0 && l.pulled(c, done) {
		return
	}
	switch {
	case done.Err == nil && done.Result > 0:
		c.flags &^= flagWatched
		c.bytesIn += uint64(done.Result)
		l.meter.Add(meter.BytesIn, int64(done.Result))
		l.deliver(c, arrival{done.Block, done.Result})
	case done.Block != nil:
		done.Block.Release()
		fallthrough
	default:
		l.receiveEnded(c, done.Err)
	}
	l.mark(c)
}

// receiveEnded acts on a receive that brought no bytes: the peer's end, an error, a lack of blocks, a cancellation.
func (l *Loop) receiveEnded(c *connection, err error) {
	switch {
	case err == nil:
		if c.flags |= flagEnded; c.send != 0 {
			c.flags |= flagRefeed // told when the turn has seen whether the send in flight met a reset
			return
		}
		l.tellEnd(c)
	case errors.Is(err, driver.ErrNoBlock):
		if c.flags&flagHungry == 0 {
			c.flags |= flagHungry
			l.hungry = append(l.hungry, c.index)
		}
	case errors.Is(err, driver.ErrCanceled):
		// Pause and the end of the connection cancel; pump arms again when it is wanted.
	default:
		l.end(c, err)
	}
}

// deliver brings a block to the handler, behind whatever it has not used yet.
func (l *Loop) deliver(c *connection, a arrival) {
	if c.state != conn.Open {
		a.block.Release() // draining: what still comes is thrown away
		return
	}
	w := l.has(c)
	if c.flags&(flagPaused|flagRefeed|flagLeaves) != 0 || w != nil && (len(w.rest) > 0 || len(w.waiting) > 0) {
		w = l.workOf(c)
		if !l.stow(c, w, a) {
			w.waiting = append(w.waiting, a)
		}
		l.feed(c, w)
		return
	}
	if c.flags&flagPiped != 0 && l.forward(c, a) {
		return
	}
	in := a.block.Bytes()[:a.n]
	used := l.handlerOf(c).Received(c, in)
	if used < a.n {
		l.keep(l.workOf(c), a.block, in[used:])
		return
	}
	a.block.Release()
}

// keep remembers unused input. Little of it, or any when blocks are scarce, moves to memory of its own size, so that
// ten thousand slow peers do not hold ten thousand blocks.
func (l *Loop) keep(w *work, b *buf.Block, rest []byte) {
	if len(rest)*4 > b.Size() && !l.tight() {
		w.rest, w.restIn = rest, b
		return
	}
	w.rest, w.restIn = append([]byte(nil), rest...), nil
	b.Release()
}

// stow moves what comes for a connection that is paused to memory of its own size when blocks are scarce: its receive
// is being cancelled, but what was on the way still comes, and stays for as long as the other side takes nothing.
func (l *Loop) stow(c *connection, w *work, a arrival) bool {
	if c.flags&flagPaused == 0 || len(w.waiting) > 0 || w.restIn != nil || len(w.rest)+a.n > a.block.Size() || !l.tight() {
		return false
	}
	w.rest = append(w.rest, a.block.Bytes()[:a.n]...)
	a.block.Release()
	return true
}

// feed delivers what waits, behind the rest, as long as the handler wants it.
func (l *Loop) feed(c *connection, w *work) {
	for c.state == conn.Open && c.flags&(flagPaused|flagLeaves) == 0 && (len(w.waiting) > 0 || c.flags&flagRefeed != 0) {
		c.flags &^= flagRefeed
		if c.flags&flagPiped != 0 && l.forwardAll(c, w) {
			break
		}
		if len(w.waiting) > 0 {
			l.join(w)
		}
		if len(w.rest) == 0 {
			break
		}
		used := l.handlerOf(c).Received(c, w.rest)
		if used == 0 && len(w.rest) == l.blocks.BlockSize() && c.state == conn.Open && c.flags&(flagPaused|flagPiped) == 0 {
			l.end(c, errStuck)
			return
		}
		if used == 0 && len(w.waiting) > 0 {
			continue // more may be what it needs
		}
		l.advance(w, used)
	}
	if b := w.restIn; b != nil && len(w.rest) > 0 && c.state == conn.Open {
		l.keep(w, b, w.rest)
	}
	l.tellEnd(c)
}

// tellEnd passes the peer's end on, once, behind all input and not while the handler pauses.
func (l *Loop) tellEnd(c *connection) {
	if c.state != conn.Open || c.flags&(flagEnded|flagPaused|flagRefeed|flagTold|flagLeaves) != flagEnded {
		return
	}
	if w := l.has(c); w != nil && len(w.waiting) > 0 {
		return
	}
	c.flags |= flagTold
	if c.flags&flagBroken != 0 {
		l.end(c, l.workOf(c).why)
		return
	}
	l.handlerOf(c).Ended(c)
}

// advance drops the first used bytes of the rest.
func (l *Loop) advance(w *work, used int) {
	w.rest = w.rest[used:]
	if len(w.rest) > 0 {
		return
	}
	w.rest = nil
	if w.restIn != nil {
		w.restIn.Release()
		w.restIn = nil
	}
}

// join moves as much waiting input as fits behind the rest, into one block, or into memory of its own if none is left.
func (l *Loop) join(w *work) {
	if len(w.rest) == 0 { // the common case: the whole block becomes the rest
		a := l.shift(w)
		w.rest, w.restIn = a.block.Bytes()[:a.n], a.block
		return
	}
	if w.restIn == nil {
		w.restIn = l.blocks.Take()
	}
	size := l.blocks.BlockSize()
	if b := w.restIn; b != nil {
		w.rest = b.Bytes()[:copy(b.Bytes(), w.rest)] // overlapping is fine: it moves forward
	}
	for len(w.waiting) > 0 && len(w.rest) < size {
		a := &w.waiting[0]
		k := min(a.n, size-len(w.rest))
		w.rest = append(w.rest, a.block.Bytes()[:k]...)
		if k < a.n {
			copy(a.block.Bytes(), a.block.Bytes()[k:a.n])
			a.n -= k
			break
		}
		l.shift(w).block.Release()
	}
}

// shift takes the first waiting block.
func (l *Loop) shift(w *work) arrival {
	a := w.waiting[0]
	w.waiting = append(w.waiting[:0], w.waiting[1:]...)
	return a
}

// Pause stops reading. Bytes that are already on their way wait.
func (c *connection) Pause() {
	if c.flags&flagPaused != 0 {
		return
	}
	l := c.on()
	c.flags |= flagPaused | flagBulk
	if c.flags&flagIdle == 0 {
		c.since = l.moment()
	}
	l.mark(c)
}

// Resume reads again; unused bytes come again at the end of the turn.
func (c *connection) Resume() {
	if c.flags&flagPaused == 0 {
		return
	}
	l := c.on()
	c.flags &^= flagPaused
	if w := l.has(c); w != nil && (len(w.rest) > 0 || len(w.waiting) > 0) || c.flags&flagEnded != 0 {
		c.flags |= flagRefeed
	}
	l.mark(c)
}
