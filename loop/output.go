package loop

import (
	"errors"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// sendBytes is about how much one Send carries: enough to be cheap, little enough that a slow peer shows progress.
const sendBytes = 64 << 10

// writable reports that something can be queued: also before the connection is made, but not behind its last byte.
func (c *connection) writable() bool { return c.state <= conn.Open && c.flags&flagLast == 0 }

// Reserve returns space behind the last queued byte, in its block if there is room.
func (c *connection) Reserve(n int) []byte {
	l := c.on()
	if !c.writable() || n > l.blocks.BlockSize() {
		return nil
	}
	w := l.workOf(c)
	if w.open != nil && w.open.Size()-w.filled >= n {
		return w.open.Bytes()[w.filled:]
	}
	if w.memory > l.maxQueue {
		l.end(c, conn.ErrOutputLimit)
		return nil
	}
	b := l.outputBlock(w)
	if b == nil {
		l.scarce(c)
		return nil
	}
	if w.open != nil {
		w.open.Release()
	}
	w.open, w.filled = b, 0
	return b.Bytes()
}

// Commit queues the first used bytes of what Reserve returned: behind the last segment if that lies right before them
// and is not in flight, else as a segment of their own, with a hold of its own.
func (c *connection) Commit(used int) {
	l := c.on()
	w := l.has(c)
	if !c.writable() || w == nil || w.open == nil || used <= 0 {
		return
	}
	last := len(w.queue) - 1
	if last >= w.flying && w.queue[last].block == w.open {
		w.queue[last].to += used
	} else {
		w.open.Hold()
		w.queue = append(w.queue, segment{block: w.open, from: w.filled, to: w.filled + used})
	}
	w.filled += used
	w.queued += int64(used)
	w.memory += int64(used)
	l.mark(c)
}

// Write queues a copy of p.
func (c *connection) Write(p []byte) {
	size := c.on().blocks.BlockSize()
	for len(p) > 0 {
		room := c.Reserve(min(len(p), size/8+1))
		if room == nil {
			return
		}
		n := copy(room, p)
		c.Commit(n)
		p = p[n:]
	}
}

// Send queues bytes of a block that somebody filled.
func (c *connection) Send(b *buf.Block, from, to int) {
	l := c.on()
	if !c.writable() || from == to {
		b.Release()
		return
	}
	w := l.workOf(c)
	w.queue = append(w.queue, segment{block: b, from: from, to: to})
	w.queued += int64(to - from)
	w.memory += int64(to - from)
	l.mark(c)
}

// SendFile queues bytes of a file.
func (c *connection) SendFile(f conn.File, off, n int64) {
	l := c.on()
	if !c.writable() || n <= 0 {
		f.Release()
		return
	}
	w := l.workOf(c)
	w.queue = append(w.queue, segment{file: f, off: off, n: n})
	w.queued += n
	l.mark(c)
}

// Queued counts what the kernel has not taken.
func (c *connection) Queued() int64 {
	if w := c.on().has(c); w != nil {
		return w.queued
	}
	return 0
}

// Unacknowledged asks the kernel what the peer has not acknowledged.
func (c *connection) Unacknowledged() int64 {
	if c.fd < 0 || c.flags&flagClosing != 0 {
		return 0
	}
	fd, done, err := c.on().driver.Descriptor(int(c.fd))
	if err != nil {
		return 0
	}
	defer done()
	return sys.Unacknowledged(fd)
}

// transmit submits the first segments of the queue, if nothing is in flight.
func (l *Loop) transmit(c *connection, w *work) {
	op := driver.Op{Code: driver.Send, FD: int(c.fd), User: uint64(c.index)}
	taken := 0
	for bytes := 0; taken < len(w.queue) && taken <= driver.RestMax; taken++ {
		s := &w.queue[taken]
		if s.file != nil {
			if taken <= 1 { // with at most one piece before it
				op.Code, op.From, op.Off, op.Len = driver.SendFile, s.file.Descriptor(), s.off, int(min(s.n, 1<<30))
				taken++
			} else {
				op.Corked = true
			}
			break
		}
		if bytes += s.to - s.from; bytes > sendBytes && taken > 0 {
			op.Corked = true
			break
		}
		if taken == 0 {
			op.Buf = s.block.Bytes()[s.from:s.to]
		} else {
			w.pieces[taken-1] = s.block.Bytes()[s.from:s.to]
			op.Rest = w.pieces[:taken]
		}
	}
	// An idle connection waits for its peer, so nobody waits to hear that its last answer was taken.
	op.Lazy = c.flags&(flagIdle|flagLast) == flagIdle && taken == len(w.queue) && op.Code == driver.Send
	// The last bytes wait for the FIN that follows, so that both leave in one segment.
	op.Corked = op.Corked || c.state == conn.Draining || c.flags&flagLast != 0
	token, err := l.driver.Submit(op)
	if err != nil {
		l.refused(c, err)
		return
	}
	c.send, w.flying = token, taken
	if op.Lazy {
		c.flags |= flagLazy
	}
}

// refused acts on an operation that the driver did not take.
func (l *Loop) refused(c *connection, err error) {
	if errors.Is(err, driver.ErrFull) {
		l.refusals = append(l.refusals, c.index) // a later turn tries again
		return
	}
	l.end(c, err)
}

// sent takes a completion of what transmit submitted.
func (l *Loop) sent(c *connection, done *driver.Completion) {
	w := l.workOf(c)
	if done.Flags&driver.More == 0 {
		c.send = 0
		if c.flags&flagAwaited != 0 {
			l.awaited--
		}
		c.flags &^= flagLazy | flagAwaited
	}
	if done.Result > 0 {
		c.bytesOut += uint64(done.Result)
		l.meter.Add(meter.BytesOut, int64(done.Result))
		l.consume(w, int64(done.Result))
	}
	if c.send == 0 {
		w.flying = 0
	}
	l.mark(c)
	if done.Err != nil && c.state < conn.Closing {
		if errors.Is(done.Err, driver.ErrShrunk) {
			c.flags |= flagReset // the peer must not take what it has for all
		}
		if !l.outlives(c, done.Err) {
			l.end(c, done.Err)
		}
		return
	}
	if w.queued == 0 && c.state == conn.Open {
		l.handlerOf(c).Flushed(c)
	}
}

// await makes sure that the send in flight is heard of soon, although it may be reported late.
func (l *Loop) await(c *connection) {
	if c.flags&(flagLazy|flagAwaited) == flagLazy {
		c.flags |= flagAwaited
		l.awaited++
		_ = l.driver.Wake() // it may be over already
	}
}

// consume drops n bytes from the front of the queue.
func (l *Loop) consume(w *work, n int64) {
	w.queued -= n
	gone := 0
	for n > 0 {
		s := &w.queue[gone]
		if s.file != nil {
			k := min(n, s.n)
			s.off, s.n, n = s.off+k, s.n-k, n-k
			if s.n > 0 {
				break
			}
			s.file.Release()
		} else {
			k := min(n, int64(s.to-s.from))
			s.from, n = s.from+int(k), n-k
			w.memory -= k
			if s.from < s.to {
				break
			}
			s.block.Release()
		}
		gone++
	}
	w.flying = max(0, w.flying-gone)
	w.queue = w.queue[:copy(w.queue, w.queue[gone:])]
}
