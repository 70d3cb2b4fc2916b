package serve

import (
	"errors"
	"math"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// errStuck ends a connection whose handler uses nothing of a full block.
var errStuck = errors.New("the handler used nothing of a full block")

const (
	// lingerTime is how long the peer's end is awaited after our own, so that what is on its way from the peer does
	// not make the kernel answer with a reset, which would destroy what the peer has not read yet.
	lingerTime = int64(2 * time.Second)
	// grace is how long a connection is idle before it makes room for one that only waits to be served.
	grace = int64(100 * time.Millisecond)
)

// arrival is what a receive brought.
type arrival struct {
	block  *block
	filled int // bytes in the block, rest included
	fresh  int // of which these are new; zero is the peer's end
	err    error
	any    bool
}

// run serves the connection to its end: wait, take what came, tell the handler, send. Input comes before time, so
// that bytes which came just in time count, and output last.
func (c *connection) run() {
	c.now = c.site.clock()
	c.handler.Opened(c)
	for c.state < conn.Closing {
		if more := c.settle(); c.state >= conn.Closing {
			break
		} else if more {
			if c.wantsInput() {
				c.receive(c.fd)
			}
		} else {
			c.account()
			if err := c.gate.await(c, c.wantsInput(), len(c.queue) > 0, c.until()); err != nil {
				c.abort(err)
			}
		}
		c.now = c.site.clock()
		c.digest()
		if c.posted.Load() {
			c.takePosts()
		}
		c.expire()
		c.obey()
	}
	c.close()
}

// until is when the next wait must end at the latest; zero is never.
func (c *connection) until() int64 {
	until := int64(math.MaxInt64)
	if c.timer != 0 {
		until = c.timer
	}
	if c.linger != 0 {
		until = min(until, c.linger)
	}
	if stop := c.at.stopAt(); stop != 0 {
		until = min(until, stop)
	}
	if c.tellAt != 0 && c.flags&told == 0 {
		until = min(until, c.tellAt)
	}
	if since := c.idle.Load(); since > 0 && c.site.patient && c.now < since+grace {
		until = min(until, since+grace)
	}
	if until == math.MaxInt64 {
		return 0
	}
	return until
}

// wantsInput reports whether bytes are to be received. While draining they are received to be thrown away.
func (c *connection) wantsInput() bool {
	return c.flags&ended == 0 && (c.flags&paused == 0 || c.state == conn.Draining) && !c.hungry.Load()
}

// receive attempts to receive behind the rest, and reports whether the wait is over. It holds a block only if bytes
// have come. It is called by the gate, or without it.
func (c *connection) receive(fd int) bool {
	if c.state == conn.Draining {
		c.dropRest()
	}
	if len(c.rest) == c.site.blocks.size {
		return true // the handler looks at it again first
	}
	b := c.restIn
	if b == nil {
		if b = c.takeBlock(); b == nil {
			return true
		}
	}
	kept := copy(b.data, c.rest) // overlapping is fine: it moves forward
	if c.restIn != nil {
		c.rest = b.data[:kept]
	}
	n, err := sys.Recv(fd, b.data[kept:], sys.MsgDontWait)
	c.flags &^= eager
	if err == nil && n == len(b.data)-kept {
		c.flags |= eager
	}
	if err != nil && b != c.restIn {
		c.site.blocks.release(b)
		b = nil
	}
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	c.arrived = arrival{block: b, filled: kept + max(n, 0), fresh: n, err: err, any: true}
	return true
}

// takeBlock takes a block for input, or has the connection told when there is one.
func (c *connection) takeBlock() *block {
	if b := c.site.blocks.takeInput(); b != nil {
		return b
	}
	c.gate.hear()
	c.site.blocks.await(c)
	b := c.site.blocks.takeInput()
	if b != nil {
		c.site.blocks.leave(c)
	}
	return b
}

// digest gives the handler what was received.
func (c *connection) digest() {
	if !c.arrived.any {
		return
	}
	a := c.arrived
	c.arrived = arrival{}
	switch {
	case a.err != nil:
		c.end(a.err)
	case a.fresh == 0:
		if a.block != c.restIn {
			c.site.blocks.release(a.block)
		}
		c.flags |= ended
		// To a connection that is to make room, its own gate may have sent what looks like the peer's end.
		if c.state == conn.Open && c.idle.Load() != dropped {
			c.handler.Ended(c)
		}
	default:
		if c.fresh.Load() {
			c.fresh.Store(false)
		}
		c.bytesIn += int64(a.fresh)
		c.received += uint64(a.fresh)
		c.rest, c.restIn = a.block.data[:a.filled], a.block
		c.feed()
	}
}

// feed brings what there is to the handler, and keeps what it does not use.
func (c *connection) feed() {
	if c.state != conn.Open {
		c.dropRest() // draining: what still comes is thrown away
		return
	}
	if len(c.rest) == 0 {
		return
	}
	c.flags |= receiving
	used := c.handler.Received(c, c.rest)
	c.flags &^= receiving
	if used == 0 {
		c.flags &^= refeed // a handler that pauses and resumes without using anything would be called for ever
	}
	switch {
	case used >= len(c.rest):
		c.dropRest()
		return
	case used == 0 && len(c.rest) == c.site.blocks.size && c.flags&paused == 0 && c.state == conn.Open:
		c.abort(errStuck)
		return
	}
	c.rest = c.rest[used:]
	// Little of it moves to memory of its own size, so that ten thousand slow peers do not hold ten thousand blocks.
	if c.restIn != nil && len(c.rest)*4 <= c.site.blocks.size {
		c.rest = append([]byte(nil), c.rest...)
		c.site.blocks.release(c.restIn)
		c.restIn = nil
	}
}

func (c *connection) dropRest() {
	c.rest = nil
	if c.restIn != nil {
		c.site.blocks.release(c.restIn)
		c.restIn = nil
	}
}

// takePosts runs what others have posted.
func (c *connection) takePosts() {
	c.mu.Lock()
	posts := c.posts
	c.posts = c.spare[:0]
	c.posted.Store(false)
	c.mu.Unlock()
	for i, f := range posts {
		if c.state < conn.Closing {
			f(c)
		}
		posts[i] = nil
	}
	c.spare = posts
	c.site.meter.AddShared(meter.Posts, int64(len(posts)))
}

// expire acts on the times that have come.
func (c *connection) expire() {
	if c.linger != 0 && c.now >= c.linger {
		c.end(nil) // the peer's end did not come in time
	}
	if c.timer == 0 || c.now < c.timer || c.state > conn.Draining {
		return
	}
	c.timer = 0
	if c.state == conn.Open || len(c.queue) > 0 {
		c.handler.Expired(c)
	}
}

// obey acts on what the site wants of the connection.
func (c *connection) obey() {
	if c.state >= conn.Closing {
		return
	}
	if c.at.stopping() {
		if c.flags&told == 0 && c.tellable() {
			c.flags |= told
			if c.state == conn.Open {
				c.handler.Stopped(c)
			}
		}
		if c.site.killed.Load() || c.now >= c.at.stopAt() {
			c.abort(conn.ErrStopping)
			return
		}
	}
	since := c.idle.Load()
	if since > 0 && c.site.patient && c.now >= since+grace && c.site.crowded() {
		c.idle.CompareAndSwap(since, dropped)
		since = dropped
	}
	if since != dropped || c.state != conn.Open || c.queued > 0 {
		return // with output still to go it is not at rest yet
	}
	if len(c.rest) == 0 && c.wantsInput() && c.receive(c.fd) && c.arrived.fresh > 0 {
		c.digest() // it came just in time; SetIdle(false) keeps the connection
	}
	if c.idle.Load() == dropped {
		c.arrived.discard(c)
		c.end(conn.ErrPressure)
	}
}

// discard gives the block of an arrival back that nobody will look at.
func (a *arrival) discard(c *connection) {
	if a.block != nil && a.block != c.restIn {
		c.site.blocks.release(a.block)
	}
	*a = arrival{}
}

// settle ends a turn: output goes out. It reports whether there is more to do before anything is waited for.
func (c *connection) settle() (more bool) {
	if c.flags&(refeed|paused) == refeed {
		c.flags &^= refeed
		c.feed()
	}
	if len(c.queue) > 0 && c.state < conn.Closing {
		more = c.flush()
		if len(c.queue) == 0 && c.state == conn.Open {
			c.handler.Flushed(c)
			more = len(c.queue) > 0
		}
	}
	if c.flags&(last|halved) == last && len(c.queue) == 0 && c.state == conn.Open {
		c.flags |= halved
		_ = sys.Shutdown(c.fd, 1) // that it fails means that the peer was faster
	}
	if c.state == conn.Draining && len(c.queue) == 0 {
		c.finish()
	}
	if c.state == conn.Open && len(c.queue) == 0 && c.idle.Load() == dropped {
		more = true // obey has waited for the output
	}
	if c.flags&told == 0 && c.tellAt == 0 && c.at.stopping() {
		more = true // a connection that begins after the stop is woken by nobody
	}
	return more || c.flags&(refeed|paused) == refeed || c.posted.Load()
}

// finish continues an orderly end after the last byte was taken: our end, then the peer's, then close.
func (c *connection) finish() {
	if c.flags&ended != 0 {
		c.end(nil)
		return
	}
	if c.flags&final != 0 {
		return
	}
	c.flags |= final
	c.flags &^= paused
	c.dropRest()
	c.timer = 0
	c.linger = c.now + lingerTime
	if err := sys.Shutdown(c.fd, 1); err != nil {
		c.end(nil) // the peer was faster
	}
}

// account counts what was moved since the last wait.
func (c *connection) account() {
	c.show()
	if c.bytesIn > 0 {
		c.site.meter.AddShared(meter.BytesIn, c.bytesIn)
		c.bytesIn = 0
	}
	if c.bytesOut > 0 {
		c.site.meter.AddShared(meter.BytesOut, c.bytesOut)
		c.bytesOut = 0
	}
}

// close shuts the door, closes the descriptor, and tells the handler.
func (c *connection) close() {
	c.account()
	c.depart()
	c.site.blocks.leave(c)
	if c.flags&reset != 0 {
		_ = sys.SetLinger(c.fd, 0) // what is not a TCP socket has no reset
	}
	c.mu.Lock()
	c.id = 0
	clear(c.posts)
	c.posts = c.posts[:0]
	c.posted.Store(false)
	c.gate.close()
	c.mu.Unlock()
	c.fd = -1
	c.arrived.discard(c)
	c.dropRest()
	c.dropQueue()
	c.handler.Closed(c, c.why)
	c.state, c.attached, c.why = conn.Closed, nil, nil
	c.idle.Store(atWork)
}
