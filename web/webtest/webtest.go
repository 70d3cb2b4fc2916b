// Package webtest is a connection in memory for tests of web handlers: bytes are delivered by calls, time moves by
// calls, and what was sent can be looked at. Nothing happens by itself, so a test sees every step.
package webtest

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
)

// BlockSize is the block size of every Conn, in bytes.
const BlockSize = 16 << 10

// Conn is a conn.Conn whose peer is the test. It is used by one goroutine; only Post may be called by others.
type Conn struct {
	// Sent is everything that has left.
	Sent []byte
	// Discard throws away what leaves instead of keeping it in Sent, for benchmarks.
	Discard bool
	// Stuck keeps queued bytes from leaving, as a peer does that reads nothing.
	Stuck bool
	// Taken is what Unacknowledged returns.
	Taken int64
	// Limit, if set, is how much may be queued, files not counted, as serving models limit it: whoever queues more
	// when it has been passed is aborted.
	Limit int
	// Starved has Reserve find no memory.
	Starved bool
	// Crowded has Room be zero.
	Crowded bool
	// Timer is when the timer fires, in the time of Now, or zero.
	Timer int64
	// Idle is what SetIdle said last, Paused whether reading is paused, Pauses how often it has been.
	Idle, Paused bool
	Pauses       int
	// Dials is what Dialer returns.
	Dials conn.Dialer
	// Last says that CloseWrite was called.
	Last bool
	// Watched says that Watch was called, and Lost is what Undelivered reports then.
	Watched, Lost bool
	// Why is what Closed was called with.
	Why error

	handler  conn.Handler
	attached any
	state    conn.State
	rest     []byte
	out      []byte
	files    []piece
	queued   int64
	left     uint64 // bytes that have left in all
	came     uint64 // bytes that have come in all
	now      int64
	stopping bool
	ended    bool

	mu    sync.Mutex
	posts []func(conn.Conn)
}

// piece is a piece of a file behind the first at bytes of out.
type piece struct {
	at     int
	file   conn.File
	off, n int64
}

// start is the wall clock of a new Conn, in Unix seconds.
const start = 784111777

// New makes a connection for a handler, and opens it.
func New(h conn.Handler) *Conn {
	c := &Conn{handler: h, state: conn.Open}
	h.Opened(c)
	return c
}

// Receive delivers bytes, behind those that the handler has not used, and lets a turn end.
func (c *Conn) Receive(p []byte) {
	if c.state != conn.Open || c.ended {
		return
	}
	c.came += uint64(len(p))
	if len(c.rest) == 0 && !c.Paused {
		used := c.received(p)
		if used < len(p) && c.state == conn.Open {
			c.rest = append(c.rest[:0], p[used:]...)
		}
	} else {
		c.rest = append(c.rest, p...)
		c.feed()
	}
	c.Turn()
}

// received gives bytes to the handler and checks what it says about them.
func (c *Conn) received(p []byte) int {
	used := c.handler.Received(c, p)
	if used < 0 || used > len(p) {
		panic(fmt.Sprintf("the handler used %d of %d bytes", used, len(p)))
	}
	return used
}

// feed delivers what waits, unless reading is paused.
func (c *Conn) feed() {
	for len(c.rest) > 0 && !c.Paused && c.state == conn.Open {
		used := c.received(c.rest)
		if used == 0 {
			return
		}
		c.rest = c.rest[:copy(c.rest, c.rest[used:])]
	}
}

// End is the peer's last byte.
func (c *Conn) End() {
	if c.state != conn.Open || c.ended {
		return
	}
	c.ended = true
	if !c.Paused {
		c.handler.Ended(c)
	}
	c.Turn()
}

// Stop winds the server down, as this connection sees it.
func (c *Conn) Stop() {
	c.stopping = true
	if c.state == conn.Open {
		c.handler.Stopped(c)
	}
	c.Turn()
}

// Advance moves time, and fires the timer each time that it comes due.
func (c *Conn) Advance(d time.Duration) {
	until := c.now + int64(d)
	for c.Timer > 0 && c.Timer <= until && c.state < conn.Closing {
		c.now, c.Timer = max(c.now, c.Timer), 0
		c.handler.Expired(c)
		c.Turn()
	}
	c.now = until
}

// Turn ends a turn: what was posted runs, what is queued leaves unless it is stuck, and an end that is due comes.
func (c *Conn) Turn() {
	for {
		c.mu.Lock()
		posts := c.posts
		c.posts = nil
		c.mu.Unlock()
		for _, f := range posts {
			if c.state < conn.Closing {
				f(c)
			}
		}
		if !c.Stuck {
			c.Leave(math.MaxInt64)
		}
		if c.state == conn.Draining && c.queued == 0 {
			c.state = conn.Closing
		}
		if c.state == conn.Closing {
			c.finish()
			return
		}
		c.mu.Lock()
		more := len(c.posts) > 0
		c.mu.Unlock()
		if !more && (c.Stuck || c.queued == 0) {
			return
		}
	}
}

// Leave lets n bytes of what is queued leave, or all of them.
func (c *Conn) Leave(n int64) {
	if c.queued == 0 || c.state >= conn.Closing {
		return
	}
	for n > 0 && c.queued > 0 && c.state < conn.Closing {
		n -= c.leave(n)
	}
	if c.queued == 0 && c.state == conn.Open {
		c.out, c.files = c.out[:0], c.files[:0]
		c.handler.Flushed(c)
	}
}

// leave lets up to n bytes of the first piece leave.
func (c *Conn) leave(n int64) int64 {
	size := len(c.out)
	if len(c.files) > 0 {
		size = c.files[0].at
	}
	if size > 0 {
		k := int(min(n, int64(size)))
		c.left += uint64(k)
		if !c.Discard {
			c.Sent = append(c.Sent, c.out[:k]...)
		}
		c.out = c.out[:copy(c.out, c.out[k:])]
		for i := range c.files {
			c.files[i].at -= k
		}
		c.queued -= int64(k)
		return int64(k)
	}
	f := &c.files[0]
	k := min(n, f.n)
	c.left += uint64(k)
	if !c.Discard {
		b, err := read(f.file, f.off, k)
		c.Sent = append(c.Sent, b...)
		if err != nil {
			c.Abort(err)
			return k
		}
	}
	f.off, f.n, c.queued = f.off+k, f.n-k, c.queued-k
	if f.n == 0 {
		f.file.Release()
		c.files = c.files[:copy(c.files, c.files[1:])]
	}
	return k
}

// read opens the file once more through its descriptor, so that the descriptor's position does not matter.
func read(f conn.File, off, n int64) ([]byte, error) {
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Descriptor()))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := make([]byte, n)
	k, err := file.ReadAt(b, off)
	return b[:k], err
}

// finish closes the connection.
func (c *Conn) finish() {
	for _, f := range c.files {
		f.file.Release()
	}
	c.files, c.out, c.queued = nil, nil, 0
	c.handler.Closed(c, c.Why)
	c.state = conn.Closed
}

// ID is always the same.
func (c *Conn) ID() uint64 { return 7 }

// State is where the connection is in its life.
func (c *Conn) State() conn.State { return c.state }

// Local is the server's address.
func (c *Conn) Local() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:8080") }

// Remote is the client's address.
func (c *Conn) Remote() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:50000") }

// Write queues bytes.
func (c *Conn) Write(p []byte) {
	for block := 4096; c.Limit > 0 && len(p) > block; p = p[block:] {
		c.write(p[:block])
	}
	c.write(p)
}

func (c *Conn) write(p []byte) {
	if c.Limit > 0 && len(c.out) > c.Limit {
		c.Abort(conn.ErrOutputLimit)
	}
	if c.state != conn.Open {
		return
	}
	c.out = append(c.out, p...)
	c.queued += int64(len(p))
}

// Reserve returns space to write into; asking for more than a block is a fault that it does not forgive.
func (c *Conn) Reserve(n int) []byte {
	if n > BlockSize {
		panic(fmt.Sprintf("%d bytes reserved, more than a block", n))
	}
	if c.Starved || c.Limit > 0 && len(c.out) > c.Limit {
		c.Abort(conn.ErrOutputLimit)
	}
	if c.state != conn.Open {
		return nil
	}
	if cap(c.out)-len(c.out) < n {
		c.out = append(make([]byte, 0, 2*cap(c.out)+BlockSize), c.out...)
	}
	return c.out[len(c.out):cap(c.out)]
}

// Commit queues what was written into the space.
func (c *Conn) Commit(used int) {
	c.out = c.out[:len(c.out)+used]
	c.queued += int64(used)
}

// Send queues a piece of a block.
func (c *Conn) Send(b *buf.Block, from, to int) {
	c.Write(b.Bytes()[from:to])
	b.Release()
}

// SendFile queues a piece of a file.
func (c *Conn) SendFile(f conn.File, off, n int64) {
	if c.state != conn.Open || n <= 0 {
		f.Release()
		return
	}
	c.files = append(c.files, piece{len(c.out), f, off, n})
	c.queued += n
}

// Queued is how many bytes have not left.
func (c *Conn) Queued() int64 { return c.queued }

// Pause stops delivery.
func (c *Conn) Pause() {
	if !c.Paused {
		c.Pauses++
	}
	c.Paused = true
}

// Resume lets delivery go on, at the end of the turn.
func (c *Conn) Resume() {
	if !c.Paused {
		return
	}
	c.Paused = false
	if len(c.rest) == 0 && !c.ended {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posts = append(c.posts, func(conn.Conn) {
		c.feed()
		if c.ended && !c.Paused && c.state == conn.Open {
			c.handler.Ended(c)
		}
	})
}

// Now is what Advance has made of it.
func (c *Conn) Now() int64 { return c.now }

// Wall begins in 1994.
func (c *Conn) Wall() int64 { return start + c.now/int64(time.Second) }

// SetTimer sets the timer.
func (c *Conn) SetTimer(ns int64) {
	c.Timer = 0
	if ns > 0 && ns < math.MaxInt64-c.now {
		c.Timer = c.now + ns
	}
}

// SetIdle notes what it is told.
func (c *Conn) SetIdle(idle bool) { c.Idle = idle }

// Attach keeps v.
func (c *Conn) Attach(v any) { c.attached = v }

// Attached is what was kept.
func (c *Conn) Attached() any { return c.attached }

// Stopping says whether Stop was called.
func (c *Conn) Stopping() bool { return c.stopping }

// Drain lets the connection end behind what is queued.
func (c *Conn) Drain() {
	if c.state == conn.Open {
		c.state = conn.Draining
	}
}

// Abort ends the connection at the end of the turn.
func (c *Conn) Abort(why error) {
	if c.state < conn.Closing {
		c.state, c.Why = conn.Closing, why
	}
}

// Ref reaches the connection from any goroutine; what was posted runs in the next Turn.
func (c *Conn) Ref() conn.Ref { return conn.Ref{Door: c, ID: c.ID()} }

// Post has f run in the next Turn.
func (c *Conn) Post(_ uint64, f func(conn.Conn)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posts = append(c.posts, f)
	return true
}
