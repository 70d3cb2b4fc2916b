package upstream

import (
	"github.com/myriad-server/myriad/conn"
)

// Waiter is told what came of a Want, once for each Acquire that is not cancelled, on the agent's thread.
type Waiter interface {
	// Granted brings an open link. It may be released only after Granted has returned.
	Granted(l *Link)
	// Denied says that there is none: ErrNoEndpoint, ErrQueueFull, ErrQueueTimeout, ErrClosed, a *DialError (which may
	// hold ErrConnectTimeout) or a *PortsError (ErrNoPorts).
	Denied(err error)
}

// Want asks for a link. It is embedded in what needs the link, so that asking allocates nothing, and may be used again
// after it was answered or cancelled.
type Want struct {
	// Key chooses the endpoint where the policy is consistent hashing.
	Key uint64
	// Handler gets the callbacks of the link's connection while it is leased, and Owner becomes Link.Owner.
	Handler conn.Handler
	Owner   any
	// Waiter is told the answer.
	Waiter Waiter
	// Prefer, if set, is taken if it is available, whatever the policy says.
	Prefer *Endpoint
	// Fresh asks for a new connection, Look for a look at a pooled one however short it was idle.
	Fresh, Look bool

	tried [maxTried]*Endpoint
	link  *Link
}

// maxTried is how many tried endpoints a want remembers; the earliest is forgotten first.
const maxTried = 4

// Tried has the endpoint passed over by later Acquires of this want, as long as there are others.
func (w *Want) Tried(e *Endpoint) {
	copy(w.tried[1:], w.tried[:])
	w.tried[0] = e
}

// Forget clears what Tried said, for the next use of the want.
func (w *Want) Forget() { w.tried = [maxTried]*Endpoint{} }

// Link is a connection to an endpoint. It is what Attached returns of its connection, and must stay that.
type Link struct {
	Conn     conn.Conn
	Endpoint *Endpoint
	// Owner is the Want's while the link is leased; it may be changed.
	Owner any
	// Reused says that the link has been released before.
	Reused bool

	handler conn.Handler
	want    *Want
}

// LinkOf returns the link of a connection that an agent made, or nil.
func LinkOf(c conn.Conn) *Link {
	l, _ := c.Attached().(*Link)
	return l
}

// Outcome is how a use of a link went.
type Outcome uint8

// The outcomes.
const (
	Success Outcome = iota // the endpoint did what it should
	Failure                // it broke the connection, did not answer in time, or answered that it cannot
)
