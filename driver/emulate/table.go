package emulate

import (
	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
)

// entry is what is known of one descriptor; the table has one for each number.
type entry struct {
	read  uint32 // slot + 1 of the read-side operation in flight
	write uint32 // slot + 1 of the write-side operation in flight
	want  Interest
	dry   Interest
	marks uint8
}

// Marks of an entry.
const (
	adopted   uint8 = 1 << iota // the descriptor belongs to the driver
	pieces                      // not TCP: a short read says nothing
	doubt                       // a short read says nothing until EAGAIN was seen
	gathering                   // datagrams: the kernel passes on several as one message
	apart                       // datagrams: it cannot
)

// operation is one in flight. It holds no pointer, so that a million parked
// receives give the collector nothing to look at.
type operation struct {
	user       uint64
	fd         int32
	generation uint32
	cargo      uint32 // index + 1 in the cargo pool
	next       uint32 // slot + 1 of the next free one; Op.Len of a SpliceIn, or what is left of that of a Recv
	code       driver.Code
	marks      uint8
}

// Marks of an operation.
const (
	many uint8 = 1 << iota
	lazy
	corked
	queued // it has a place in the turn
)

// slots holds operations in pieces, which never move.
type slots struct {
	pieces []*[pieceSlots]operation
	free   uint32
	used   int // slots that exist, in flight or free
	busy   int // slots in flight
}

const pieceSlots = 1024

func (t *slots) at(slot uint32) *operation { return &t.pieces[slot/pieceSlots][slot%pieceSlots] }

// take gives a slot with a generation that it has never had.
func (t *slots) take() (uint32, *operation) {
	t.busy++
	if t.free != 0 {
		slot := t.free - 1
		o := t.at(slot)
		t.free = o.next
		o.generation++
		return slot, o
	}
	if t.used == len(t.pieces)*pieceSlots {
		t.pieces = append(t.pieces, new([pieceSlots]operation))
	}
	slot := uint32(t.used)
	t.used++
	o := t.at(slot)
	o.generation = 1
	return slot, o
}

func (t *slots) give(slot uint32) {
	o := t.at(slot)
	*o = operation{generation: o.generation + 1, next: t.free}
	t.free = slot + 1
	t.busy--
}

// tokenOf names the operation that is in the slot now.
func (t *slots) tokenOf(slot uint32) driver.Token {
	return driver.Token(t.at(slot).generation)<<32 | driver.Token(slot+1)
}

// find gives the operation in flight that a token names, or nil.
func (t *slots) find(token driver.Token) (uint32, *operation) {
	slot := uint32(token) - 1
	if int64(slot) >= int64(t.used) {
		return 0, nil
	}
	o := t.at(slot)
	if o.generation != uint32(token>>32) || o.code == driver.Nothing {
		return 0, nil
	}
	return slot, o
}

// cargo is the part of a parked write-side operation that holds pointers.
type cargo struct {
	head []byte   // what is to be sent next; SendFile: before the file
	rest [][]byte // what follows head
	addr []byte
	off  int64
	left int // bytes of the file to go
	from int
	done int // bytes taken and not reported
	next uint32
	pipe *driver.Pipe
}

// advance passes over n bytes that were sent, and over empty pieces; false says
// that nothing is left.
func (c *cargo) advance(n int) bool {
	for n >= len(c.head) {
		if len(c.rest) == 0 {
			c.head = nil
			return false
		}
		n -= len(c.head)
		c.head, c.rest = c.rest[0], c.rest[1:]
	}
	c.head = c.head[n:]
	return true
}

// cargoes is the pool of cargo. It grows to the largest number of writes that
// were parked at one time.
type cargoes struct {
	items []cargo
	free  uint32
}

// keep stores c and gives its index + 1.
func (p *cargoes) keep(c *cargo) uint32 {
	if p.free == 0 {
		p.items = append(p.items, *c)
		return uint32(len(p.items))
	}
	index := p.free
	p.free = p.items[index-1].next
	p.items[index-1] = *c
	return index
}

func (p *cargoes) at(index uint32) *cargo { return &p.items[index-1] }

func (p *cargoes) give(index uint32) {
	release(p.items[index-1].pipe)
	p.items[index-1] = cargo{next: p.free}
	p.free = index
}

// queue is first in, first out. It reuses its memory.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) size() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) {
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

// pop takes the oldest; the queue must not be empty.
func (q *queue[T]) pop() T {
	v := q.items[q.head]
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// result is a completion that Wait has not returned yet.
type result struct {
	driver.Completion
	lazy bool
}

// progress reports what an operation has done so far; it stays in flight.
func (m *machine) progress(slot uint32, o *operation, n int, b *buf.Block) {
	m.urgent++
	m.results.push(result{Completion: driver.Completion{
		Block: b, Token: m.slots.tokenOf(slot), User: o.user, Result: n, Code: o.code, Flags: driver.More,
	}})
}

// finish reports the end of an operation and frees its slot.
func (m *machine) finish(slot uint32, o *operation, n int, err error, b *buf.Block) {
	late := o.marks&lazy != 0 && err == nil
	if !late {
		m.urgent++
	}
	m.results.push(result{Completion: driver.Completion{
		Block: b, Err: err, Token: m.slots.tokenOf(slot), User: o.user, Result: n, Code: o.code,
	}, lazy: late})
	if uint(o.fd) < uint(len(m.table)) {
		e := &m.table[o.fd]
		if e.read == slot+1 {
			e.read = 0
		}
		if e.write == slot+1 {
			e.write = 0
		}
	}
	if o.cargo != 0 {
		m.cargoes.give(o.cargo)
	}
	m.slots.give(slot)
}
