package serve

import (
	"errors"
	"syscall"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	maxPieces  = 16       // of one send
	turnBytes  = 4 << 20  // after so much output the connection looks at its other duties
	sendBytes  = 64 << 10 // about as much as one send carries
	fileBytes  = 1 << 20  // at most as much as one sendfile carries
	keptQueue  = 16       // segments whose memory a seat keeps
	writeShare = 8        // Write wants this part of a block free before it takes another
)

// segment is a piece of output: bytes of a block of ours, of a block of the handler's, or of a file.
type segment struct {
	own      *block
	lent     *buf.Block
	file     conn.File
	from, to int
	off, n   int64
}

func (s *segment) bytes() []byte {
	if s.own != nil {
		return s.own.data[s.from:s.to]
	}
	return s.lent.Bytes()[s.from:s.to]
}

func (s *segment) release(c *connection) {
	switch {
	case s.own != nil:
		c.site.blocks.release(s.own)
	case s.lent != nil:
		s.lent.Release()
	case s.file != nil:
		s.file.Release()
	}
	*s = segment{}
}

// Reserve returns space behind the last queued byte, in its block if there is room.
func (c *connection) Reserve(n int) []byte {
	if !c.writable() || n > c.site.blocks.size {
		return nil
	}
	if last := len(c.queue) - 1; last >= 0 {
		if s := &c.queue[last]; s.own != nil && len(s.own.data)-s.to >= n {
			return s.own.data[s.to:]
		}
	}
	if c.memory > c.site.limits.OutputBytes {
		c.abort(conn.ErrOutputLimit)
		return nil
	}
	b := c.site.blocks.takeOutput(c.memory)
	if b == nil {
		c.abort(syscall.ENOBUFS)
		return nil
	}
	c.queue = append(c.queue, segment{own: b})
	return b.data
}

// Commit queues the first used bytes of what Reserve returned.
func (c *connection) Commit(used int) {
	if !c.writable() || len(c.queue) == 0 {
		return
	}
	c.queue[len(c.queue)-1].to += used
	c.queued += int64(used)
	c.memory += int64(used)
	c.checkMemory()
}

// Write queues a copy of p.
func (c *connection) Write(p []byte) {
	for len(p) > 0 {
		room := c.Reserve(min(len(p), c.site.blocks.size/writeShare))
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
	if !c.writable() || from >= to {
		b.Release()
		return
	}
	c.queue = append(c.queue, segment{lent: b, from: from, to: to})
	c.queued += int64(to - from)
	c.memory += int64(to - from)
	c.checkMemory()
}

// writable reports that something can be queued.
func (c *connection) writable() bool { return c.state == conn.Open && c.flags&last == 0 }

// checkMemory ends a connection that has more queued than it may.
func (c *connection) checkMemory() {
	if c.memory > c.site.limits.OutputBytes {
		c.abort(conn.ErrOutputLimit)
	}
}

// SendFile queues bytes of a file.
func (c *connection) SendFile(f conn.File, off, n int64) {
	if !c.writable() || n <= 0 {
		f.Release()
		return
	}
	c.queue = append(c.queue, segment{file: f, off: off, n: n})
	c.queued += n
}

// Queued counts what the kernel has not taken.
func (c *connection) Queued() int64 { return c.queued }

// Room is what may be queued; with nothing queued, a block at least, because nobody says when there is more.
func (c *connection) Room() int64 {
	if !c.writable() {
		return 0
	}
	b := c.site.blocks
	room := c.site.limits.OutputBytes - c.memory
	if b.lent.Load() > b.limit/2 {
		room = min(room, int64(fairBlocks*b.size)-c.memory)
	}
	return max(room, 0)
}

// flush gives the kernel as much of the queue as it takes. It reports whether it stopped for another reason than that.
func (c *connection) flush() (more bool) {
	for sent := 0; len(c.queue) > 0; {
		n, err := c.transmit()
		if n > 0 {
			sent += n
			c.bytesOut += int64(n)
			c.sent += uint64(n)
			c.consume(int64(n))
		}
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil:
			if errors.Is(err, driver.ErrShrunk) {
				c.flags |= reset // the peer must not take what it has for all
			}
			c.end(err)
			return false
		case sent >= turnBytes:
			return len(c.queue) > 0
		}
	}
	return false
}

// transmit makes one system call for the first segments of the queue.
func (c *connection) transmit() (int, error) {
	first := &c.queue[0]
	if first.file != nil {
		want := int(min(first.n, fileBytes))
		n, err := sys.SendFileSlowly(c.fd, first.file.Descriptor(), first.off, want)
		if err == nil && n == 0 {
			err = driver.ErrShrunk
		}
		return n, err
	}
	taken, size, flags := 0, 0, sys.MsgDontWait
	for taken < len(c.queue) && taken < maxPieces && size < sendBytes {
		s := &c.queue[taken]
		if s.file != nil {
			flags |= sys.MsgMore
			break
		}
		c.pieces[taken] = s.bytes()
		size += s.to - s.from
		taken++
	}
	if size == 0 { // reserved and not used
		c.consume(0)
		return 0, nil
	}
	var n int
	var err error
	if taken == 1 {
		n, err = sys.Send(c.fd, c.pieces[0], flags)
	} else {
		n, err = sys.SendVector(c.fd, c.pieces[0], c.pieces[1:taken], flags)
	}
	clear(c.pieces[:taken])
	return max(n, 0), err
}

// consume drops n bytes from the front of the queue, and whatever is empty behind them.
func (c *connection) consume(n int64) {
	c.queued -= n
	gone := 0
	for gone < len(c.queue) {
		s := &c.queue[gone]
		if s.file != nil {
			k := min(n, s.n)
			s.off, s.n, n = s.off+k, s.n-k, n-k
			if s.n > 0 {
				break
			}
		} else {
			k := min(n, int64(s.to-s.from))
			s.from, n = s.from+int(k), n-k
			c.memory -= k
			if s.from < s.to {
				break
			}
		}
		s.release(c)
		gone++
	}
	if gone == 0 {
		return
	}
	kept := copy(c.queue, c.queue[gone:])
	clear(c.queue[kept:])
	c.queue = c.queue[:kept]
}

func (c *connection) dropQueue() {
	for i := range c.queue {
		c.queue[i].release(c)
	}
	c.queue, c.queued, c.memory = c.queue[:0], 0, 0
	if cap(c.queue) > keptQueue {
		c.queue = nil
	}
}
