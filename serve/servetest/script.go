package servetest

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/myriad-server/myriad/conn"
)

// script is a handler in pieces. What is nil does the least that is reasonable: input is used, and a peer or a server
// that ends gets the end.
type script struct {
	started  func(d conn.Dialer)
	opened   func(c conn.Conn)
	received func(c conn.Conn, in []byte) int
	ended    func(c conn.Conn)
	flushed  func(c conn.Conn)
	expired  func(c conn.Conn)
	stopped  func(c conn.Conn)
	closed   func(c conn.Conn, why error)
}

// same makes the factory of handlers that all do the same.
func same(s script) func() script { return func() script { return s } }

// record is what all handlers of a server have seen.
type record struct {
	t     testing.TB
	mu    sync.Mutex
	lives map[uint64]*life
}

// life is what one connection has seen.
type life struct {
	ended, stopped, closed bool
}

// watched calls a script and checks that it is called as package conn promises.
type watched struct {
	script
	record *record
	busy   atomic.Bool
	dialer conn.Dialer // of Started; nil under a model that cannot dial
}

// enter checks what holds for every callback but Opened, and returns what the connection has seen.
func (w *watched) enter(c conn.Conn, what string) *life {
	if w.busy.Swap(true) {
		w.record.t.Errorf("%s: a handler is called by two threads of control at once", what)
	}
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	l := w.record.lives[c.ID()]
	if l == nil {
		w.record.t.Errorf("%s of connection %x, which was never opened", what, c.ID())
		return &life{}
	}
	if l.closed {
		w.record.t.Errorf("%s of connection %x, which is closed", what, c.ID())
	}
	return l
}

func (w *watched) leave() { w.busy.Store(false) }

// Started implements conn.Starter.
func (w *watched) Started(d conn.Dialer) {
	if w.busy.Swap(true) {
		w.record.t.Error("Started: a handler is called by two threads of control at once")
	}
	defer w.leave()
	if w.dialer != nil || d == nil {
		w.record.t.Errorf("Started with %v, and before with %v", d, w.dialer)
	}
	if w.dialer = d; w.started != nil {
		w.started(d)
	}
}

// Opened implements conn.Handler.
func (w *watched) Opened(c conn.Conn) {
	w.record.mu.Lock()
	if w.record.lives[c.ID()] != nil {
		w.record.t.Errorf("the ID %x is used twice", c.ID())
	}
	w.record.lives[c.ID()] = &life{}
	w.record.mu.Unlock()
	w.enter(c, "Opened")
	defer w.leave()
	if c.State() != conn.Open {
		w.record.t.Errorf("Opened in the state %s", c.State())
	}
	if c.Dialer() != w.dialer {
		w.record.t.Errorf("the dialer of a connection is %v, that of Started %v", c.Dialer(), w.dialer)
	}
	if c.Attached() != nil {
		w.record.t.Error("something is attached to a new connection")
	}
	if w.opened != nil {
		w.opened(c)
	}
}

// Received implements conn.Handler.
func (w *watched) Received(c conn.Conn, in []byte) int {
	l := w.enter(c, "Received")
	defer w.leave()
	if l.ended || len(in) == 0 || c.State() != conn.Open {
		w.record.t.Errorf("Received of %d bytes, state %s, ended %v", len(in), c.State(), l.ended)
	}
	if w.received == nil {
		return len(in)
	}
	return w.received(c, in)
}

// Ended implements conn.Handler.
func (w *watched) Ended(c conn.Conn) {
	l := w.enter(c, "Ended")
	defer w.leave()
	if l.ended || c.State() != conn.Open {
		w.record.t.Errorf("Ended in the state %s, ended before: %v", c.State(), l.ended)
	}
	l.ended = true
	if w.ended == nil {
		c.Drain()
	} else {
		w.ended(c)
	}
}

// Flushed implements conn.Handler.
func (w *watched) Flushed(c conn.Conn) {
	w.enter(c, "Flushed")
	defer w.leave()
	if c.Queued() != 0 {
		w.record.t.Errorf("Flushed with %d bytes queued", c.Queued())
	}
	if w.flushed != nil {
		w.flushed(c)
	}
}

// Expired implements conn.Handler.
func (w *watched) Expired(c conn.Conn) {
	w.enter(c, "Expired")
	defer w.leave()
	if w.expired != nil {
		w.expired(c)
	}
}

// Stopped implements conn.Handler.
func (w *watched) Stopped(c conn.Conn) {
	l := w.enter(c, "Stopped")
	defer w.leave()
	if l.stopped {
		w.record.t.Error("Stopped comes twice")
	}
	l.stopped = true
	if !c.Stopping() {
		w.record.t.Error("Stopped, and Stopping is false")
	}
	if w.stopped == nil {
		c.Drain()
	} else {
		w.stopped(c)
	}
}

// Closed implements conn.Handler.
func (w *watched) Closed(c conn.Conn, why error) {
	l := w.enter(c, "Closed")
	defer w.leave()
	w.record.mu.Lock()
	l.closed = true
	w.record.mu.Unlock()
	if w.closed != nil {
		w.closed(c, why)
	}
}

// checkAllClosed fails if a connection was opened and not closed.
func (r *record) checkAllClosed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, l := range r.lives {
		if !l.closed {
			r.t.Errorf("connection %x was not closed", id)
		}
	}
}

// count is how many connections there have been.
func (r *record) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lives)
}
