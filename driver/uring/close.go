package uring

import (
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	closeStep  = 10 * time.Millisecond
	closeSteps = 1000
)

// Close cancels what is in flight and waits until the kernel has let go of all memory.
func (d *uring) Close() error {
	if d.wakeFD >= 0 {
		// A Wake under way has still to write; its write is an outcome to wait for.
		for !d.state.CompareAndSwap(awake, shut) {
			d.discard(closeStep)
		}
	}
	d.closing = true
	d.ops.each(func(_ uint32, e *entry) { e.marks |= canceled })
	quiet := false
	for range closeSteps {
		if quiet = d.ops.used == 0 && !d.reading && d.given == len(d.ready); quiet {
			break
		}
		d.endPaused()
		for _, r := range d.rings {
			if s := d.next(r); s != nil {
				s.CancelEverything(userIgnore)
			}
		}
		d.discard(closeStep)
	}
	if quiet {
		d.joins.close()
	}
	for _, r := range d.rings {
		if quiet { // otherwise the kernel keeps the memory: a leak is better than what it would write over
			r.supply.close()
			r.q.Close()
		}
	}
	if d.wakeFD >= 0 {
		_ = sys.Close(d.wakeFD)
	}
	if d.reserve >= 0 {
		_ = sys.Close(d.reserve)
	}
	if d.direct != nil {
		_ = sys.Close(d.direct.counter)
	}
	for _, m := range d.staging {
		_ = sys.Unmap(m)
	}
	d.ops.close()
	d.rings, d.main = nil, nil
	opened.Add(-1)
	return nil
}

// endPaused hands accepts that wait for a slot to the next Wait, which ends them.
func (d *uring) endPaused() {
	if d.direct == nil {
		return
	}
	for i := range d.direct.acceptors {
		a := &d.direct.acceptors[i]
		if slot, e := d.ops.find(a.tok); e != nil && a.flying == 0 && e.marks&local == 0 {
			d.postpone(slot, e)
		}
	}
}

// discard waits and drops what comes.
func (d *uring) discard(limit time.Duration) {
	var dst [64]driver.Completion
	n, _ := d.Wait(dst[:], limit)
	for _, c := range dst[:n] {
		if c.Block != nil {
			c.Block.Release()
		}
		if c.Pipe != nil {
			c.Pipe.Release()
		}
		if c.Code == driver.Accept && c.Err == nil && !isDirect(c.Result) {
			_ = sys.Close(c.Result) // nobody will hear of it
		}
	}
}
