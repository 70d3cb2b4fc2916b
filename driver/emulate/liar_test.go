package emulate_test

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// liar is a poller on edge-triggered epoll that gives hints late, twice or not at
// all, and gives some that are wrong. What it keeps to itself it owns up to, by
// saying later that hints were lost.
type liar struct {
	events [64]sys.EpollEvent
	held   []emulate.Hint
	known  map[int]bool
	random *rand.Rand
	epoll  int
	wake   int
	owes   bool
}

const factoryName = "liar"

func openLiar(o driver.Options) (driver.Driver, error) {
	epoll, err := sys.Epoll()
	if err != nil {
		return nil, err
	}
	wake, err := sys.Eventfd()
	if err != nil {
		return nil, err
	}
	if err := sys.EpollControl(epoll, sys.EpollAdd, wake, sys.EpollIn|sys.EpollEdge); err != nil {
		return nil, err
	}
	return emulate.New(&liar{
		epoll: epoll, wake: wake, known: map[int]bool{}, random: rand.New(rand.NewPCG(o.Seed, 1)),
	}, o, 0)
}

func (l *liar) Name() string { return factoryName }

func (l *liar) Set(fd int, _, _ emulate.Interest) error {
	if l.known[fd] {
		return nil
	}
	l.known[fd] = true
	return sys.EpollControl(l.epoll, sys.EpollAdd, fd,
		sys.EpollIn|sys.EpollOut|sys.EpollReadHup|sys.EpollUrgent|sys.EpollEdge)
}

func (l *liar) Gone(fd int) { delete(l.known, fd) }

func (l *liar) Part(fd int) {
	if l.known[fd] {
		_ = sys.EpollControl(l.epoll, sys.EpollDelete, fd, 0)
	}
	l.Gone(fd)
}

func (l *liar) Poll(dst []emulate.Hint, d time.Duration) (n int, lost bool, err error) {
	if len(l.held) > 0 || l.owes {
		d = 0
	}
	give := func(h emulate.Hint) {
		if n < len(dst) {
			dst[n] = h
			n++
		}
	}
	for _, h := range l.held {
		give(h) // perhaps of a descriptor that is closed by now, or another one
	}
	l.held = l.held[:0]
	count, err := sys.EpollWait(l.epoll, l.events[:], d)
	for _, event := range l.events[:count] {
		h := emulate.Hint{FD: int(event.Fd)}
		if h.FD == l.wake {
			continue
		}
		if event.Events&(sys.EpollIn|sys.EpollReadHup|sys.EpollUrgent) != 0 {
			h.What |= emulate.Readable
		}
		if event.Events&sys.EpollOut != 0 {
			h.What |= emulate.Writable
		}
		if event.Events&(sys.EpollReadHup|sys.EpollHup|sys.EpollError|sys.EpollUrgent) != 0 {
			h.What |= emulate.Readable | emulate.Writable | emulate.Hangup
		}
		switch l.random.IntN(8) {
		case 0:
			l.owes = true
		case 1:
			l.held = append(l.held, h)
		case 2:
			give(h)
			give(h)
		default:
			give(h)
		}
	}
	if count > 0 && l.random.IntN(4) == 0 {
		give(emulate.Hint{FD: l.random.IntN(200) - 10, What: emulate.Interest(l.random.IntN(8))})
	}
	if l.owes && (count == 0 || l.random.IntN(2) == 0) {
		l.owes, lost = false, true
	}
	if n == 0 && !lost && (count > 0 || d == 0) && err == nil {
		err = syscall.EINTR
	}
	return n, lost, err
}

func (l *liar) Wake() error { return sys.Notify(l.wake) }

func (l *liar) Close() error {
	err := sys.Close(l.epoll)
	if e := sys.Close(l.wake); err == nil {
		err = e
	}
	return err
}

// TestLies keeps every promise above a poller that cannot be trusted.
func TestLies(t *testing.T) {
	factory := driver.Factory{
		Name:  factoryName,
		Probe: func() driver.Support { return driver.Support{OK: true} },
		Open:  openLiar,
	}
	var opened uint64
	drivertest.Run(t, factory, func() driver.Options {
		opened++
		return driver.Options{Seed: opened}
	})
}
