// Package pool keeps idle things, such as connections, until they are wanted again, on a shelf for each key with the
// most recent on top: what was used last is least likely to have gone stale, and what lies at the bottom is surplus.
//
// A pool does nothing by itself. It neither makes things nor closes them, knows no time and never waits; what it has
// no room for it hands back. Putting, taking and removing cost the same however much it holds, and allocate nothing
// once it has held as much before. A pool is for one goroutine, or for many with a lock of theirs.
package pool

import "fmt"

// Pool keeps things of type C by keys of type K.
type Pool[K comparable, C any] struct {
	store[C]
	perKey  int
	shelves map[K]*Shelf[C]
}

// New makes a pool that holds at most perKey things on each shelf, and total on all; both are at least 1. It panics if
// they are not, because that is a mistake in the program.
func New[K comparable, C any](perKey, total int) *Pool[K, C] {
	if perKey < 1 || total < 1 || total >= none {
		panic(fmt.Sprintf("pool: limits of %d for each key and %d in all; both must be at least 1", perKey, total))
	}
	p := &Pool[K, C]{perKey: perKey, shelves: map[K]*Shelf[C]{}}
	p.limit, p.vacant, p.oldest, p.newest = total, none, none, none
	return p
}

// Len is how many things there are on all shelves.
func (p *Pool[K, C]) Len() int { return p.held }

// Shelf is the shelf of a key, made when it is first asked for. It stays the same until Forget, so that whoever uses
// it often keeps it and saves the look-up.
func (p *Pool[K, C]) Shelf(key K) *Shelf[C] {
	s := p.shelves[key]
	if s == nil {
		s = &Shelf[C]{store: &p.store, limit: p.perKey, top: none, bottom: none}
		p.shelves[key] = s
	}
	return s
}

// Forget takes everything from the shelf of a key, oldest first, and then the shelf itself, which must not be used any
// more. gone is told of each thing; it may be nil.
func (p *Pool[K, C]) Forget(key K, gone func(C)) {
	s := p.shelves[key]
	if s == nil {
		return
	}
	delete(p.shelves, key)
	for s.held > 0 {
		if thing := s.remove(s.bottom); gone != nil {
			gone(thing)
		}
	}
}

// Handle finds a thing in the pool, also after it has left it, when it finds nothing. The zero Handle finds nothing.
type Handle struct{ slot, generation uint32 }

// Remove takes the thing of a handle from its shelf, wherever it lies. It reports false if it is there no more.
func (p *Pool[K, C]) Remove(h Handle) (thing C, ok bool) {
	if int(h.slot) >= len(p.slots) || h.generation == 0 || p.slots[h.slot].generation != h.generation {
		return thing, false
	}
	return p.slots[h.slot].shelf.remove(h.slot), true
}

// none is no slot: the end of a list.
const none = 1<<32 - 1

// store holds the things of all shelves.
type store[C any] struct {
	slots          []slot[C]
	vacant         uint32 // head of the list of free slots, linked through below
	oldest, newest uint32
	held, limit    int
}

// slot is a place for one thing, in two lists: that of its shelf and that of all things by age.
type slot[C any] struct {
	thing        C
	shelf        *Shelf[C] // nil: free
	above, below uint32
	newer, older uint32
	generation   uint32 // goes up when the slot is left
}

// Shelf holds the things of one key.
type Shelf[C any] struct {
	store       *store[C]
	top, bottom uint32
	held, limit int
}

// Len is how many things there are on the shelf.
func (s *Shelf[C]) Len() int { return s.held }

// Put lays a thing on top. If the shelf is full, its oldest thing falls out; if the pool is, the oldest of all does:
// out is then that thing, which is the caller's to close.
func (s *Shelf[C]) Put(thing C) (h Handle, out C, full bool) {
	switch p := s.store; {
	case s.held == s.limit:
		out, full = s.remove(s.bottom), true
	case p.held == p.limit:
		out, full = p.slots[p.oldest].shelf.remove(p.oldest), true
	}
	return s.lay(thing), out, full
}

// Take takes the thing on top. It reports false if there is none.
func (s *Shelf[C]) Take() (thing C, ok bool) {
	if s.held == 0 {
		return thing, false
	}
	return s.remove(s.top), true
}

// Oldest is the thing at the bottom, which stays there. It reports false if there is none.
func (s *Shelf[C]) Oldest() (thing C, h Handle, ok bool) {
	if s.held == 0 {
		return thing, h, false
	}
	bottom := &s.store.slots[s.bottom]
	return bottom.thing, Handle{s.bottom, bottom.generation}, true
}

// lay puts a thing on top; there is room.
func (s *Shelf[C]) lay(thing C) Handle {
	p := s.store
	index := p.vacant
	if index == none {
		index = uint32(len(p.slots))
		p.slots = append(p.slots, slot[C]{generation: 1})
	} else {
		p.vacant = p.slots[index].below
	}
	n := &p.slots[index]
	n.thing, n.shelf = thing, s
	n.above, n.below = none, s.top
	if s.top != none {
		p.slots[s.top].above = index
	} else {
		s.bottom = index
	}
	s.top = index
	n.newer, n.older = none, p.newest
	if p.newest != none {
		p.slots[p.newest].newer = index
	} else {
		p.oldest = index
	}
	p.newest = index
	s.held++
	p.held++
	return Handle{index, n.generation}
}

// remove takes the thing out of a slot that is in use.
func (s *Shelf[C]) remove(index uint32) C {
	p := s.store
	n := &p.slots[index]
	if n.above != none {
		p.slots[n.above].below = n.below
	} else {
		s.top = n.below
	}
	if n.below != none {
		p.slots[n.below].above = n.above
	} else {
		s.bottom = n.above
	}
	if n.newer != none {
		p.slots[n.newer].older = n.older
	} else {
		p.newest = n.older
	}
	if n.older != none {
		p.slots[n.older].newer = n.newer
	} else {
		p.oldest = n.newer
	}
	s.held--
	p.held--
	thing := n.thing
	var nothing C
	n.thing, n.shelf = nothing, nil
	if n.generation++; n.generation == 0 {
		n.generation = 1 // zero is the generation of no handle
	}
	n.below, p.vacant = p.vacant, index
	return thing
}
