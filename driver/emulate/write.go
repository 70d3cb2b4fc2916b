package emulate

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// How much one descriptor may take of a turn before the others have theirs.
const (
	sendsTurn     = 16      // calls for one Send
	fileTurnBytes = 4 << 20 // of one SendFile
	fileCallBytes = 1 << 20 // of one sendfile(2); beyond this a call is no cheaper per byte
)

// attemptWrite goes on with a write-side operation. True says that it has
// completed; otherwise c must be kept for the next attempt.
func (m *machine) attemptWrite(slot uint32, o *operation, c *cargo) bool {
	switch o.code {
	case driver.Connect:
		return m.connect(slot, o, c)
	case driver.Send:
		return m.send(slot, o, c)
	case driver.SendFile:
		return m.sendFile(slot, o, c)
	case driver.SpliceOut:
		return m.spliceOut(slot, o, c)
	case driver.SendMany:
		return m.sendMany(slot, o, c)
	default:
		return m.sendTo(slot, o, c)
	}
}

// connect asks the same question until the answer is final: connect(2) tells a
// socket that is still trying (EALREADY) from one that has failed, with its
// SO_ERROR, and from one that is connected. So a hint that is wrong does no harm.
func (m *machine) connect(slot uint32, o *operation, c *cargo) bool {
	err := sys.Connect(int(o.fd), c.addr)
	switch err {
	case syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR:
		return !m.park(slot, o, Writable, 0)
	}
	m.finish(slot, o, 0, err, nil)
	return true
}

func (m *machine) send(slot uint32, o *operation, c *cargo) bool {
	flags := 0
	if o.marks&corked != 0 {
		flags = sys.MsgMore
	}
	if !c.advance(0) {
		m.finish(slot, o, c.done, nil, nil)
		return true
	}
	for range sendsTurn {
		var n int
		var err error
		if len(c.rest) == 0 {
			n, err = sys.Send(int(o.fd), c.head, flags)
		} else {
			n, err = sys.SendVector(int(o.fd), c.head, c.rest, flags)
		}
		if err == syscall.EAGAIN {
			return !m.park(slot, o, Writable, c.done)
		}
		if err != nil {
			m.finish(slot, o, c.done, err, nil)
			return true
		}
		c.done += n
		if !c.advance(n) {
			m.finish(slot, o, c.done, nil, nil)
			return true
		}
	}
	m.again(slot, o)
	return false
}

// sendFile reports progress with More, so that whoever watches a slow peer sees
// it move.
func (m *machine) sendFile(slot uint32, o *operation, c *cargo) bool {
	for budget := fileTurnBytes; ; {
		if len(c.head) == 0 && c.left == 0 {
			m.finish(slot, o, c.done, nil, nil)
			return true
		}
		if budget <= 0 {
			m.reportFile(slot, o, c)
			m.again(slot, o)
			return false
		}
		n, err := m.filePiece(o, c, min(budget, fileCallBytes))
		if err == syscall.EAGAIN {
			m.reportFile(slot, o, c)
			return !m.park(slot, o, Writable, 0)
		}
		if err != nil {
			m.finish(slot, o, c.done, err, nil)
			return true
		}
		budget -= n
		c.done += n
	}
}

// filePiece sends some of what goes before the file, or some of the file. A
// broken connection raises no signal here: the runtime ignores SIGPIPE on
// descriptors above 2, and sendfile(2) has no flag against it.
func (m *machine) filePiece(o *operation, c *cargo, most int) (int, error) {
	if len(c.head) > 0 {
		flags := 0
		if c.left > 0 || o.marks&corked != 0 {
			flags = sys.MsgMore
		}
		n, err := sys.Send(int(o.fd), c.head, flags)
		if err == nil {
			c.head = c.head[n:]
		}
		return n, err
	}
	n, err := sys.SendFile(int(o.fd), c.from, c.off, min(c.left, most))
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, driver.ErrShrunk
	}
	c.off += int64(n)
	c.left -= n
	return n, nil
}

func (m *machine) reportFile(slot uint32, o *operation, c *cargo) {
	if c.done > 0 {
		m.progress(slot, o, c.done, nil)
		c.done = 0
	}
}
