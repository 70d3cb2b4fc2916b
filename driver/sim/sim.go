// Package sim is a simulated kernel and the driver on it: sockets, descriptors,
// files and a clock, all of it in memory, on one thread, and decided by one number.
//
// The far ends of the connections are [Client] values that the kernel steps while
// the loop waits. Whatever is left to chance is drawn from the seed: how much a
// read brings, when a completion comes, which of two comes first, who resets whom.
// So a run that fails with a seed fails in the same way whenever it is run with
// that seed.
//
// Within the contract of package driver the kernel is as hostile as its [Faults]
// say. In return it holds the loop to the contract: at most one operation per side
// of a descriptor, nothing on a descriptor that was closed, memory that is left
// alone while it is in flight, tokens that exist. A breach ends the run with the
// seed and the last events.
package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/driver"
)

const (
	// turnCost is how far the clock moves in each Wait, so that a turn takes time.
	turnCost = time.Microsecond
	// restlessWaits is how many Waits in a row may bring nothing within
	// restlessTime before the loop is said to spin.
	restlessWaits = 20_000
	restlessTime  = time.Millisecond
)

// errOpened says that a kernel has one driver only.
var errOpened = errors.New("driver sim: the kernel has a driver already")

// Options is what a kernel is made of. Numbers that are zero have the default stated.
type Options struct {
	// Seed decides everything that is left to chance.
	Seed uint64
	// Faults says how hostile the kernel is; not at all if zero.
	Faults Faults
	// Descriptors is the largest number of open descriptors; 4096 if zero.
	Descriptors int
	// ReceiveBytes and SendBytes are the sizes of the two buffers of a connection,
	// from the client and to the client; 16 KiB if zero.
	ReceiveBytes int
	SendBytes    int
	// Lifetime is the simulated time after which a run is said to be stuck; an hour if zero.
	Lifetime time.Duration
	// Parts has the driver part with connections, to be adopted again by the same kernel; otherwise Part fails.
	Parts bool
}

// Kernel is the simulated kernel. It belongs to one goroutine.
type Kernel struct {
	options  Options
	faults   Faults
	rand     *rand.Rand
	now      int64
	events   events
	table    []*descriptor
	open     int
	made     int // connections ever made
	files    []*File
	conduits []*conduit
	stands   map[int]*descriptor // by the real descriptor that stands for a simulated one
	handing  *Listener           // whose pending connections are being accepted through a stand-in
	trace    trace
	broken   error
	driver   *machine
	outside  map[netip.AddrPort]func() Client // what Connect reaches

	waits     int
	restless  int
	restSince int64
}

// New makes a kernel with nothing in it.
func New(o Options) *Kernel {
	for _, d := range []struct {
		field *int
		value int
	}{{&o.Descriptors, 4096}, {&o.ReceiveBytes, 16 << 10}, {&o.SendBytes, 16 << 10}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Lifetime == 0 {
		o.Lifetime = time.Hour
	}
	return &Kernel{
		options: o, faults: o.Faults, rand: rand.New(rand.NewPCG(o.Seed, 0x9e3779b97f4a7c15)),
		stands: map[int]*descriptor{},
	}
}

// Factory describes the driver on k; k has one driver only.
func Factory(k *Kernel) driver.Factory {
	return driver.Factory{
		Name:  "sim",
		What:  "a simulated kernel: everything in memory, decided by a seed",
		Rank:  -1,
		Probe: func() driver.Support { return driver.Support{OK: true} },
		Open:  func(o driver.Options) (driver.Driver, error) { return k.Open(o) },
	}
}

// Open makes the driver. Blocks and Ops of the options must be set.
func (k *Kernel) Open(o driver.Options) (driver.Driver, error) {
	if o.Blocks == nil || o.Ops <= 0 {
		return nil, fmt.Errorf("driver sim: needs Options.Blocks and a positive Options.Ops (it is %d)", o.Ops)
	}
	if k.driver != nil {
		return nil, errOpened
	}
	k.driver = &machine{kernel: k, blocks: o.Blocks, pipes: o.Pipes, limit: o.Ops}
	return k.driver, nil
}

// Now is the simulated time since the kernel was made.
func (k *Kernel) Now() time.Duration { return time.Duration(k.now) }

// Clock is the simulated time as loops read it: monotonic nanoseconds and Unix seconds.
func (k *Kernel) Clock() (monotonic, wall int64) { return k.now, 1_700_000_000 + k.now/1e9 }

// Rand is the kernel's source of chance, for clients and tests that are to be replayed with it.
func (k *Kernel) Rand() *rand.Rand { return k.rand }

// Waits counts the calls of Wait.
func (k *Kernel) Waits() int { return k.waits }

// Descriptors is the number of open descriptors, listening ones included.
func (k *Kernel) Descriptors() int { return k.open }

// Err is the first breach of the contract, or nil.
func (k *Kernel) Err() error { return k.broken }

// After runs f at a later simulated time, within a Wait.
func (k *Kernel) After(d time.Duration, f func()) {
	k.events.push(event{at: k.now + int64(d), call: f})
}

// Fail ends the run: Wait returns an error from now on. The first failure counts.
func (k *Kernel) Fail(format string, args ...any) {
	if k.broken == nil {
		k.broken = fmt.Errorf("sim: seed %d at %v: %s\n%s",
			k.options.Seed, k.Now(), fmt.Sprintf(format, args...), k.trace.String())
	}
}

// chance is true with a probability.
func (k *Kernel) chance(p float64) bool { return p > 0 && k.rand.Float64() < p }

// upTo is a duration below d.
func (k *Kernel) upTo(d time.Duration) int64 { return k.rand.Int64N(int64(d)) }

// delay is how long something takes that usually takes no time.
func (k *Kernel) delay() int64 {
	if !k.chance(k.faults.Delay) {
		return 0
	}
	if k.chance(0.1) {
		return k.upTo(50 * time.Millisecond)
	}
	return k.upTo(300 * time.Microsecond)
}

// run fires what is due.
func (k *Kernel) run() {
	for k.broken == nil && k.events.due(k.now) {
		e := k.events.pop()
		switch {
		case e.call != nil:
			e.call()
		case e.peer != nil:
			e.peer.step(&e)
		default:
			k.driver.fire(&e)
		}
	}
	if k.now > int64(k.options.Lifetime) {
		k.Fail("the run takes too long; %d descriptors are open", k.open)
	}
}
