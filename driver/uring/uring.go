// Package uring drives io_uring: completion natively, one system call per turn.
//
// All submissions of a turn and the wait for the next outcomes are one
// io_uring_enter. Accepts and receives are multishot, armed once per
// connection; the kernel picks the block of a receive from a small offer that is
// renewed from the pool at each enter. A lazy send is submitted so that it either
// is taken whole at once and posts nothing, or posts how much of it was taken: its
// success is known when the enter has returned, and costs no outcome.
//
// Kernel facts that shape the code: a ring belongs to the thread that made it
// (SINGLE_ISSUER), and nothing of it runs outside that thread's enters
// (DEFER_TASKRUN), so the queues need no lock and hardly a barrier. A silent
// submission has failed or succeeded when its entry has been consumed, because it
// never waits. Outcomes for which the queue has no room wait in the kernel, and
// only when none wait there is silence a success.
package uring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

const name = "uring"

// Factory describes the driver.
var Factory = driver.Factory{
	Name:  name,
	What:  "io_uring: the kernel completes operations, one system call per turn (Linux 6.6 or newer)",
	Rank:  50,
	Probe: probe,
	Open:  Open,
}

// User data of submissions that belong to no operation: generation 0, so that no token is among them.
const (
	userIgnore  = iota // nobody cares for the outcome
	userWake           // the poll on the descriptor that Wake writes to
	userTick           // what bounds a brief wait
	userCounter        // the read of the descriptor that the table rings notify
	userInstall        // Descriptor of a direct descriptor
	userVacate         // a slot is emptied whose socket Part has given away
	userSettle         // a slot is filled by Settle
)

// States of waking.
const (
	awake  = iota // no Wake under way
	waking        // one is on its way to Wait
	shut          // the driver is closed
)

// uring is one driver: a main ring in which Wait waits, and with direct descriptors more rings for their tables.
type uring struct {
	main    *ring
	rings   []*ring // by table; rings[0] is main
	dirty   []*ring // table rings with submissions that the kernel was not shown
	ops     table
	holds   holds
	ready   []driver.Completion // known without the kernel, for the next Wait
	given   int                 // how many of ready were returned
	local   []uint64            // tokens of what the next Wait continues
	swap    []uint64
	doubts  doubts
	hushed  []*ring          // rings with silent operations
	endings map[int32]ending // descriptors with cancelled operations that are not over

	pool   *buf.Pool
	pipes  *driver.Pipes
	shares shares
	files  []*fileSend // to be used again
	epoch  time.Time
	tuning

	brisk   bool // outcomes came within the last tick: wait briefly, outside the scheduler
	busy    bool // outcomes came since the last tick
	ticking bool // a tick is in flight, of period nanoseconds, that ends at tickAt
	period  int64
	tickAt  int64
	idle    int64 // nanoseconds of ticks in which nothing came
	gather  gather
	woken   bool // a Wake has arrived
	deaf    bool // the poll for Wake is to be renewed
	closing bool
	wakeFD  int
	address []byte // room for the source of a single datagram
	peers   sys.Peers
	joins   joins
	batch   *sys.DatagramBatch // made when first needed

	direct     *tables // nil without direct descriptors
	dirtySpare []*ring
	counted    bool // table rings may have outcomes
	shared     bool // other processes accept from the same sockets
	reading    bool // the read that they wake is in flight
	installs   uint32
	reserve    int // a descriptor kept for the moment when there is no other; see ordinary
	staging    [][]byte

	_     [64]byte
	state atomic.Uint32 // awake, waking or shut; written by other threads, hence on a cache line of its own
	_     [60]byte
}

// ending counts a descriptor's cancelled operations that are not over. The kernel is quicker to close a descriptor
// than to end what waits on it, so a Close waits for them here.
type ending struct {
	count int
	close uint64 // token of the Close, if there is one
}

// ring is one io_uring with its offer of blocks.
type ring struct {
	q      *sys.Ring
	supply supply
	quiet  quiet
	index  int
	dirty  bool
	hushed bool // listed in uring.hushed
	free   int  // slots of its table that are empty and not spoken for

	settling bool  // a slot is being filled
	place    int32 // with this descriptor, which the kernel replaces by the slot
}

// tuning is what tests make small.
type tuning struct {
	submissions int // entries of the main ring's queues
	outcomes    int
	entries     int           // of the main ring's buffer ring
	tick        time.Duration // bound of a wait outside the scheduler

	tableSlots    int // of each table of direct descriptors; RLIMIT_NOFILE if zero
	tableQueue    int // submissions of a table ring
	tableOutcomes int
	margin        int // free slots at or below which a table's accepts are counted
	ringsMost     int
}

func standard(o driver.Options) tuning {
	t := tuning{
		submissions: 1024, outcomes: 16384, entries: supplyEntries, tick: 10 * time.Millisecond,
		tableQueue: 256, tableOutcomes: 4096, ringsMost: ringsLimit,
	}
	if o.Direct {
		t.outcomes = t.tableOutcomes
	}
	t.margin = t.tableOutcomes + 64 // what a multishot accept can take before it is told to stop fills the queue
	for t.outcomes > 1024 && t.outcomes/4 >= o.Ops {
		t.outcomes /= 2
	}
	return t
}

// Open makes a driver for the calling thread. It reads Options.Blocks, Ops, Direct and Shared.
func Open(o driver.Options) (driver.Driver, error) { return open(o, standard(o)) }

func open(o driver.Options, t tuning) (*uring, error) {
	if o.Blocks == nil {
		return nil, errors.New("uring: Options.Blocks is not set")
	}
	if o.Ops <= 0 || o.Ops > 1<<30 {
		return nil, fmt.Errorf("uring: Options.Ops is %d; it must be positive and at most 2^30", o.Ops)
	}
	opened.Add(1) // Close takes it back
	d := &uring{
		pool: o.Blocks, pipes: o.Pipes, tuning: t, epoch: time.Now(), wakeFD: -1, reserve: -1,
		endings: map[int32]ending{}, shared: o.Shared,
	}
	d.ops.limit, d.gather = uint32(o.Ops), newGather()
	d.shares.most, d.shares.reclaim = o.Blocks.Limit()/2, d.reclaim
	main, err := d.openRing(t.submissions, t.outcomes, t.entries, supplyFirst)
	if err != nil {
		opened.Add(-1)
		return nil, explain(err)
	}
	d.main, d.rings = main, []*ring{main}
	if d.wakeFD, err = sys.Eventfd(); err == nil {
		main.q.Next().Poll(d.wakeFD, sys.PollIn, true, userWake)
		err = main.q.Enter()
	}
	if err == nil && o.Direct {
		err = d.openTables()
	}
	if err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("uring: %w", err)
	}
	return d, nil
}

func (d *uring) openRing(submissions, outcomes, entries, first int) (*ring, error) {
	q, err := sys.OpenRing(submissions, outcomes)
	if err != nil {
		return nil, err
	}
	r := &ring{q: q}
	if r.supply, err = openSupply(q, d.pool, &d.shares, entries, first); err != nil {
		q.Close()
		return nil, fmt.Errorf("buffer ring: %w", err)
	}
	return r, nil
}

// Name is the name of the factory.
func (d *uring) Name() string { return name }

// Features explains the driver.
func (d *uring) Features() driver.Features {
	f := driver.Completes | driver.Multishot | driver.PicksBlocks | driver.Batches
	if d.direct != nil {
		f |= driver.Direct
	}
	return f
}

// Wake writes to a descriptor that the ring polls, unless a wake is already on its way.
func (d *uring) Wake() error {
	if !d.state.CompareAndSwap(awake, waking) {
		return nil
	}
	// Close waits until this write has arrived, so the descriptor is still ours.
	return sys.Notify(d.wakeFD)
}

// Adopt takes an ordinary descriptor as it is: the ring needs nothing of it in advance.
func (d *uring) Adopt(fd int) (int, error) {
	if fd < 0 || isDirect(fd) {
		return 0, syscall.EBADF
	}
	return fd, nil
}

// Cancel marks the operation and asks the kernel to end it.
func (d *uring) Cancel(t driver.Token) error {
	slot, e := d.ops.find(uint64(t))
	if e == nil || e.marks&canceled != 0 || e.code == driver.Close {
		return nil
	}
	if e.marks&local == 0 {
		if err := d.interrupt(slot, e); err != nil {
			return err
		}
	}
	e.marks |= canceled // what is local is ended by the next Wait
	end := d.endings[e.fd]
	end.count++
	d.endings[e.fd] = end
	return nil
}

// interrupt submits the cancellation of everything that the kernel has under a token.
func (d *uring) interrupt(slot uint32, e *entry) error {
	if d.direct != nil && e.code == driver.Accept {
		return d.interruptAccept(slot, e)
	}
	s := d.next(d.ringOf(int(e.fd)))
	if s == nil {
		return driver.ErrFull
	}
	s.Cancel(token(slot, e), userIgnore)
	return nil
}

// next is the next free submission of r. When the queue is full the kernel is entered to make room.
func (d *uring) next(r *ring) *sys.Submission {
	if r != d.main && !r.dirty {
		r.dirty = true
		d.dirty = append(d.dirty, r)
	}
	if s := r.q.Next(); s != nil {
		return s
	}
	r.supply.fill()
	_ = r.q.Enter() // what it did not take stays in the queue
	return r.q.Next()
}

// now is monotonic nanoseconds.
func (d *uring) now() int64 { return int64(time.Since(d.epoch)) }
