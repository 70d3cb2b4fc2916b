package uring

import (
	"slices"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// A direct descriptor is a slot in the table of one ring. Op.FD tells it from an ordinary descriptor by a bit, and
// holds ring and slot.
const (
	directBit  = 1 << 30
	ringShift  = 20
	ringsLimit = 1 << (30 - ringShift)
	slotsLimit = 1 << ringShift
)

const (
	tableEntries = 256 // of a table ring's buffer ring
	tableFirst   = 16  // blocks on its offer at first
	countedBatch = 64  // counted accepts in flight
)

func isDirect(fd int) bool { return fd >= directBit }

func slotOf(fd int) int { return fd & (slotsLimit - 1) }

func (d *uring) ringOf(fd int) *ring {
	if !isDirect(fd) {
		return d.main
	}
	return d.rings[fd>>ringShift&(ringsLimit-1)]
}

// tables is what direct descriptors need besides their rings.
//
// The kernel limits a table to RLIMIT_NOFILE slots, so there are as many rings as it takes. A connection that finds
// its table full would be lost: the kernel takes it from the backlog first. A multishot accept therefore stops while
// a table still has room for all that the kernel may accept before it is told, and the rest is filled by single
// accepts, each with a slot of its own.
type tables struct {
	acceptors []acceptor
	counter   int // a blocking eventfd that every ring but the main one notifies
	paused    int // acceptors for which there is no slot
}

// acceptor is an Accept in flight.
type acceptor struct {
	tok      uint64
	ring     *ring
	flying   int // submissions in flight
	multi    bool
	stopping bool
	paused   bool
	err      error
}

func (d *uring) openTables() error {
	counter, err := sys.Counter()
	if err != nil {
		return err
	}
	d.direct = &tables{counter: counter}
	if d.tableSlots == 0 {
		soft, _, err := sys.Limit(sys.LimitDescriptors)
		if err != nil {
			return err
		}
		d.tableSlots = int(min(soft, slotsLimit))
	}
	if err := d.main.q.ReserveFiles(d.tableSlots); err != nil {
		return err
	}
	d.main.free = d.tableSlots
	d.readCounter()
	return nil
}

// readCounter arms the read by which the table rings wake the main ring.
func (d *uring) readCounter() {
	if s := d.next(d.main); s != nil {
		d.main.q.ReadCounter(s, d.direct.counter, userCounter)
		d.reading = true
	}
}

// openTable makes one more ring with a table.
func (d *uring) openTable() *ring {
	if len(d.rings) == min(ringsLimit, d.ringsMost) {
		return nil
	}
	d.reclaim() // the tables that are full now are idle most of the time
	r, err := d.openRing(d.tableQueue, d.tableOutcomes, tableEntries, tableFirst)
	if err != nil {
		return nil
	}
	if r.q.ReserveFiles(d.tableSlots) != nil || r.q.NotifyBy(d.direct.counter) != nil {
		r.supply.close()
		r.q.Close()
		return nil
	}
	r.free, r.index = d.tableSlots, len(d.rings)
	d.rings = append(d.rings, r)
	return r
}

// reclaim takes back the blocks that rings were offered while they were busy. A ring whose outcomes are not all
// collected is left alone: the kernel has used some of its offer.
func (d *uring) reclaim() {
	for _, r := range d.rings {
		if r.q.Ready() == 0 && !r.q.Overflowed() {
			r.supply.withdraw()
		}
	}
}

// roomiest is the ring to accept into: the one with the most free slots, or a new one when none has a fair number.
func (d *uring) roomiest() *ring {
	best := d.main
	for _, r := range d.rings {
		if r.free > best.free {
			best = r
		}
	}
	if best.free <= d.tableSlots/64 {
		if r := d.openTable(); r != nil {
			return r
		}
	}
	if best.free == 0 {
		return nil
	}
	return best
}

// acceptDirect arms an Accept, unless part of it is in flight.
func (d *uring) acceptDirect(slot uint32, e *entry) bool {
	tok := token(slot, e)
	t := d.direct
	i := slices.IndexFunc(t.acceptors, func(a acceptor) bool { return a.tok == tok })
	if i < 0 {
		if i = slices.IndexFunc(t.acceptors, func(a acceptor) bool { return a.tok == 0 }); i < 0 {
			i = len(t.acceptors)
			t.acceptors = append(t.acceptors, acceptor{})
		}
		t.acceptors[i] = acceptor{tok: tok}
		e.hold = uint32(i)
	}
	a := &t.acceptors[i]
	if a.flying > 0 {
		return true
	}
	if a.paused {
		a.paused = false
		t.paused--
	}
	r := d.roomiest()
	if r == nil {
		a.paused = true
		t.paused++
		return true
	}
	a.ring, a.stopping = r, false
	if a.multi = d.acceptsMany(e) && r.free > d.margin; !a.multi {
		return d.acceptCounted(a, e)
	}
	s := d.next(r)
	if s == nil {
		return false
	}
	s.AcceptDirect(int(e.fd), true, tok)
	a.flying = 1
	return true
}

// acceptCounted keeps single accepts in flight, never more than there are free slots; false if there are none and
// could have been.
func (d *uring) acceptCounted(a *acceptor, e *entry) bool {
	batch := countedBatch
	if !d.acceptsMany(e) {
		batch = 1
	}
	for a.flying < batch && a.ring.free > 0 {
		s := d.next(a.ring)
		if s == nil {
			break
		}
		s.AcceptDirect(int(e.fd), false, a.tok)
		a.flying++
		a.ring.free--
	}
	return a.flying > 0
}

// acceptedDirect handles an outcome of Accept.
func (d *uring) acceptedDirect(r *ring, slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) bool {
	a := &d.direct.acceptors[e.hold]
	ended := o.Flags&sys.OutcomeMore == 0
	if ended {
		a.flying--
	}
	switch {
	case o.Res >= 0 && a.multi:
		r.free--
	case o.Res < 0 && !a.multi:
		r.free++
	}
	if o.Res < 0 && o.Res != -int32(syscall.ECANCELED) && a.err == nil {
		a.err = syscall.Errno(-o.Res)
	}
	over := e.marks&canceled != 0 || a.err != nil || (o.Res >= 0 && e.marks&many == 0)
	if o.Res >= 0 {
		c.Result = directBit | r.index<<ringShift | int(o.Res)
		if !over || a.flying > 0 {
			c.Flags = driver.More
		}
	} else if !over || a.flying > 0 {
		d.acceptOn(a, slot, e, over)
		return false
	} else if c.Err = a.err; c.Err == nil || e.marks&canceled != 0 {
		c.Err = driver.ErrCanceled
	}
	if c.Flags == 0 {
		d.drop(slot, e)
	} else {
		d.acceptOn(a, slot, e, over)
	}
	return true
}

// acceptOn keeps an Accept going, or winds it down.
func (d *uring) acceptOn(a *acceptor, slot uint32, e *entry, over bool) {
	switch {
	case over || (a.multi && a.flying > 0 && a.ring.free <= d.margin):
		if a.flying > 0 && !a.stopping && e.marks&canceled == 0 {
			if s := d.next(a.ring); s != nil {
				s.Cancel(a.tok, userIgnore)
				a.stopping = true
			}
		}
	case a.flying == 0:
		d.again(slot, e)
	case !a.multi && a.ring.free < 2*d.margin:
		d.acceptCounted(a, e)
	}
}

// closed counts the slot of a direct descriptor that has been closed.
func (d *uring) closed(e *entry) {
	if isDirect(int(e.fd)) {
		d.vacated(d.ringOf(int(e.fd)))
	}
}

// vacated counts a slot that is free again, and lets those go on that wait for one.
func (d *uring) vacated(r *ring) {
	r.free++
	t := d.direct
	for i := range t.acceptors {
		if a := &t.acceptors[i]; t.paused > 0 && a.paused {
			if slot, e := d.ops.find(a.tok); e != nil && e.marks&local == 0 {
				d.postpone(slot, e)
			}
		}
	}
}

// interruptAccept is interrupt for an Accept into tables.
func (d *uring) interruptAccept(slot uint32, e *entry) error {
	a := &d.direct.acceptors[e.hold]
	if a.flying == 0 {
		d.postpone(slot, e) // it is paused: the next Wait ends it
		return nil
	}
	s := d.next(a.ring)
	if s == nil {
		return driver.ErrFull
	}
	s.Cancel(a.tok, userIgnore)
	return nil
}

// enterDirty submits to the table rings, which are not waited in.
func (d *uring) enterDirty(dst []driver.Completion, n int) int {
	list := d.dirty
	d.dirty, d.dirtySpare = d.dirtySpare[:0], list
	for _, r := range list {
		r.dirty = false
		n = d.enterTable(r, dst, n)
	}
	return n
}

// enterTable submits to one table ring and collects from it. Its notifications are muted meanwhile: they would wake
// the main ring for what is being collected here.
func (d *uring) enterTable(r *ring, dst []driver.Completion, n int) int {
	r.supply.fill()
	r.q.Mute(true)
	_ = r.q.Enter()
	r.q.Mute(false)
	n = d.collect(r, dst, n)
	if r.q.Pending() && !r.dirty {
		r.dirty = true
		d.dirty = append(d.dirty, r)
	}
	if r.q.HasWork() || r.q.Ready() != 0 {
		d.counted = true // not notified of, because of the muting or because dst is full
	}
	return n
}

// collectTables visits the table rings that have something.
func (d *uring) collectTables(dst []driver.Completion, n int) int {
	d.counted = false
	for _, r := range d.rings[1:] {
		if n == len(dst) {
			d.counted = true
			break
		}
		if r.q.HasWork() || r.q.Ready() != 0 {
			n = d.enterTable(r, dst, n)
		}
	}
	if !d.reading && !d.closing {
		d.readCounter()
	}
	return n
}
