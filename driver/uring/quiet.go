package uring

import "github.com/myriad-server/myriad/driver"

// quiet is the queue of a ring's silent operations, in the order of their submission.
type quiet struct {
	items []quietItem
	head  int
}

type quietItem struct {
	tok      uint64
	position uint32 // of the submission queue, just behind the operation's entry
}

func (q *quiet) empty() bool { return q.head == len(q.items) }

func (q *quiet) push(tok uint64, position uint32) {
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 0 && len(q.items) == cap(q.items) {
		q.items = q.items[:copy(q.items, q.items[q.head:])]
		q.head = 0
	}
	q.items = append(q.items, quietItem{tok, position})
}

// settle completes the silent operations of r that were consumed and posted nothing. It is called before the
// outcomes are collected, so that what the operations held is free again when the next requests are served.
func (d *uring) settle(r *ring, dst []driver.Completion, n int) int {
	if r.quiet.empty() || r.q.Overflowed() {
		return n // what waits in the kernel for room may be a failure of one of them
	}
	ready := r.q.Ready()
	for i := range ready {
		if _, e := d.ops.find(r.q.Outcome(i).UserData); e != nil {
			e.marks &^= silent
		}
	}
	consumed := r.q.Consumed()
	q := &r.quiet
	for ; q.head < len(q.items) && n < len(dst); q.head++ {
		item := q.items[q.head]
		if int32(consumed-item.position) < 0 {
			break
		}
		slot, e := d.ops.find(item.tok)
		if e == nil || e.marks&silent == 0 {
			continue // it was not taken whole, and said so
		}
		c := &dst[n]
		*c = driver.Completion{Token: driver.Token(item.tok), User: e.user, Code: e.code}
		if e.code != driver.Close {
			c.Result = d.holds.at(e.hold).total
		} else {
			d.closed(e)
		}
		d.drop(slot, e)
		n++
	}
	return n
}
