package upstream_test

import (
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// poller is the plainest driver over real sockets: a map of what is wanted, handed to poll(2) each time.
type poller struct {
	wants map[int]emulate.Interest
	wake  int
}

func openPoller(o driver.Options) (driver.Driver, error) {
	wake, err := sys.Eventfd()
	if err != nil {
		return nil, err
	}
	return emulate.New(&poller{wants: map[int]emulate.Interest{}, wake: wake}, o, 0)
}

func (p *poller) Name() string { return "plain" }

func (p *poller) Set(fd int, _, want emulate.Interest) error {
	p.wants[fd] = want
	return nil
}

func (p *poller) Poll(dst []emulate.Hint, d time.Duration) (n int, lost bool, err error) {
	entries := []sys.PollEntry{{Fd: int32(p.wake), Events: sys.PollIn}}
	for fd, want := range p.wants {
		entry := sys.PollEntry{Fd: int32(fd)}
		if want&emulate.Readable != 0 {
			entry.Events |= sys.PollIn
		}
		if want&emulate.Writable != 0 {
			entry.Events |= sys.PollOut
		}
		if entry.Events != 0 {
			entries = append(entries, entry)
		}
	}
	if _, err := sys.Poll(entries, d); err != nil {
		return 0, false, err
	}
	if entries[0].Revents != 0 {
		sys.Quiet(p.wake)
	}
	for _, e := range entries[1:] {
		if e.Revents == 0 {
			continue
		}
		if n == len(dst) {
			return n, true, nil
		}
		dst[n] = emulate.Hint{FD: int(e.Fd), What: p.wants[int(e.Fd)] | emulate.Hangup}
		n++
	}
	if n == 0 && entries[0].Revents != 0 {
		return 0, false, syscall.EINTR
	}
	return n, false, nil
}

func (p *poller) Wake() error  { return sys.Notify(p.wake) }
func (p *poller) Close() error { return sys.Close(p.wake) }
func (p *poller) Gone(fd int)  { delete(p.wants, fd) }
func (p *poller) Part(fd int)  { delete(p.wants, fd) }
