package loop

import (
	"errors"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// pump brings what is in flight into line with what the connection's state asks for. It may be called at any time and
// any number of times: everything that a refusal or a cancellation put off is made good by the next call.
func (l *Loop) pump(c *connection) {
	if c.state == conn.Closed {
		return // marked before it ended
	}
	if c.flags&(flagPiped|flagFed) != 0 {
		l.loosen(c)
	}
	if c.state == conn.Open && c.flags&(flagRefeed|flagPaused|flagLeaves) == flagRefeed {
		l.feed(c, l.workOf(c))
	}
	if c.flags&flagMoving != 0 {
		if l.goOnMoving(c); c.state == conn.Closed {
			return
		}
	}
	if c.flags&flagLeaves != 0 {
		if l.goOnLeaving(c); c.state == conn.Closed {
			return
		}
	}
	if c.state == conn.Opening {
		if c.flags&flagMade == 0 {
			return // what is queued leaves when the connection is made
		}
		l.begin(c)
	}
	if c.state >= conn.Closing {
		l.close(c)
		return
	}
	if c.send == 0 {
		if c.flags&flagFed != 0 && l.push(c) {
			// what has left another connection goes before what is queued
		} else if w := l.has(c); w != nil && len(w.queue) > 0 {
			l.transmit(c, w)
		} else if c.state == conn.Draining {
			l.finish(c)
		} else if c.flags&(flagLast|flagFinal) == flagLast {
			l.sayLast(c)
		}
	} else if c.flags&flagLazy != 0 && (c.flags&flagIdle == 0 || len(l.workOf(c).queue) > l.workOf(c).flying) {
		l.await(c) // there is more to send, or somebody to be told
	}
	l.listenTo(c)
	if c.flags&flagFed != 0 {
		l.listenToSource(c)
	}
	if c.state >= conn.Closing {
		l.close(c)
		return
	}
	l.rest(c)
	if l.exodus != nil && c.flags&flagIdle != 0 && l.exodus.room() > 0 {
		l.offer(l.exodus, c)
	}
}

// listenTo keeps a receive armed while bytes are wanted, and cancels it when they are not.
func (l *Loop) listenTo(c *connection) {
	wanted := c.flags&(flagPaused|flagEnded|flagHungry|flagBroad|flagMoving|flagLeaves) == 0 && c.state <= conn.Draining
	if c.flags&flagPiped != 0 {
		l.listenToRoute(c, wanted)
		return
	}
	switch {
	case wanted && c.recv == 0:
		if c.flags&flagBulk != 0 && l.putOff(c) {
			return
		}
		op := driver.Op{Code: driver.Recv, FD: int(c.fd), User: uint64(c.index), Many: true, Len: l.portion()}
		token, err := l.driver.Submit(op)
		if err != nil {
			l.refused(c, err)
			return
		}
		c.recv = token
		c.flags &^= flagCalled
	case !wanted && c.recv != 0 && c.flags&flagCalled == 0:
		l.call(c)
	}
}

// call cancels the receive in flight.
func (l *Loop) call(c *connection) {
	c.flags |= flagCalled
	if err := l.driver.Cancel(c.recv); err != nil {
		l.end(c, err)
	}
}

// finish continues an orderly end after the last byte was taken: our FIN, then the peer's, then close.
func (l *Loop) finish(c *connection) {
	l.note(c)
	if c.flags&flagEnded != 0 {
		l.end(c, nil)
		return
	}
	if c.flags&flagFinal == 0 && !l.sayLast(c) {
		return
	}
	if c.flags&flagLingers == 0 {
		c.flags |= flagLingers
		c.flags &^= flagPaused
		l.wheel.Set(c.index, l.now+int64(lingerTime))
	}
}

// sayLast sends our FIN. It reports false if that has to wait.
func (l *Loop) sayLast(c *connection) bool {
	token, err := l.driver.Submit(driver.Op{Code: driver.Shutdown, FD: int(c.fd), User: uint64(c.index)})
	if err != nil {
		l.refused(c, err)
		return false
	}
	c.send = token
	c.flags |= flagFinal
	return true
}

// shutDown takes the completion of our FIN. That it failed means that the peer was faster.
func (l *Loop) shutDown(c *connection) {
	c.send = 0
	l.mark(c)
}

// busy reports that output is still to be sent.
func (l *Loop) busy(c *connection) bool {
	w := l.has(c)
	return w != nil && len(w.queue) > 0 || c.flags&flagFed != 0 && l.linkOf(c).from.inside > 0
}

// end begins the end of a connection, with a reason that the handler is told.
func (l *Loop) end(c *connection, why error) {
	if c.state >= conn.Closing {
		return
	}
	if c.flags&flagWatched != 0 {
		l.gather(c, why)
	}
	c.SetIdle(false)
	c.state = conn.Closing
	if why != nil {
		l.workOf(c).why = why
	}
	l.wheel.Clear(c.index)
	l.mark(c)
}

// close cancels what is in flight, closes the descriptor, and lets go of the slot when all of it has completed.
func (l *Loop) close(c *connection) {
	if c.flags&flagClosing == 0 && !l.closeDescriptor(c) {
		return
	}
	if c.recv == 0 && c.send == 0 && c.fd < 0 {
		l.forget(c)
	}
}

func (l *Loop) closeDescriptor(c *connection) bool {
	if c.fd < 0 { // it never had one
		c.flags |= flagClosing
		return true
	}
	if c.flags&flagReset != 0 {
		if fd, done, err := l.driver.Descriptor(int(c.fd)); err == nil {
			_ = sys.SetLinger(fd, 0) // what is not a TCP socket has no reset
			done()
		}
		c.flags &^= flagReset
	}
	if c.recv != 0 && c.flags&flagCalled == 0 {
		c.flags |= flagCalled
		_ = l.driver.Cancel(c.recv) // a driver that cannot cancel completes it at Close
	}
	op := driver.Op{Code: driver.Close, FD: int(c.fd), User: uint64(c.index)}
	if c.send != 0 {
		_ = l.driver.Cancel(c.send)
		l.await(c)
	}
	alone := c.recv == 0 && c.send == 0
	if alone { // nobody has to wait for it
		op.User, op.Lazy = noOwner, true
	}
	if _, err := l.driver.Submit(op); err != nil {
		if !errors.Is(err, driver.ErrFull) {
			l.broken = err
		}
		l.refusals = append(l.refusals, c.index)
		return false
	}
	c.flags |= flagClosing
	if alone {
		c.fd = -1
	}
	return true
}

// closed takes the completion of Close.
func (l *Loop) closed(c *connection) {
	c.fd = -1
	l.mark(c)
}

// forget tells the handler that it is over, and frees the slot.
func (l *Loop) forget(c *connection) {
	var why error
	w := l.has(c)
	if w != nil {
		why = w.why
	}
	if c.flags&(flagPiped|flagFed) != 0 {
		l.cut(c)
	}
	l.handlerOf(c).Closed(c, why)
	c.flags &^= flagWatched
	if w = l.has(c); w != nil {
		l.drop(w)
		l.rest(c)
	}
	c.Attach(nil)
	s := l.listeners[c.listener]
	if s.users--; !s.dials {
		l.departed.Add(1)
	}
	l.vacate(c)
	if why != conn.ErrMoved {
		l.meter.Add(meter.Closed, 1)
	}
	l.meter.Add(meter.Open, -1)
	if why == conn.ErrPressure {
		l.shedding--
	}
	if l.pressed && l.open < l.limit {
		l.resumeAt = l.now
	}
}

// drop gives back all that a connection's work holds.
func (l *Loop) drop(w *work) {
	for i := range w.queue {
		if s := &w.queue[i]; s.file != nil {
			s.file.Release()
		} else {
			s.block.Release()
		}
		w.queue[i] = segment{}
	}
	for i := range w.waiting {
		w.waiting[i].block.Release()
	}
	if w.restIn != nil {
		w.restIn.Release()
	}
	if w.open != nil {
		w.open.Release()
	}
	*w = work{queue: w.queue[:0], waiting: w.waiting[:0]}
}

// CloseWrite sends what is queued and then our FIN.
func (c *connection) CloseWrite() {
	if !c.writable() {
		return
	}
	c.flags |= flagLast
	l := c.on()
	l.await(c)
	l.mark(c)
}

// Drain sends what is queued, then ends the connection in order. One that is not made yet just ends.
func (c *connection) Drain() {
	l := c.on()
	if c.state == conn.Opening {
		l.end(c, nil)
	}
	if c.state != conn.Open {
		return
	}
	c.SetIdle(false)
	c.state = conn.Draining
	l.await(c)
	l.mark(c)
}

// Abort ends the connection at once, with a reset.
func (c *connection) Abort(why error) {
	if c.state >= conn.Closing {
		return
	}
	if why == nil {
		why = conn.ErrAborted
	}
	c.flags |= flagReset
	c.on().end(c, why)
}
