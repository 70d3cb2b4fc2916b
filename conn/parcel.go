package conn

import "errors"

// ErrNotPortable is the answer of who cannot go on with a connection of another process.
var ErrNotPortable = errors.New("what serves the listener cannot go on with connections of another process")

// Parcel is an established connection on its way to another process, or two that belong together. Whoever holds it owns
// its descriptors.
type Parcel struct {
	// Listener is the site's number for the listener that it was accepted by; -1: it was dialled.
	Listener int
	// FD is its ordinary descriptor, non-blocking and close-on-exec.
	FD int
	// In and Out are its traffic so far, and Requests what was counted on it.
	In, Out  uint64
	Requests uint32
	// Idle says that it waits between two exchanges, as SetIdle has said.
	Idle bool
	// Ended says that the peer has sent its last byte, and Final that ours was sent (a FIN).
	Ended, Final bool
	// Unread is what was received and not used. It comes again, before anything else.
	Unread []byte
	// State is what the handler needs to go on: its own format, with a version of its own. Without it the connection is
	// one that was only accepted: the handler is told Opened.
	State []byte
	// Mate is the other connection of a pair, such as the upstream's of a tunnel; nil: there is none.
	Mate *Parcel
}

// Portable is what a [Handler] is besides, whose connections may go on in another process.
type Portable interface {
	// Leaves reports whether c may leave now: nothing is under way that cannot be told in some bytes. It is asked often,
	// and must be cheap. If mate is not nil, it leaves together with c, and its own handler is not asked. What comes for
	// either from then on is not delivered here.
	Leaves(c Conn) (mate Conn, ok bool)
	// Pack appends to state what it takes to go on. Nothing is in flight on c and its mate, and nothing queued. Closed
	// follows for both, with ErrMoved. If it is not ok, or the process has no descriptor left that it takes, both go on
	// here, and c is asked again later: Pack itself changes nothing.
	Pack(c Conn, state []byte) (packed []byte, ok bool)
	// Unpack begins with a connection that was packed by a handler of the same kind in another process, of this version
	// or of one near to it. It comes in the place of Opened; what was unread follows. mate, if the connection has one,
	// makes it, open, with a handler and what is attached to it, in the place of a dial and of its Opened; it must be
	// called once. Ended follows for who has Ended, behind what was unread, also where it was told before. Timers, Pause
	// and Pipe are the handler's to set anew. Nothing of state may be believed. After an error the connection, and its
	// mate, go back to where they came from: Closed follows for what was attached, with ErrMoved.
	Unpack(c Conn, state []byte, mate func(h Handler, v any) Conn) error
}

// PortableDatagrams is what a [DatagramHandler] is besides that keeps sessions, each with a socket of its own that
// [Dialer.OpenDatagrams] made.
type PortableDatagrams interface {
	// Sessions calls each with the socket of every session of the listener at d that may leave. What serves the socket is
	// a PortableSession. Nothing comes at d any more.
	Sessions(d Datagrams, each func(socket Datagrams))
	// UnpackSession goes on with a session. open makes its socket, with what is to serve it; it must be called once.
	UnpackSession(d Datagrams, state []byte, open func(h DatagramHandler) Datagrams) error
}

// PortableSession is what a [DatagramHandler] of a session is besides that may go on in another process.
type PortableSession interface {
	// PackSession appends to state what the session takes to go on. Nothing is in flight on its socket. The session is
	// over here then, and its socket somebody else's: it is not closed.
	PackSession(state []byte) []byte
}
