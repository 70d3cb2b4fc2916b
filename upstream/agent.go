package upstream

import (
	"time"

	"github.com/myriad-server/myriad/conn"
)

// Agent is a group on one thread of control, and the handler of every connection it makes. Its methods are for that
// thread only.
type Agent struct {
	group  *Group
	dialer conn.Dialer
}

// Acquire asks for a link.
func (a *Agent) Acquire(w *Want) {
	e, err := a.Choose(w)
	if err != nil {
		w.Waiter.Denied(err)
		return
	}
	l := &Link{Endpoint: e, want: w}
	w.link = l
	l.Conn = a.dialer.Dial(&e.target, a, l)
	l.Conn.SetTimer(int64(5 * time.Second))
}

// Cancel takes a want back that was not answered. It does nothing to one that was.
func (a *Agent) Cancel(w *Want) {
	if l := w.link; l != nil {
		w.link, l.want = nil, nil
		l.Conn.Abort(conn.ErrAborted)
	}
}

// Release gives a leased link back: to be used again, or to be closed once what is queued has been sent.
func (a *Agent) Release(l *Link, _ bool) {
	l.handler, l.Owner = nil, nil
	l.Conn.Drain()
}

// Report says how a use of an endpoint went. Connections that could not be made are reported by the agent itself.
func (a *Agent) Report(*Endpoint, Outcome) {}

// Choose returns an endpoint that is available, for what is not a stream. It counts as in use until Unchoose.
func (a *Agent) Choose(w *Want) (*Endpoint, error) {
	i := a.group.picker.Pick(w.Key, nil)
	if i < 0 {
		return nil, ErrNoEndpoint
	}
	return a.group.endpoints[i], nil
}

// Unchoose ends the use that Choose began.
func (a *Agent) Unchoose(*Endpoint) {}

// Opened grants a new link.
func (a *Agent) Opened(c conn.Conn) {
	l := LinkOf(c)
	w := l.want
	if w == nil {
		return
	}
	c.SetTimer(0)
	w.link, l.want = nil, nil
	l.handler, l.Owner = w.Handler, w.Owner
	w.Waiter.Granted(l)
}

// Received passes bytes on to whoever has the link.
func (a *Agent) Received(c conn.Conn, in []byte) int {
	if l := LinkOf(c); l.handler != nil {
		return l.handler.Received(c, in)
	}
	c.Abort(conn.ErrAborted)
	return len(in)
}

// Ended passes the peer's end on.
func (a *Agent) Ended(c conn.Conn) {
	if l := LinkOf(c); l.handler != nil {
		l.handler.Ended(c)
		return
	}
	c.Drain()
}

// Flushed passes on that everything was sent.
func (a *Agent) Flushed(c conn.Conn) {
	if l := LinkOf(c); l.handler != nil {
		l.handler.Flushed(c)
	}
}

// Expired gives up a connection that takes too long to be made, or passes on.
func (a *Agent) Expired(c conn.Conn) {
	if l := LinkOf(c); l.handler != nil {
		l.handler.Expired(c)
		return
	}
	c.Abort(ErrConnectTimeout)
}

// Stopped passes on that the server winds down.
func (a *Agent) Stopped(c conn.Conn) {
	if l := LinkOf(c); l.handler != nil {
		l.handler.Stopped(c)
	}
}

// Closed tells whoever has or wants the link.
func (a *Agent) Closed(c conn.Conn, why error) {
	l := LinkOf(c)
	if w := l.want; w != nil {
		w.link, l.want = nil, nil
		w.Waiter.Denied(&DialError{Endpoint: l.Endpoint, Err: why})
		return
	}
	if h := l.handler; h != nil {
		l.handler = nil
		h.Closed(c, why)
	}
}
