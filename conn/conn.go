// Package conn is the contract between what moves bytes and what means something
// by them. A handler is pushed the bytes of a connection and answers by queueing
// bytes on it; it never blocks and never sees a socket. The same handler gives
// the same bytes under every serving model.
package conn

import (
	"errors"
	"net/netip"

	"github.com/myriad-server/myriad/buf"
)

// State says where a connection is in its life. It only moves forward; any state
// may be followed directly by Closing or Closed.
type State uint8

// The states, in their order.
const (
	Opening  State = iota // accepted or being dialled; no callback yet
	Open                  // bytes flow both ways
	Draining              // Drain was called: queued bytes still go out, nothing more is delivered
	Closing               // the descriptor is being closed
	Closed                // Closed was called; the Conn must not be used any more
)

// String is the state's name in lower case, as operators see it.
func (s State) String() string {
	return [...]string{"opening", "open", "draining", "closing", "closed"}[s]
}

// Why a connection ended, for Handler.Closed. A nil reason is an orderly end; a
// syscall.Errno is what the kernel said.
var (
	ErrTimeout     = errors.New("timed out")
	ErrStopping    = errors.New("the server is stopping")
	ErrOutputLimit = errors.New("more output queued than the connection may hold")
	ErrPressure    = errors.New("closed while idle, to make room for new connections")
	ErrAborted     = errors.New("aborted by the handler")
	ErrMoved       = errors.New("moved to another thread of control")
)

// Conn is a connection as its handler sees it. All of it is for the handler's
// callbacks only, on the thread of control that calls them; what another
// goroutine may hold is a Ref. None of the methods blocks. A Conn is good until
// Handler.Closed has returned.
type Conn interface {
	// ID is unique in the process for the connection's life and long after.
	ID() uint64
	State() State
	// Local and Remote are the two addresses; zero for Unix sockets. They may
	// cost a system call.
	Local() netip.AddrPort
	Remote() netip.AddrPort

	// Write queues a copy of p.
	Write(p []byte)
	// Reserve returns n bytes or more of space at the end of the queue, to be
	// written into and then queued with Commit(used). It saves the copy of
	// Write. n must not exceed the block size. Nil means that memory ran out;
	// the connection is then being aborted.
	Reserve(n int) []byte
	Commit(used int)
	// Send queues bytes from..to of b and takes over one hold of it.
	Send(b *buf.Block, from, to int)
	// SendFile queues n bytes of f at off, without copying where the driver
	// can, and takes over one hold of f.
	SendFile(f File, off, n int64)
	// Queued is the number of bytes not yet accepted by the kernel.
	Queued() int64
	// Room is how many bytes can be queued now without harm to others; about as many, with
	// what frames them. Who passes bytes on from a source that can wait queues no more, and
	// pauses the source. When it is zero with nothing queued, memory is short; then Flushed
	// is called as soon as there is room, or a little later.
	Room() int64

	// Pause stops reading, so that backpressure reaches the peer. Resume undoes it,
	// and bytes that Received left unused come again, also when nothing new has.
	Pause()
	Resume()

	// Now is the time of the current turn: monotonic nanoseconds since the
	// model started. Wall is the same in Unix seconds.
	Now() int64
	Wall() int64
	// SetTimer calls Handler.Expired once, ns nanoseconds from Now; it
	// replaces the timer set before. Zero or less clears it.
	SetTimer(ns int64)
	// SetIdle says whether the connection waits between two exchanges, for the
	// peer. An idle connection may be closed when descriptors run out, oldest
	// first, and its Flushed may come as late as with the next thing that happens.
	SetIdle(idle bool)

	// Attach keeps v with the connection. What holds nothing costs nothing:
	// attach nil when the connection goes idle.
	Attach(v any)
	Attached() any

	// Traffic is how many bytes were received from the peer and taken by the kernel
	// for it, since the connection began; with what Pipe moved.
	Traffic() (in, out uint64)

	// Unacknowledged is how many bytes the kernel has taken and the peer's machine has not: what a slow peer has taken
	// shows here long before the kernel takes more. 0 where it cannot be told. It costs a system call.
	Unacknowledged() int64

	// Pipe moves what comes straight to dst, behind what is queued there, without
	// passing the handler: Received is not called any more. What was received before
	// and not used goes the same way, first. It lasts until the peer's end, which Ended
	// tells as ever, when all is with the kernel for dst; until dst can be written to no
	// more (CloseWrite, Drain, its end); or until Pipe(nil). Then what has left the
	// connection still goes to dst, before what is queued there from then on, and before
	// its FIN; and Received is called again for what comes behind it. dst may not be
	// written to meanwhile. Bytes go no faster than dst takes them, and not while the
	// connection is paused. When the kernel has no pipe to give, they are copied. How
	// much moves is told by Traffic, not by Queued or Flushed. Both directions of a pair
	// may be piped. It reports false, with nothing done, when it cannot be: dst belongs
	// to another thread of control or has another source, or the model has no pipes.
	Pipe(dst Conn) bool

	// Alive looks whether the peer has neither ended nor reset the connection, as far
	// as this machine has heard, and sent nothing. It costs a system call.
	Alive() bool
	// Watch begins to gather evidence about what is queued from now on, and Undelivered
	// tells what came of it: true when the kernel saw the peer's end before the peer
	// answered our bytes with a reset, no byte of them was acknowledged and none was
	// received. It is no proof: a peer that half-closes, reads and then resets looks the
	// same. Undelivered may be asked until Closed has returned. TCP only.
	Watch()
	Undelivered() bool

	// Dialer makes connections on the thread of control of this one; nil where the
	// model cannot.
	Dialer() Dialer
	// Move hands an idle connection with nothing queued over to another thread of
	// control. Here it ends with ErrMoved. There taken is called with the connection,
	// open, its handler h and attached v, after h.Opened; or with nil if it had ended
	// or received bytes meanwhile, or cannot be moved.
	Move(to Dialer, h Handler, v any, taken func(c Conn))

	// Stopping reports that the server winds down: finish what was begun, then Drain.
	Stopping() bool
	// CloseWrite sends what is queued and then tells the peer that there will be no
	// more (a half-close). Nothing can be queued any more; input goes on.
	CloseWrite()
	// Drain sends what is queued, then closes. Nothing more is received.
	Drain()
	// Abort closes now. Queued bytes are lost; the peer sees a reset.
	Abort(why error)

	// Ref returns what other goroutines may keep to reach the connection.
	Ref() Ref
}

// Door lets other goroutines in to the thread of control of a connection.
type Door interface {
	// Post runs f soon on the thread of control of connection id, if it is
	// still open by then; false if the door is already shut for good.
	Post(id uint64, f func(c Conn)) bool
}

// Ref reaches a connection from other goroutines, also after it has closed, when
// it does nothing. The zero Ref reaches nothing.
type Ref struct {
	Door Door
	ID   uint64
}

// Post runs f on the connection's own thread of control, outside any other
// callback. It reports false when that is known to be impossible; true is no
// promise, because the connection may close before.
func (r Ref) Post(f func(c Conn)) bool {
	return r.Door != nil && r.Door.Post(r.ID, f)
}

// File is a regular file with a holder count, so that a cache can let go of it
// while it is still being sent. Release is called once per hold, from any goroutine.
type File interface {
	Descriptor() int
	Hold()
	Release()
}

// Handler gives bytes a meaning. One handler serves many connections, what it
// must remember about one of them it attaches. A handler is never called by two
// threads of control at once: models make as many handlers as they need.
type Handler interface {
	// Opened comes once, before any other.
	Opened(c Conn)
	// Received brings the bytes not yet used, in order. It returns how many it
	// has used; the rest comes again with more behind it. in is only lent for
	// the call. At most one block's worth is kept: a handler that uses nothing
	// of a full block is stuck, and its connection is aborted.
	Received(c Conn, in []byte) (used int)
	// Ended says that the peer has sent its last byte. Bytes can still be sent.
	// Received may have left bytes unused; they never come again.
	Ended(c Conn)
	// Flushed says that Queued has fallen to zero, or is zero and Room, which
	// was, is not.
	Flushed(c Conn)
	// Expired says that the time set with SetTimer has come.
	Expired(c Conn)
	// Stopped says that the server winds down from now on; called once for
	// each open connection.
	Stopped(c Conn)
	// Closed comes once, last. why is nil for an orderly end.
	Closed(c Conn, why error)
}

// Datagrams is a socket that datagrams arrive at, as its handler sees it.
type Datagrams interface {
	Local() netip.AddrPort
	// SendTo queues a copy of p as one datagram to its address. It reports
	// false when the queue is full and the datagram was dropped, or there is nobody to send it to.
	// The zero address is the peer's, on a socket that is connected.
	SendTo(to netip.AddrPort, p []byte) bool
	Now() int64
	// Close closes a socket that Dialer.OpenDatagrams made; nothing is delivered any more. The sockets of
	// listeners are the model's.
	Close()
}

// DatagramHandler gives datagrams a meaning.
type DatagramHandler interface {
	// Datagram brings one datagram; p is only lent for the call. Where the socket is a Unix one, from is a UnixPeer, and
	// zero for a sender whose socket has no name (it has not called bind(2)) and that nobody can answer.
	Datagram(d Datagrams, from netip.AddrPort, p []byte)
}
