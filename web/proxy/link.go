package proxy

import (
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

// Opened is not called: Granted stands for it.
func (a *agent) Opened(conn.Conn) {}

// Received brings bytes of an answer, or of a tunnel.
func (a *agent) Received(c conn.Conn, in []byte) int {
	switch o := upstream.LinkOf(c).Owner.(type) {
	case *session:
		return o.received(in)
	case *tunnel:
		return o.answered(in)
	}
	return len(in)
}

// Ended is the last byte of an endpoint.
func (a *agent) Ended(c conn.Conn) {
	switch o := upstream.LinkOf(c).Owner.(type) {
	case *session:
		o.hungUp()
	case *tunnel:
		o.hungUp()
	}
}

// Flushed lets the client send more.
func (a *agent) Flushed(c conn.Conn) {
	switch o := upstream.LinkOf(c).Owner.(type) {
	case *session:
		o.drained()
	case *tunnel:
		o.drained()
	}
}

// Expired is for evidence alone: all other deadlines of an exchange are on the client's connection.
func (a *agent) Expired(c conn.Conn) {
	switch o := upstream.LinkOf(c).Owner.(type) {
	case *session:
		if o.ended && o.phase == asking {
			o.doubt()
		}
	case nil:
		c.Abort(conn.ErrTimeout)
	}
}

// Stopped does nothing: what was begun is finished.
func (a *agent) Stopped(conn.Conn) {}

// Closed is the end of a link.
func (a *agent) Closed(c conn.Conn, why error) {
	switch o := upstream.LinkOf(c).Owner.(type) {
	case *session:
		o.lost(why)
	case *tunnel:
		o.lost(why)
	}
}
