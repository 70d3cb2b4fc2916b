// Package rtsig is the driver on queued real-time signals (F_SETSIG and O_ASYNC).
//
// The kernel queues a signal to the loop's thread for everything that happens to a
// descriptor. The thread has the signal blocked and takes one at a time from the
// queue with rt_sigtimedwait(2), so that no handler ever runs. The queue is limited
// by RLIMIT_SIGPENDING; when it is full the kernel sends SIGIO instead, which says
// only that something happened somewhere: then the queue is emptied and everything
// that is parked is attempted.
//
// A signal may be of a descriptor that was closed meanwhile, or of the one that has
// its number now: like any wrong hint, it costs one refused attempt.
package rtsig

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// Factory describes the driver.
var Factory = driver.Factory{
	Name:  "rtsig",
	What:  "the kernel queues a signal for each thing that happens to a descriptor",
	Rank:  10,
	Probe: probe,
	Open:  open,
}

// number is the signal. Each loop has its own thread and with it its own queue, so
// that one number does for all.
const number = sys.SignalFirst + 5

// drainTurn bounds how many signals are thrown away after an overflow in one turn.
// What is left is taken for hints, and harmless.
const drainTurn = 1 << 16

// muteInterval is how often a Unix datagram socket is attempted whose peer's queue is
// full. The kernel wakes who polls when that queue has room, but signals nobody.
const muteInterval = 10 * time.Millisecond

// repeatsTurn bounds, with Options.PerDescriptor, how many signals are taken in one
// turn for each hint that there is room for.
const repeatsTurn = 8

func probe() driver.Support {
	soft, hard, err := sys.Limit(sys.LimitSignals)
	if err != nil {
		return driver.Support{Why: fmt.Sprintf("getrlimit: %v", err), Fix: "allow prlimit64 in the seccomp filter"}
	}
	if soft == 0 {
		return driver.Support{
			Why: "RLIMIT_SIGPENDING is 0: no signal can be queued",
			Fix: fmt.Sprintf("raise it (ulimit -i; it may be raised to %d)", hard),
		}
	}
	return driver.Support{OK: true}
}

func open(o driver.Options) (driver.Driver, error) {
	p, err := newPoller(o.PerDescriptor)
	if err != nil {
		return nil, err
	}
	return emulate.New(p, o, 0)
}

// newPoller blocks the signals on the calling thread.
func newPoller(once bool) (*poller, error) {
	wakeRead, wakeWrite, err := sys.Pipe()
	if err != nil {
		return nil, fmt.Errorf("driver rtsig: pipe2: %w", err)
	}
	p := &poller{
		set: sys.Signals(number, sys.SignalIO), thread: sys.Gettid(),
		wakeRead: wakeRead, wakeWrite: wakeWrite, once: once,
	}
	if p.mask, err = sys.BlockSignals(p.set); err == nil {
		err = sys.SignalArm(wakeRead, number, p.thread)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("driver rtsig: %w", err), p.Close())
	}
	return p, nil
}

// seat says where the hint of a descriptor is, in the turn in which it was given.
type seat struct {
	turn  uint32
	index int32
}

type poller struct {
	set, mask sys.SignalSet // what is taken; the thread's mask as it was
	thread    int
	wakeRead  int
	wakeWrite int
	armed     []uint64 // a bit for each descriptor that signals
	fresh     []int32  // armed since the last Poll
	mute      []int32  // waiting for what the kernel does not signal; nearly always none
	seats     []seat   // by descriptor, with once
	turn      uint32
	once      bool
	info      sys.SignalInfo
}

func (p *poller) Name() string { return Factory.Name }

// Set arms a descriptor once, for both directions. What came before is not
// signalled, so a descriptor is hinted once for being new, as one of which several
// things may be to be known.
func (p *poller) Set(fd int, was, want emulate.Interest) error {
	if (was^want)&emulate.Writable != 0 {
		p.setMute(fd, want&emulate.Writable != 0)
	}
	word, bit := fd/64, uint64(1)<<(fd%64)
	if word >= len(p.armed) {
		p.armed = append(p.armed, make([]uint64, word+1-len(p.armed))...)
		p.seats = append(p.seats, make([]seat, 64*len(p.armed)-len(p.seats))...)
	}
	if p.armed[word]&bit != 0 {
		return nil
	}
	if err := sys.SignalArm(fd, number, p.thread); err != nil {
		return fmt.Errorf("fcntl: %w", err)
	}
	p.armed[word] |= bit
	p.fresh = append(p.fresh, int32(fd))
	return nil
}

// setMute keeps the list of Unix datagram sockets that wait to send.
func (p *poller) setMute(fd int, waits bool) {
	at := slices.Index(p.mute, int32(fd))
	switch {
	case waits && at < 0 && sys.UnixDatagram(fd):
		p.mute = append(p.mute, int32(fd))
	case !waits && at >= 0:
		p.mute = slices.Delete(p.mute, at, at+1)
	}
}

// Gone forgets a descriptor. If somebody else holds the same open file, its signals
// would go on, so they are ended.
func (p *poller) Gone(fd int) {
	p.setMute(fd, false)
	if word, bit := fd/64, uint64(1)<<(fd%64); word < len(p.armed) && p.armed[word]&bit != 0 {
		p.armed[word] &^= bit
		_ = sys.SignalDisarm(fd)
	}
}

// Part forgets a descriptor that stays open.
func (p *poller) Part(fd int) { p.Gone(fd) }

func (p *poller) Poll(dst []emulate.Hint, d time.Duration) (n int, lost bool, err error) {
	if len(p.mute) == 0 {
		return p.take(dst, d)
	}
	if d < 0 || d > muteInterval {
		d = muteInterval
	}
	n, lost, err = p.take(dst, d)
	for _, fd := range p.mute[:min(len(p.mute), len(dst)-n)] {
		dst[n] = emulate.Hint{FD: int(fd), What: emulate.Writable}
		n++
	}
	if err == syscall.EINTR {
		err = nil // there are hints
	}
	return n, lost, err
}

// take collects signals.
func (p *poller) take(dst []emulate.Hint, d time.Duration) (n int, lost bool, err error) {
	p.turn++
	for n < len(dst) && len(p.fresh) > 0 {
		last := len(p.fresh) - 1
		dst[n] = emulate.Hint{FD: int(p.fresh[last]), What: emulate.Readable | emulate.Writable | emulate.Hangup}
		p.fresh = p.fresh[:last]
		n++
		d = 0
	}
	some := false
	most := len(dst) - n
	if p.once {
		most *= repeatsTurn
	}
	for ; most > 0 && n < len(dst); most-- {
		signal, err := sys.SignalWait(p.set, &p.info, d)
		if err == syscall.EAGAIN || err != nil && n > 0 {
			break
		}
		if err != nil {
			return 0, false, err
		}
		d, some = 0, true
		if signal == sys.SignalIO {
			p.drain()
			return n, true, nil
		}
		n = p.hint(dst, n)
	}
	if some && n == 0 {
		return 0, false, syscall.EINTR // woken, or about what is gone
	}
	return n, false, nil
}

// drain empties the queue, so that there is room for what happens from now on.
func (p *poller) drain() {
	sys.Quiet(p.wakeRead) // its signal may be among the lost
	for range drainTurn {
		if _, err := sys.SignalWait(p.set, &p.info, 0); err != nil && err != syscall.EINTR {
			return
		}
	}
}

// hint turns the signal in p.info into a hint behind the first n.
func (p *poller) hint(dst []emulate.Hint, n int) int {
	fd := int(p.info.FD)
	what := hinted(p.info.Code)
	if fd == p.wakeRead {
		sys.Quiet(fd)
		return n
	}
	if what == 0 || fd < 0 || fd >= 64*len(p.armed) || p.armed[fd/64]&(1<<(fd%64)) == 0 {
		return n
	}
	if p.once {
		if s := p.seats[fd]; s.turn == p.turn {
			// More came after what the first signal was about, so a short read
			// is not the last word.
			dst[s.index].What |= what | emulate.Hangup
			return n
		}
		p.seats[fd] = seat{turn: p.turn, index: int32(n)}
	}
	dst[n] = emulate.Hint{FD: fd, What: what}
	return n + 1
}

// hinted is what a signal's code says; zero if it is of no descriptor.
func hinted(code int32) emulate.Interest {
	switch code {
	case sys.SignalIn, sys.SignalMsg:
		return emulate.Readable
	case sys.SignalOut:
		return emulate.Writable
	case sys.SignalUrgent:
		return emulate.Readable | emulate.Hangup
	case sys.SignalError, sys.SignalHup:
		return emulate.Readable | emulate.Writable | emulate.Hangup
	}
	return 0
}

func (p *poller) Wake() error { return sys.Notify(p.wakeWrite) }

// Close leaves the thread as it was: descriptors that stay open signal no more, and
// what is queued is taken before the mask is opened.
func (p *poller) Close() error {
	for word, bits := range p.armed {
		for bit := range 64 {
			if bits>>bit&1 != 0 {
				_ = sys.SignalDisarm(64*word + bit)
			}
		}
	}
	_ = sys.SignalDisarm(p.wakeRead)
	p.drain()
	return errors.Join(sys.RestoreSignals(p.mask), sys.Close(p.wakeRead), sys.Close(p.wakeWrite))
}
