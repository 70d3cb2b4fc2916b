// Package sweep is the driver without any notification: it attempts everything that
// is parked, again and again, at an interval.
//
// It is what a program with non-blocking sockets and nothing else can do. It costs a
// refused call per connection and interval, and an answer comes up to one interval
// late; it shows what the other drivers are for, and works wherever sockets do.
package sweep

import (
	"fmt"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// Factory describes the driver.
var Factory = driver.Factory{
	Name:  "sweep",
	What:  "nobody tells: everything that would block is attempted again at an interval",
	Rank:  0,
	Probe: func() driver.Support { return driver.Support{OK: true} },
	Open:  open,
}

// defaultInterval is what Options.Sweep is if it is zero.
const defaultInterval = 10 * time.Millisecond

func open(o driver.Options) (driver.Driver, error) {
	if o.Sweep < 0 {
		return nil, fmt.Errorf("driver sweep: an interval of %v is not possible; leave Options.Sweep zero for %v",
			o.Sweep, defaultInterval)
	}
	wake, err := sys.Eventfd()
	if err != nil {
		return nil, fmt.Errorf("driver sweep: eventfd: %w", err)
	}
	p := &poller{wake: [1]sys.PollEntry{{Fd: int32(wake), Events: sys.PollIn}}, interval: o.Sweep}
	if p.interval == 0 {
		p.interval = defaultInterval
	}
	return emulate.New(p, o, 0)
}

type poller struct {
	wake     [1]sys.PollEntry
	interval time.Duration
}

func (p *poller) Name() string { return Factory.Name }

// Set has nobody to tell.
func (p *poller) Set(int, emulate.Interest, emulate.Interest) error { return nil }

// Gone has nothing to forget.
func (p *poller) Gone(int) {}

// Part has nothing to forget.
func (p *poller) Part(int) {}

// Poll sleeps, and knows nothing afterwards: so all is to be attempted. Poll(2) is
// there only to be woken.
func (p *poller) Poll(_ []emulate.Hint, d time.Duration) (n int, lost bool, err error) {
	if d < 0 || d > p.interval {
		d = p.interval
	}
	woken, err := sys.Poll(p.wake[:], d)
	if woken > 0 {
		sys.Quiet(int(p.wake[0].Fd))
	}
	return 0, true, err
}

func (p *poller) Wake() error { return sys.Notify(int(p.wake[0].Fd)) }

func (p *poller) Close() error { return sys.Close(int(p.wake[0].Fd)) }
