// Package poll is the driver on poll(2).
//
// The kernel is told the whole set in every call and looks at all of it, so a turn
// costs in proportion to the connections, idle or not. The array itself is kept from
// call to call and changed where interest changes.
package poll

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// Factory describes the driver.
var Factory = driver.Factory{
	Name:  "poll",
	What:  "the kernel is handed an array of all descriptors in every call",
	Rank:  30,
	Probe: probe,
	Open:  open,
}

func probe() driver.Support {
	if _, err := sys.Poll(nil, 0); err != nil && err != syscall.EINTR {
		return driver.Support{Why: fmt.Sprintf("ppoll: %v", err), Fix: "allow ppoll in the seccomp filter"}
	}
	return driver.Support{OK: true}
}

func open(o driver.Options) (driver.Driver, error) {
	wake, err := sys.Eventfd()
	if err != nil {
		return nil, fmt.Errorf("driver poll: eventfd: %w", err)
	}
	p := &poller{wake: wake, entries: []sys.PollEntry{{Fd: int32(wake), Events: sys.PollIn}}}
	return emulate.New(p, o, 0)
}

type poller struct {
	entries []sys.PollEntry // the first is the eventfd
	places  []uint32        // by descriptor: where in entries it is; zero if it is not
	next    int             // where the last scan stopped, so that nobody is always last
	wake    int
	// eager has the next call look before it waits: a call that may wait enters the
	// queue of every descriptor, which costs twice as much as the look.
	eager bool
}

func (p *poller) Name() string { return Factory.Name }

func (p *poller) Set(fd int, _, want emulate.Interest) error {
	if want == 0 {
		p.Gone(fd)
		return nil
	}
	if fd >= len(p.places) {
		p.places = append(p.places, make([]uint32, fd+1-len(p.places))...)
	}
	if p.places[fd] == 0 {
		p.places[fd] = uint32(len(p.entries))
		p.entries = append(p.entries, sys.PollEntry{Fd: int32(fd)})
	}
	var events int16
	if want&emulate.Readable != 0 {
		events |= sys.PollIn | sys.PollReadHup
	}
	if want&emulate.Writable != 0 {
		events |= sys.PollOut
	}
	p.entries[p.places[fd]].Events = events
	return nil
}

// Gone takes a descriptor out: the last of the array takes its place.
func (p *poller) Gone(fd int) {
	if fd >= len(p.places) || p.places[fd] == 0 {
		return
	}
	last := p.entries[len(p.entries)-1]
	p.entries[p.places[fd]] = last
	p.places[last.Fd] = p.places[fd]
	p.places[fd] = 0
	p.entries = p.entries[:len(p.entries)-1]
}

// Part forgets a descriptor that stays open.
func (p *poller) Part(fd int) { p.Gone(fd) }

func (p *poller) Poll(dst []emulate.Hint, d time.Duration) (n int, lost bool, err error) {
	ready := 0
	if p.eager && d != 0 {
		ready, err = sys.Poll(p.entries, 0)
	}
	if ready == 0 && err == nil {
		ready, err = sys.Poll(p.entries, d)
	}
	p.eager = ready > 0
	if err != nil {
		return 0, false, p.explain(err)
	}
	if ready > 0 && p.entries[0].Revents != 0 {
		sys.Quiet(p.wake)
		if ready--; ready == 0 {
			return 0, false, syscall.EINTR
		}
	}
	for range len(p.entries) {
		if ready == 0 || n == len(dst) {
			break
		}
		p.next++
		if p.next >= len(p.entries) {
			p.next = 1
			if len(p.entries) == 1 {
				break
			}
		}
		e := &p.entries[p.next]
		if e.Revents == 0 {
			continue
		}
		dst[n] = emulate.Hint{FD: int(e.Fd), What: hinted(e.Revents)}
		n++
		ready--
	}
	return n, false, nil
}

// explain adds the mend to the one error that an operator can do something about.
func (p *poller) explain(err error) error {
	if err != syscall.EINVAL {
		return err
	}
	soft, hard, limitErr := sys.Limit(sys.LimitDescriptors)
	if limitErr != nil {
		return errors.Join(err, limitErr)
	}
	return fmt.Errorf("ppoll: %w: %d descriptors are watched and RLIMIT_NOFILE is %d (it may be raised to %d); "+
		"raise it (ulimit -n) or use the driver epoll", err, len(p.entries), soft, hard)
}

func hinted(events int16) (what emulate.Interest) {
	if events&sys.PollIn != 0 {
		what |= emulate.Readable
	}
	if events&sys.PollOut != 0 {
		what |= emulate.Writable
	}
	if events&sys.PollReadHup != 0 {
		what |= emulate.Readable | emulate.Hangup
	}
	if events&(sys.PollHup|sys.PollError|sys.PollInvalid) != 0 {
		what |= emulate.Readable | emulate.Writable | emulate.Hangup
	}
	return what
}

func (p *poller) Wake() error { return sys.Notify(p.wake) }

func (p *poller) Close() error { return sys.Close(p.wake) }
