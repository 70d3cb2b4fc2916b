package emulate

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// spliceIn moves bytes into a pipe of the pool. The pipe is empty before, so EAGAIN can only mean that the socket is.
// How much one call brings is no measure of what there is: the pipe may be full.
func (m *machine) spliceIn(slot uint32, o *operation) {
	if m.urgent >= m.room {
		m.again(slot, o)
		return
	}
	p := m.pipes.Take()
	if p == nil {
		m.lackPipe(slot, o)
		return
	}
	n, err := sys.Splice(p.Write, int(o.fd), int(o.next))
	if err != nil || n == 0 {
		p.Release()
		m.receivedNothing(slot, o, err)
		return
	}
	p.Bytes = n
	m.finish(slot, o, n, nil, nil)
	m.results.items[len(m.results.items)-1].Pipe = p
}

// lackPipe looks whether there is anything for which a pipe is missing. The end of a stream needs none.
func (m *machine) lackPipe(slot uint32, o *operation) {
	n, err := sys.Recv(int(o.fd), m.peek[:], sys.MsgPeek)
	if err == nil && n > 0 {
		err = driver.ErrNoPipe
	}
	m.receivedNothing(slot, o, err)
}

// spliceOut empties a pipe. There are bytes in it, so EAGAIN can only mean that the socket is full. Progress is
// reported with More, so that whoever watches a slow peer sees it move.
func (m *machine) spliceOut(slot uint32, o *operation, c *cargo) bool {
	for c.pipe.Bytes > 0 {
		n, err := sys.Splice(int(o.fd), c.pipe.Read, c.pipe.Bytes)
		if err == nil && n == 0 {
			err = syscall.EPIPE
		}
		if err == syscall.EAGAIN {
			m.reportFile(slot, o, c)
			return !m.park(slot, o, Writable, 0)
		}
		if err != nil {
			m.finish(slot, o, c.done, err, nil)
			return true
		}
		c.pipe.Bytes -= n
		c.done += n
	}
	m.finish(slot, o, c.done, nil, nil)
	return true
}

// release gives a pipe back, if there is one.
func release(p *driver.Pipe) {
	if p != nil {
		p.Release()
	}
}
