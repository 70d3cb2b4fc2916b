// Package selects is the driver on select(2), by way of pselect6.
//
// The kernel is handed bit sets up to the highest descriptor in every call, returns
// them changed, and so they are copied before and scanned after. FD_SETSIZE, 1,024,
// is a limit of the C library and not of the kernel: the sets grow with the
// descriptors. What remains is that a turn costs in proportion to the highest number.
package selects

import (
	"fmt"
	"math/bits"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// Factory describes the driver.
var Factory = driver.Factory{
	Name:  "select",
	What:  "the kernel is handed bit sets up to the highest descriptor in every call",
	Rank:  20,
	Probe: probe,
	Open:  open,
}

// highest is the largest descriptor that is taken. The kernel copies six sets in
// every call; here they have 128 KiB each, and a turn costs milliseconds.
const highest = 1<<20 - 1

func probe() driver.Support {
	if _, err := sys.Select(0, nil, nil, 0); err != nil && err != syscall.EINTR {
		return driver.Support{Why: fmt.Sprintf("pselect6: %v", err), Fix: "allow pselect6 in the seccomp filter"}
	}
	return driver.Support{OK: true}
}

func open(o driver.Options) (driver.Driver, error) {
	wake, err := sys.Eventfd()
	if err != nil {
		return nil, fmt.Errorf("driver select: eventfd: %w", err)
	}
	p := &poller{wake: wake}
	if err := p.Set(wake, 0, emulate.Readable); err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("driver select: %w", err)
	}
	return emulate.New(p, o, 0)
}

// sets are two bit sets of the same length, by descriptor.
type sets struct{ read, write []uint64 }

type poller struct {
	want  sets
	ready sets // what the kernel made of want
	next  int  // word with which the next scan begins, so that nobody is always last if 64 hints have room
	wake  int
	// eager has the next call look before it waits: a call that may wait enters the
	// queue of every descriptor, which costs twice as much as the look.
	eager bool
}

func (p *poller) Name() string { return Factory.Name }

func (p *poller) Set(fd int, _, want emulate.Interest) error {
	if fd > highest {
		return fmt.Errorf("select: descriptor %d is larger than %d: %w; use the driver epoll or poll",
			fd, highest, syscall.EINVAL)
	}
	word, bit := fd/64, uint64(1)<<(fd%64)
	if more := word + 1 - len(p.want.read); more > 0 {
		if want == 0 {
			return nil
		}
		for _, set := range []*[]uint64{&p.want.read, &p.want.write, &p.ready.read, &p.ready.write} {
			*set = append(*set, make([]uint64, more)...)
		}
	}
	p.want.read[word] &^= bit
	p.want.write[word] &^= bit
	if want&emulate.Readable != 0 {
		p.want.read[word] |= bit
	}
	if want&emulate.Writable != 0 {
		p.want.write[word] |= bit
	}
	if want == 0 {
		p.shorten()
	}
	return nil
}

// shorten drops words at the end in which nothing is wanted.
func (p *poller) shorten() {
	n := len(p.want.read)
	for n > 0 && p.want.read[n-1]|p.want.write[n-1] == 0 {
		n--
	}
	p.want.read, p.want.write = p.want.read[:n], p.want.write[:n]
	p.ready.read, p.ready.write = p.ready.read[:n], p.ready.write[:n]
}

func (p *poller) Gone(fd int) { _ = p.Set(fd, 0, 0) }

// ask has the kernel turn what is wanted into what is ready.
func (p *poller) ask(d time.Duration) (int, error) {
	copy(p.ready.read, p.want.read)
	copy(p.ready.write, p.want.write)
	return sys.Select(64*len(p.want.read), p.ready.read, p.ready.write, d)
}

// Part forgets a descriptor that stays open.
func (p *poller) Part(fd int) { p.Gone(fd) }

func (p *poller) Poll(dst []emulate.Hint, d time.Duration) (n int, lost bool, err error) {
	count := 0
	if p.eager && d != 0 {
		count, err = p.ask(0)
	}
	if count == 0 && err == nil {
		count, err = p.ask(d)
	}
	p.eager = count > 0
	if err != nil {
		return 0, false, err
	}
	if word, bit := p.wake/64, uint64(1)<<(p.wake%64); count > 0 && p.ready.read[word]&bit != 0 {
		p.ready.read[word] &^= bit
		sys.Quiet(p.wake)
		if count--; count == 0 {
			return 0, false, syscall.EINTR
		}
	}
	for words := len(p.ready.read); words > 0 && count > 0; words-- {
		if p.next >= len(p.ready.read) {
			p.next = 0
		}
		read, write := p.ready.read[p.next], p.ready.write[p.next]
		for both := read | write; both != 0; both &= both - 1 {
			if n == len(dst) {
				return n, false, nil
			}
			at := bits.TrailingZeros64(both)
			var what emulate.Interest
			if read>>at&1 != 0 {
				what |= emulate.Readable
				count--
			}
			if write>>at&1 != 0 {
				what |= emulate.Writable
				count--
			}
			dst[n] = emulate.Hint{FD: 64*p.next + at, What: what}
			n++
		}
		p.next++
	}
	return n, false, nil
}

func (p *poller) Wake() error { return sys.Notify(p.wake) }

func (p *poller) Close() error { return sys.Close(p.wake) }
