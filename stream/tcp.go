package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

// Header says which versions of the PROXY protocol are meant.
type Header uint8

// The versions.
const (
	NoHeader  Header = iota // none
	HeaderV1                // version 1, in text
	HeaderV2                // version 2, binary
	AnyHeader               // either, where one is read
)

// Unlimited is a time that never comes.
const Unlimited = time.Duration(1<<63 - 1)

// TCPOptions says how connections are passed on. Zero fields get the default that is named with them.
type TCPOptions struct {
	// Name is the listener's, for logs.
	Name string
	// Group is where the connections go. Required.
	Group *upstream.Group
	// BufferBytes is how much may be held of each direction that its receiver has not taken; 64 KiB. What one turn of the
	// loop receives comes on top.
	BufferBytes int64
	// Idle is how long both sides may be silent; 10 min. The end comes up to a quarter later.
	Idle time.Duration
	// Lifetime is how long a session may last; Unlimited.
	Lifetime time.Duration
	// EndTogether ends a session when one side has ended, instead of letting the other one go on.
	EndTogether bool
	// PerClient is how many sessions one client address may have, over all loops; 0: as many as the listener. What counts
	// for IPv6 is the network of 64 bits.
	PerClient int
	// Accept asks for a PROXY header from the clients of Trusted, which then are whom it names; NoHeader. If Trusted is
	// empty, whoever can connect is asked. A client that is not trusted is not asked: what it sends is passed on.
	Accept  Header
	Trusted []netip.Prefix
	// HeaderTime is how long a PROXY header may take; 5 s.
	HeaderTime time.Duration
	// Send has a PROXY header sent to the server; NoHeader. AnyHeader is HeaderV2.
	Send Header
	// PipeBytes is how many bytes, in large pieces and in less than a second, make a direction be left to the kernel; 256
	// KiB. Negative: never.
	PipeBytes int
	// Records, if set, is told about sessions that have ended.
	Records Log
	// Log gets a line when no server can be reached, a limit is met or a PROXY header is wrong; at most one of each kind a
	// second. Nobody is told if nil.
	Log *slog.Logger
}

// TCP passes the connections of a listener on. It serves stream sockets of both kinds, TCP and Unix, on both sides.
type TCP struct {
	*books
	clients *clients // nil: clients may have as many sessions as they like
	options TCPOptions
}

// NewTCP makes what serves a listener.
func NewTCP(o TCPOptions) (*TCP, error) {
	switch {
	case o.Group == nil:
		return nil, errors.New("stream: TCPOptions.Group is required")
	case o.BufferBytes < 0 || o.Idle < 0 || o.Lifetime < 0 || o.PerClient < 0 || o.HeaderTime < 0:
		return nil, fmt.Errorf("stream: a limit of listener %q is negative", o.Name)
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Idle, 10 * time.Minute}, {&o.Lifetime, Unlimited}, {&o.HeaderTime, 5 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = 64 << 10
	}
	if o.PipeBytes == 0 {
		o.PipeBytes = 256 << 10
	}
	o.PipeBytes = min(o.PipeBytes, 1<<30)
	return &TCP{new(books), limit(o.PerClient), o}, nil
}

// Successor makes what serves the connections of the listener from some time on. It counts where t does; the sessions
// of t go on as they began.
func (t *TCP) Successor(o TCPOptions) (*TCP, error) {
	next, err := NewTCP(o)
	if err == nil {
		next.books = t.books
	}
	return next, err
}

// Handler makes the handler of one loop. Models that cannot dial have no use for it: it refuses every connection.
func (t *TCP) Handler() conn.Handler {
	h := &near{options: &t.options, clients: t.clients, tally: t.tally(), endTime: endTime}
	h.report = newReporter(t.options.Log, t.options.Name)
	h.far.near = h
	return h
}

// near is the handler of the clients of one loop.
type near struct {
	options *TCPOptions
	clients *clients
	tally   *tally
	agent   *upstream.Agent
	far     far
	report  reporter
	spare   []*session
	resting []*waiting
	header  []byte // the PROXY header written last, for its memory
	record  Record
	endTime time.Duration
}

// Started makes the loop's agent of the group.
func (h *near) Started(d conn.Dialer) {
	h.agent = h.options.Group.Agent(d)
}

// Opened begins a session.
func (h *near) Opened(c conn.Conn) {
	if h.agent == nil {
		c.Abort(errNoDialer)
		return
	}
	s := h.take()
	remote := c.Remote()
	s.client, s.began, s.remote = c, c.Now(), endpointOf(remote)
	c.Attach(s)
	h.tally.begun()
	if h.asks(remote) {
		s.phase = introducing
		c.SetTimer(int64(h.options.HeaderTime))
		return
	}
	h.admit(s, remote, netip.AddrPort{})
}

// asks reports whether the client is to begin with a PROXY header. One at a Unix socket is as trusted as its file.
func (h *near) asks(remote netip.AddrPort) bool {
	if h.options.Accept == NoHeader || len(h.options.Trusted) == 0 || !remote.IsValid() {
		return h.options.Accept != NoHeader
	}
	for _, p := range h.options.Trusted {
		if p.Contains(remote.Addr().WithZone("")) {
			return true
		}
	}
	return false
}

// Received passes bytes on, or reads the PROXY header.
func (h *near) Received(c conn.Conn, in []byte) int {
	s := sessionOf(c)
	if s == nil {
		return len(in)
	}
	switch s.phase {
	case passing:
		return h.pass(s, upward, c, s.link.Conn, in)
	case introducing:
		return h.introduced(s, in)
	case connecting: // they come again when there is somebody to take them
		c.Pause()
		return 0
	}
	return len(in)
}

// Ended passes the client's end on.
func (h *near) Ended(c conn.Conn) {
	if s := sessionOf(c); s != nil {
		h.ended(s, upward)
	}
}

// Flushed lets the server go on.
func (h *near) Flushed(c conn.Conn) {
	if s := sessionOf(c); s != nil {
		h.flushed(s, downward)
	}
}

// Expired is the session's clock.
func (h *near) Expired(c conn.Conn) {
	if s := sessionOf(c); s != nil {
		h.expired(s)
	}
}

// Stopped lets sessions go on: nobody here can tell when what is said is complete.
func (h *near) Stopped(conn.Conn) {}

// Closed ends the session.
func (h *near) Closed(c conn.Conn, why error) {
	if s := sessionOf(c); s != nil {
		h.closed(s, upward, c, why)
	}
}

// far is the handler of the connections to servers, while they belong to a session.
type far struct{ near *near }

// Opened is not called: the agent grants connections that are open.
func (f *far) Opened(conn.Conn) {}

// Received passes bytes on.
func (f *far) Received(c conn.Conn, in []byte) int {
	if s := ownerOf(c); s.phase == passing {
		return f.near.pass(s, downward, c, s.client, in)
	}
	return len(in)
}

// Ended passes the server's end on.
func (f *far) Ended(c conn.Conn) { f.near.ended(ownerOf(c), downward) }

// Flushed lets the client go on.
func (f *far) Flushed(c conn.Conn) { f.near.flushed(ownerOf(c), upward) }

// Expired gives up a connection that takes nothing any more.
func (f *far) Expired(c conn.Conn) { f.near.late(ownerOf(c), downward) }

// Stopped lets sessions go on.
func (f *far) Stopped(conn.Conn) {}

// Closed ends the session.
func (f *far) Closed(c conn.Conn, why error) { f.near.closed(ownerOf(c), downward, c, why) }

func sessionOf(c conn.Conn) *session {
	s, _ := c.Attached().(*session)
	return s
}

func ownerOf(c conn.Conn) *session { return upstream.LinkOf(c).Owner.(*session) }
