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

// hush notes that the operation whose submission was taken last is silent.
func (d *uring) hush(r *ring, tok uint64) {
	r.quiet.push(tok, r.q.Position())
	if !r.hushed {
		r.hushed = true
		d.hushed = append(d.hushed, r)
	}
}

// settle completes the silent operations of r that were consumed and posted nothing. It is called before the
// outcomes are collected, so that what the operations held is free again when the next requests are served. Unless
// Wait returns anyhow, they come only with an outcome of some other operation.
func (d *uring) settle(r *ring, dst []driver.Completion, n int, anyhow bool) int {
	if r.quiet.empty() || r.q.Overflowed() {
		return n // what waits in the kernel for room may be a failure of one of them
	}
	for i := range r.q.Ready() {
		o := r.q.Outcome(i)
		if o.UserData>>32 == 0 {
			continue
		}
		anyhow = true
		if _, e := d.ops.find(o.UserData); e != nil {
			e.marks &^= silent
		}
	}
	if !anyhow {
		return n
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
		dst[n] = driver.Completion{
			Token: driver.Token(item.tok), User: e.user, Result: d.holds.at(e.hold).total, Code: e.code,
		}
		d.drop(slot, e)
		n++
	}
	return n
}

// settleAll is settle for every ring, when Wait returns.
func (d *uring) settleAll(dst []driver.Completion, n int) int {
	left := d.hushed[:0]
	for _, r := range d.hushed {
		n = d.settle(r, dst, n, true)
		if r.hushed = !r.quiet.empty(); r.hushed {
			left = append(left, r)
		}
	}
	d.hushed = left
	return n
}
