package emulate

import (
	"syscall"

	"github.com/myriad-server/myriad/internal/sys"
)

// Part forgets a descriptor without closing it.
func (m *machine) Part(fd int) (int, error) {
	e := m.entry(fd)
	switch {
	case m.closed:
		return 0, ErrClosed
	case e == nil:
		return 0, syscall.EBADF
	case e.read != 0 || e.write != 0:
		return 0, syscall.EBUSY
	}
	if e.marks&gathering != 0 {
		_ = sys.Gather(fd, false)
	}
	m.poller.Part(fd)
	*e = entry{}
	return fd, nil
}
