package uring

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// Wait submits and waits in one system call.
//
// How it waits decides what a lightly loaded server costs. To the scheduler a blocked system call is a reason to take
// the processor away and wake another thread, which costs more than the request. While outcomes keep coming the wait
// is therefore hidden from the scheduler, and bounded by a tick: a timeout in the ring that is renewed once per
// period, not once per wait, and ends where the wait must end. When nothing has come for a tick, the next wait blocks
// in the open.
func (d *uring) Wait(dst []driver.Completion, limit time.Duration) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	if len(d.local) != 0 {
		d.proceed()
	}
	if d.deaf {
		d.listen()
	}
	n := d.deliver(dst)
	limit = min(limit, longest)
	left, deadline := limit, int64(0)
	for {
		if !d.doubts.empty() {
			d.review()
		}
		if len(d.dirty) != 0 {
			n = d.enterDirty(dst, n)
		}
		d.main.supply.fill()
		expired := left == 0
		switch {
		case n == 0 && !expired && d.rests():
			if left > 0 && deadline == 0 {
				deadline = d.now() + int64(left)
			}
			d.block(int64(left), deadline)
		case d.main.q.Pending() || d.main.q.HasWork():
			_ = d.main.q.Enter() // whatever it does not do is done in the next turn
		}
		n = d.collect(d.main, dst, n)
		if d.counted {
			n = d.collectTables(dst, n)
		}
		if d.given != len(d.ready) {
			n += d.deliver(dst[n:])
		}
		if n > 0 || expired || d.woken || d.choked() {
			d.woken = false
			if len(d.hushed) != 0 {
				n = d.settleAll(dst, n)
			}
			return n, nil
		}
		if len(d.local) != 0 {
			d.proceed()
			n = d.deliver(dst)
		}
		if deadline != 0 {
			left = max(0, time.Duration(deadline-d.now())) // one more look when the time is up
		}
	}
}

// rests says that there is nothing to do but to wait: neither something to return nor something to submit that this
// very turn brought up.
func (d *uring) rests() bool {
	return !d.counted && d.main.q.Ready() == 0 && len(d.dirty) == 0 && len(d.local) == 0 &&
		d.given == len(d.ready) && !d.choked()
}

// choked says that nothing more can be submitted before silent operations are completed, for which Wait then does not
// wait for other reasons.
func (d *uring) choked() bool { return d.ops.used == d.ops.limit && len(d.hushed) != 0 }

// deliver returns what is known without the kernel.
func (d *uring) deliver(dst []driver.Completion) int {
	if d.given == len(d.ready) {
		return 0
	}
	n := copy(dst, d.ready[d.given:])
	clear(d.ready[d.given : d.given+n])
	if d.given += n; d.given == len(d.ready) {
		d.ready, d.given = d.ready[:0], 0
	}
	return n
}

// longest is the longest wait, so that the time of its end can be computed.
const longest = 365 * 24 * time.Hour

// tickSlack is how late a wait may end rather than set a timer of its own, in nanoseconds.
const tickSlack = 100_000

// block submits and waits for an outcome, for left nanoseconds or, if negative, for ever. It may end early with
// nothing.
func (d *uring) block(left, deadline int64) {
	q := d.main.q
	if d.busy && !d.brisk {
		d.brisk, d.idle = spare(), 0
	}
	if !d.brisk {
		d.busy = false
		_ = q.EnterBlocking(d.doubts.bound(left))
		return
	}
	bound := int64(d.tick)
	if d.gather.least > 1 {
		bound = min(bound, gatherTick)
	}
	if left >= 0 {
		bound = min(bound, left)
	}
	if !d.ticking {
		if s := d.next(d.main); s != nil {
			q.Tick(s, bound, userTick)
			d.ticking, d.period, d.tickAt = true, bound, d.now()+bound
		}
	}
	if d.ticking && (left < 0 || d.tickAt <= deadline+tickSlack) {
		d.gatherBriefly()
		return
	}
	_ = q.EnterBounded(bound)
	if q.Ready() == 0 {
		d.quieten(bound)
	}
}

// opened counts the open drivers of the process.
var opened atomic.Int32

// spare reports that other goroutines have a processor left when every driver hides its waits from the scheduler:
// otherwise they, and the collector, would stand still for a tick at a time. A program should set GOMAXPROCS to one
// more than it has loops, also on a machine with fewer cores.
func spare() bool { return runtime.GOMAXPROCS(0) > int(opened.Load()) }

// quieten counts nanoseconds that were waited, and when nothing came for a tick, ends the brief waits.
func (d *uring) quieten(ns int64) {
	if d.busy {
		d.idle = 0
	} else {
		d.idle += ns
	}
	d.busy, d.brisk = false, d.idle < int64(d.tick)
}

// collect turns the outcomes of r into completions, after the silent operations that they imply.
func (d *uring) collect(r *ring, dst []driver.Completion, n int) int {
	n = d.settle(r, dst, n, n > 0)
	ready := r.q.Ready()
	var i uint32
	for i < ready && n < len(dst) {
		o := r.q.Outcome(i)
		if d.complete(r, o, &dst[n]) {
			n++
		}
		i++
	}
	r.q.Seen(i)
	d.gather.seen += int64(i)
	return n
}

// complete handles an outcome and reports whether it filled c.
func (d *uring) complete(r *ring, o *sys.Outcome, c *driver.Completion) bool {
	if o.UserData>>32 == 0 {
		d.internal(r, o)
		return false
	}
	d.busy = true
	slot, e := d.ops.find(o.UserData)
	if e == nil {
		if o.Flags&sys.OutcomeBuffer != 0 {
			r.supply.pick(uint16(o.Flags >> 16)).Release()
		}
		return false
	}
	*c = driver.Completion{Token: driver.Token(o.UserData), User: e.user, Code: e.code}
	switch e.code {
	case driver.Recv:
		return d.received(r, slot, e, o, c)
	case driver.Send:
		return d.sent(slot, e, o, c)
	case driver.Accept:
		return d.accepted(r, slot, e, o, c)
	case driver.RecvFrom:
		return d.receivedFrom(r, slot, e, o, c)
	case driver.SendTo:
		return d.sentTo(slot, e, o, c)
	case driver.SendMany:
		return d.waitedToSend(slot, e, o, c)
	case driver.SendFile:
		return d.sentFile(slot, e, o, c)
	case driver.SpliceIn, driver.SpliceOut:
		return d.polled(slot, e, o, c)
	case driver.Close:
		if o.Res >= 0 {
			d.closed(e)
		}
	}
	if o.Res < 0 {
		c.Err = syscall.Errno(-o.Res)
	}
	d.drop(slot, e)
	return true
}

// internal handles the outcome of a submission that belongs to no operation.
func (d *uring) internal(r *ring, o *sys.Outcome) {
	switch uint8(o.UserData) {
	case userWake:
		d.state.CompareAndSwap(waking, awake) // before the caller looks for what it was woken for
		d.woken = true
		if o.Flags&sys.OutcomeMore == 0 {
			d.deaf = true
		}
		d.gather.tick(d.period, d.ops.used)
	case userTick:
		d.ticking = false
		d.quieten(d.period)
	case userCounter:
		d.counted, d.reading = true, false
	case userSettle:
		d.settled(r, o)
	case userVacate:
		d.vacated(r)
	case userInstall:
		if o.Res >= 0 {
			_ = sys.Close(int(o.Res)) // nobody waited for it any more
		}
	}
}

// listen renews the poll on the descriptor that Wake writes to.
func (d *uring) listen() {
	if d.closing {
		d.deaf = false
	} else if s := d.next(d.main); s != nil {
		s.Poll(d.wakeFD, sys.PollIn, true, userWake)
		d.deaf = false
	}
}
