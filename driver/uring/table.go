package uring

import (
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// marks are what is remembered of an operation besides its code.
type marks uint16

const (
	many     marks = 1 << iota // goes on completing
	canceled                   // Cancel was called
	silent                     // a lazy operation that has not posted an outcome
	corked                     // more bytes follow
	peeking                    // a receive without a block asks whether the end has come
	parked                     // a SendTo waits for room
	fed                        // a receive has brought bytes since it was armed
	local                      // not with the kernel: in the list of what the next Wait continues
	doubted                    // a receive is in uring.doubts
	fresh                      // it has brought bytes since it was put there, or last looked at
	renewed                    // it is being cancelled to be armed again
	primed                     // a SpliceIn was told that there is something
	joined                     // datagrams of a RecvFrom come several in a message
)

// entry is an operation in flight. A million idle connections are a million entries, so it is half a cache line,
// holds no pointer, and lives where the collector does not look.
type entry struct {
	user       uint64
	generation uint32 // never zero; changes when the entry is given back
	fd         int32
	hold       uint32 // what a write-side operation keeps alive, what a Recv may still bring, or the next free entry
	code       driver.Code
	marks      marks
}

const (
	chunkBits    = 12
	chunkEntries = 1 << chunkBits
)

// table holds the operations in flight in chunks that never move.
type table struct {
	chunks [][]entry
	memory [][]byte
	free   uint32 // index of the first free entry, plus one
	made   uint32
	limit  uint32
	used   uint32
}

func token(slot uint32, e *entry) uint64 { return uint64(e.generation)<<32 | uint64(slot) }

func (t *table) at(slot uint32) *entry {
	return &t.chunks[slot>>chunkBits][slot&(chunkEntries-1)]
}

// find is at for a token that may be stale.
func (t *table) find(tok uint64) (uint32, *entry) {
	slot := uint32(tok)
	if slot >= t.made {
		return 0, nil
	}
	if e := t.at(slot); e.generation == uint32(tok>>32) && e.code != driver.Nothing {
		return slot, e
	}
	return 0, nil
}

// take finds an entry for a new operation, or nil if there are as many as there may be. The one given back last
// comes first, because it is in the cache.
func (t *table) take() (uint32, *entry) {
	if t.used == t.limit {
		return 0, nil
	}
	if t.free == 0 {
		if t.made&(chunkEntries-1) == 0 {
			chunk, memory, err := sys.Cells[entry](chunkEntries)
			if err != nil {
				return 0, nil
			}
			t.chunks, t.memory = append(t.chunks, chunk), append(t.memory, memory)
		}
		t.made++
		t.used++
		e := t.at(t.made - 1)
		e.generation = 1
		return t.made - 1, e
	}
	slot := t.free - 1
	e := t.at(slot)
	t.free = e.hold
	t.used++
	return slot, e
}

// give takes an entry back; its token names nothing from now on.
func (t *table) give(slot uint32, e *entry) {
	e.generation++
	if e.generation == 0 {
		e.generation = 1
	}
	e.code, e.marks = driver.Nothing, 0
	e.hold, t.free = t.free, slot+1
	t.used--
}

// each calls f with every operation in flight.
func (t *table) each(f func(slot uint32, e *entry)) {
	for slot := range t.made {
		if e := t.at(slot); e.code != driver.Nothing {
			f(slot, e)
		}
	}
}

func (t *table) close() {
	for _, m := range t.memory {
		_ = sys.Unmap(m)
	}
	*t = table{}
}

// hold is what a write-side operation refers to until it completes. There are as many as such operations in flight,
// so these may hold pointers: they keep the bytes from the collector when the caller has them on the Go heap.
type hold struct {
	buf   []byte
	taken int // bytes that the kernel has taken
	total int // bytes asked for
	next  uint32
	rest  [][]byte
	addr  []byte
	file  *fileSend
	pipe  *driver.Pipe
}

// remaining is what is left of buf and rest.
func (h *hold) remaining(space *[driver.RestMax][]byte) ([]byte, [][]byte) {
	if h.taken == 0 {
		return h.buf, h.rest
	}
	if h.taken < len(h.buf) {
		return h.buf[h.taken:], h.rest
	}
	skip := h.taken - len(h.buf)
	for i, p := range h.rest {
		if skip < len(p) {
			k := copy(space[:], h.rest[i+1:])
			return p[skip:], space[:k]
		}
		skip -= len(p)
	}
	return nil, nil
}

type holds struct {
	all  []hold
	free uint32 // index of the first free one, plus one
}

func (s *holds) at(i uint32) *hold { return &s.all[i] }

func (s *holds) take() (uint32, *hold) {
	if s.free == 0 {
		s.all = append(s.all, hold{})
		i := uint32(len(s.all) - 1)
		return i, &s.all[i]
	}
	i := s.free - 1
	h := &s.all[i]
	s.free = h.next
	h.taken = 0
	return i, h
}

func (s *holds) give(i uint32) {
	h := &s.all[i]
	h.buf = nil
	if h.pipe != nil {
		h.pipe.Release()
		h.pipe = nil
	}
	if h.rest != nil || h.addr != nil || h.file != nil {
		h.rest, h.addr, h.file = nil, nil, nil
	}
	h.next, s.free = s.free, i+1
}
