// Package epoll is the driver on epoll(7).
//
// By default it is edge-triggered, and a descriptor is registered once, for both
// directions and for good: a request costs no epoll_ctl(2). With Options.Level it
// is level-triggered and tells the kernel of each change of interest, which is how
// most programs use epoll; it is there to be compared.
package epoll

import (
	"fmt"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// Factory describes the driver.
var Factory = driver.Factory{
	Name:  "epoll",
	What:  "the kernel keeps the set of descriptors and returns only those that are ready",
	Rank:  40,
	Probe: probe,
	Open:  open,
}

func probe() driver.Support {
	fd, err := sys.Epoll()
	if err != nil {
		return driver.Support{
			Why: fmt.Sprintf("epoll_create1: %v", err),
			Fix: "raise the limit on descriptors (ulimit -n), or allow epoll_create1 in the seccomp filter",
		}
	}
	return driver.Support{OK: sys.Close(fd) == nil}
}

func open(o driver.Options) (driver.Driver, error) {
	fd, err := sys.Epoll()
	if err != nil {
		return nil, fmt.Errorf("driver epoll: epoll_create1: %w", err)
	}
	wake, err := sys.Eventfd()
	if err != nil {
		_ = sys.Close(fd)
		return nil, fmt.Errorf("driver epoll: eventfd: %w", err)
	}
	p := &poller{fd: fd, wake: wake, level: o.Level}
	// An edge on the eventfd comes with every write, so nobody needs to read it.
	if err := sys.EpollControl(fd, sys.EpollAdd, wake, sys.EpollIn|sys.EpollEdge); err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("driver epoll: epoll_ctl: %w", err)
	}
	return emulate.New(p, o, 0)
}

type poller struct {
	events [256]sys.EpollEvent
	known  []uint64 // a bit for each registered descriptor
	fd     int
	wake   int
	level  bool
}

func (p *poller) Name() string { return Factory.Name }

// always is what an edge-triggered descriptor is registered for.
const always = sys.EpollIn | sys.EpollOut | sys.EpollReadHup | sys.EpollUrgent | sys.EpollEdge

func (p *poller) Set(fd int, _, want emulate.Interest) error {
	word, bit := fd/64, uint64(1)<<(fd%64)
	if word >= len(p.known) {
		p.known = append(p.known, make([]uint64, word+1-len(p.known))...)
	}
	registered := p.known[word]&bit != 0
	events := uint32(always)
	operation := sys.EpollAdd
	switch {
	case !p.level && registered:
		return nil
	case p.level && registered && want == 0:
		operation = sys.EpollDelete
	case p.level:
		events = wanted(want)
		if registered {
			operation = sys.EpollModify
		}
	}
	if err := sys.EpollControl(p.fd, operation, fd, events); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	p.known[word] |= bit
	if operation == sys.EpollDelete {
		p.known[word] &^= bit
	}
	return nil
}

// wanted is interest as level-triggered events. A hang-up of the peer counts as
// readable, so it is asked for only with that.
func wanted(want emulate.Interest) (events uint32) {
	if want&emulate.Readable != 0 {
		events |= sys.EpollIn | sys.EpollReadHup
	}
	if want&emulate.Writable != 0 {
		events |= sys.EpollOut
	}
	return events
}

func (p *poller) Poll(dst []emulate.Hint, d time.Duration) (n int, lost bool, err error) {
	count, err := sys.EpollWait(p.fd, p.events[:min(len(p.events), len(dst))], d)
	for _, event := range p.events[:count] {
		if int(event.Fd) == p.wake {
			continue
		}
		dst[n] = emulate.Hint{FD: int(event.Fd), What: hinted(event.Events)}
		n++
	}
	if count > 0 && n == 0 {
		err = syscall.EINTR // woken
	}
	return n, false, err
}

func hinted(events uint32) (what emulate.Interest) {
	if events&sys.EpollIn != 0 {
		what |= emulate.Readable
	}
	if events&sys.EpollOut != 0 {
		what |= emulate.Writable
	}
	if events&(sys.EpollReadHup|sys.EpollUrgent) != 0 {
		what |= emulate.Readable | emulate.Hangup
	}
	if events&(sys.EpollHup|sys.EpollError) != 0 {
		what |= emulate.Readable | emulate.Writable | emulate.Hangup
	}
	return what
}

func (p *poller) Wake() error { return sys.Notify(p.wake) }

// Gone forgets a descriptor. The kernel forgets it by itself when it is closed,
// unless somebody else holds the same open file: then its events go on coming under
// a number that means something else. An edge does no harm; a level would never end.
func (p *poller) Gone(fd int) {
	word, bit := fd/64, uint64(1)<<(fd%64)
	if word >= len(p.known) || p.known[word]&bit == 0 {
		return
	}
	p.known[word] &^= bit
	if p.level {
		_ = sys.EpollControl(p.fd, sys.EpollDelete, fd, 0)
	}
}

// Part forgets a descriptor that stays open: the kernel would not.
func (p *poller) Part(fd int) {
	if word, bit := fd/64, uint64(1)<<(fd%64); word < len(p.known) && p.known[word]&bit != 0 {
		p.known[word] &^= bit
		_ = sys.EpollControl(p.fd, sys.EpollDelete, fd, 0)
	}
}

func (p *poller) Close() error {
	err := sys.Close(p.fd)
	if e := sys.Close(p.wake); err == nil {
		err = e
	}
	return err
}
