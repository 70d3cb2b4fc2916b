package sim

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
)

// firstPipe is the lowest descriptor of a simulated pipe; even ones are ends to read from.
const firstPipe = 1 << 27

// conduit is the kernel's side of a driver.Pipe.
type conduit struct {
	pipe
	ends int // open ones
}

// Pipes is a pool of simulated pipes. They count as descriptors, two each.
func (k *Kernel) Pipes(limit int) *driver.Pipes {
	return driver.NewPipes(limit, k.openPipe, k.closePipe)
}

func (k *Kernel) openPipe() (read, write int, err error) {
	if k.open+2 > k.options.Descriptors {
		return 0, 0, syscall.EMFILE
	}
	k.open += 2
	index := 0
	for index < len(k.conduits) && k.conduits[index].ends > 0 {
		index++
	}
	if index == len(k.conduits) {
		k.conduits = append(k.conduits, nil)
	}
	k.conduits[index] = &conduit{pipe: pipe{limit: 1 + k.rand.IntN(1<<16)}, ends: 2}
	return firstPipe + 2*index, firstPipe + 2*index + 1, nil
}

func (k *Kernel) closePipe(fd int) error {
	c := k.conduit(fd)
	if c == nil {
		k.Fail("an end of a pipe was closed twice")
		return errNotOpen
	}
	c.ends--
	k.open--
	return nil
}

// conduit is the open pipe of one of its ends, or nil.
func (k *Kernel) conduit(fd int) *conduit {
	index := (fd - firstPipe) / 2
	if fd < firstPipe || index >= len(k.conduits) || k.conduits[index].ends == 0 {
		return nil
	}
	return k.conduits[index]
}

func (m *machine) spliceIn(o *operation) {
	k, s := m.kernel, o.d.stream
	if s.in.size() == 0 {
		m.receiveNothing(o, s)
		return
	}
	p := m.pipes.Take()
	if p != nil && k.chance(k.faults.NoBlock) {
		p.Release()
		p = nil
	}
	if p == nil {
		m.finish(o, 0, driver.ErrNoPipe, nil)
		return
	}
	c := k.conduit(p.Write)
	if c.size() > 0 {
		k.Fail("a pipe of the pool holds %d bytes", c.size())
	}
	n := min(s.in.size(), o.op.Len, c.limit)
	if k.chance(k.faults.ShortRead) {
		n = 1 + k.rand.IntN(n)
	}
	if s.in.room() == 0 {
		s.peer.nudge()
	}
	moved := make([]byte, n)
	s.in.read(moved)
	c.write(moved)
	p.Bytes = n
	m.finish(o, n, nil, nil)
	m.ready[len(m.ready)-1].Pipe = p
}

func (m *machine) spliceOut(o *operation) {
	k, s, p := m.kernel, o.d.stream, o.op.Pipe
	c := k.conduit(p.Read)
	for p.Bytes > 0 {
		if err := s.broken(); err != nil {
			m.finish(o, 0, err, nil)
			return
		}
		before := o.done
		more := m.pour(s, o, c.data[c.head:])
		c.read(make([]byte, o.done-before))
		p.Bytes -= o.done - before
		if more == 0 && p.Bytes > 0 {
			break
		}
	}
	switch n := o.done - o.reported; {
	case p.Bytes == 0:
		m.finish(o, 0, nil, nil)
	case n > 0:
		o.reported = o.done
		m.progress(o, n, nil)
	}
}

// checkPipe fails the run if the loop may not submit the SpliceOut now.
func (m *machine) checkPipe(op *driver.Op) {
	k := m.kernel
	if op.Pipe == nil || k.conduit(op.Pipe.Read) == nil {
		k.Fail("SpliceOut without a pipe")
	} else if n := k.conduit(op.Pipe.Read).size(); n != op.Pipe.Bytes || n == 0 {
		k.Fail("SpliceOut of a pipe that is said to hold %d bytes and holds %d", op.Pipe.Bytes, n)
	}
}
