package serve

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
)

// lastID counts the connections of all sites of the process. The low bits of an ID are
// all ones, which those that loops give out never are: a loop has one slot less.
var lastID atomic.Uint64

const idBits = 24

func nextID() uint64 { return lastID.Add(1)<<idBits | (1<<idBits - 1) }

// The values of connection.idle besides a time.
const (
	atWork  = 0
	dropped = -1 // it is to be closed, to make room
)

// connection is a seat for one connection at a time, with a handler that goes with the
// seat. All of it belongs to the thread of control that serves it, but for what says
// otherwise.
type connection struct {
	site     *Blocking
	handler  conn.Handler
	at       *listening
	life     int // of at, when the seat was made
	gate     gate
	fd       int
	number   uint64
	state    conn.State
	flags    flags
	now      int64
	tellAt   int64 // when Stopped is due because the listener is left, or zero
	timer    int64 // when Expired is due, or zero
	linger   int64 // when to give up waiting for the peer's end, or zero
	attached any
	why      error

	arrived arrival
	rest    []byte // input the handler has not used
	restIn  *block // where it lies; nil for memory of its own

	queue    []segment
	queued   int64
	memory   int64 // queued, without files
	pieces   [maxPieces][]byte
	bytesIn  int64 // since the last account
	bytesOut int64
	received uint64 // since it was accepted
	sent     uint64
	requests uint32 // see CountRequest

	idle   atomic.Int64 // since when, atWork, or dropped
	fresh  atomic.Bool  // nothing has come yet
	hungry atomic.Bool  // in line for a block
	posted atomic.Bool  // posts is not empty

	mu    sync.Mutex // for what follows, and around the life of the descriptor
	id    uint64     // as number, while the door is open; zero otherwise
	face  face
	posts []func(conn.Conn)
	spare []func(conn.Conn)
}

// flags are facts beside the state; each may hold in several states.
type flags uint16

const (
	paused    flags = 1 << iota // Pause
	ended                       // the peer has sent its last byte
	final                       // our FIN is on its way
	reset                       // close with a reset
	refeed                      // Resume: the rest comes again
	receiving                   // inside Handler.Received
	told                        // Handler.Stopped was called
	eager                       // the last receive filled its block: there is more
	last                        // CloseWrite: our FIN follows what is queued
	halved                      // and it has been sent
)

// ID is unique in the process.
func (c *connection) ID() uint64 { return c.number }

// State is where the connection is in its life.
func (c *connection) State() conn.State { return c.state }

// Local is the socket's own address.
func (c *connection) Local() netip.AddrPort { return c.address(sys.LocalAddress) }

// Remote is the peer's address.
func (c *connection) Remote() netip.AddrPort { return c.address(sys.RemoteAddress) }

func (c *connection) address(of func(int) (netip.AddrPort, error)) netip.AddrPort {
	if c.fd < 0 {
		return netip.AddrPort{}
	}
	a, _ := of(c.fd) // an address that is gone is the zero address
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Now is the time of the turn.
func (c *connection) Now() int64 { return c.now }

// Wall is the time in Unix seconds.
func (c *connection) Wall() int64 { return time.Now().Unix() }

// SetTimer asks for Expired.
func (c *connection) SetTimer(ns int64) {
	c.timer = 0
	if ns > 0 && c.state <= conn.Draining {
		c.timer = max(c.now+ns, 1)
	}
}

// SetIdle says whether the connection waits between two exchanges. What another thread
// of control has decided in the meantime, to drop it, is undone by work.
func (c *connection) SetIdle(idle bool) {
	if !idle {
		c.idle.Store(atWork)
		return
	}
	if was := c.idle.Load(); was != dropped {
		c.idle.CompareAndSwap(was, max(c.now, 1))
	}
}

// Attach keeps v.
func (c *connection) Attach(v any) { c.attached = v }

// Attached is what was kept.
func (c *connection) Attached() any { return c.attached }

// Stopping reports that the server winds down.
func (c *connection) Stopping() bool { return c.at.stopping() }

// Ref lets others in. From now on they can wake this connection.
func (c *connection) Ref() conn.Ref {
	c.gate.hear()
	return conn.Ref{Door: c, ID: c.number}
}

// Post runs f on the connection's own thread of control.
func (c *connection) Post(id uint64, f func(conn.Conn)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id != id {
		return false
	}
	c.posts = append(c.posts, f)
	c.posted.Store(true)
	c.gate.wake()
	return true
}

// wake ends a wait in progress, or the next one. From any goroutine.
func (c *connection) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id != 0 {
		c.gate.wake()
	}
}

// drop closes the connection to make room, if it has been idle since then and nothing
// comes in the meantime. From any goroutine.
func (c *connection) drop(since int64) bool {
	if !c.idle.CompareAndSwap(since, dropped) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id != 0 {
		c.gate.disturb()
	}
	return true
}

// Pause stops reading.
func (c *connection) Pause() { c.flags |= paused }

// Resume reads again; unused bytes come again at the end of the turn.
func (c *connection) Resume() {
	if c.flags&paused == 0 {
		return
	}
	c.flags &^= paused
	c.flags |= refeed
}

// Drain sends what is queued, then ends the connection in order.
func (c *connection) Drain() {
	if c.state == conn.Open {
		c.state = conn.Draining
	}
}

// Abort ends the connection at once, with a reset.
func (c *connection) Abort(why error) {
	if why == nil {
		why = conn.ErrAborted
	}
	c.abort(why)
}

func (c *connection) abort(why error) {
	c.flags |= reset
	c.end(why)
}

// end begins the end, with a reason that the handler is told.
func (c *connection) end(why error) {
	if c.state < conn.Closing {
		c.state, c.why = conn.Closing, why
	}
}
