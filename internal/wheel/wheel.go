// Package wheel keeps the deadlines of one event loop: at most one timer for each connection slot, a million of them
// at the cost of 16 bytes each.
//
// It is a single hashed timing wheel (Varghese and Lauck, scheme 6, 1987) with many buckets, a bitmap of the occupied
// ones, and lazy moves.
//
// Why one wheel and not a hierarchy: a hierarchy moves whole coarse buckets down at once, and when a hundred thousand
// connections were accepted within one coarse span, that is a stall of milliseconds for every connection beside them.
// Here an entry is touched on the tick it was linked for and on no other, so the work of a turn is the connections
// that became due in that turn. What a hierarchy saves is bucket heads; they are 4 bytes, so 65,536 buckets of 8 ms
// (over nine minutes) cost 256 KiB a loop. A deadline further away than one turn of the wheel is looked at once per
// turn.
//
// Why lazy: a server moves a deadline with every request and lets hardly any of them pass. A later deadline only
// overwrites a number; the entry stays where it is linked, and when that bucket comes round it is linked again where
// it belongs. Clearing works alike. So each entry is relinked about once per timeout, however many requests it
// serves.
//
// Why slot numbers and not pointers: the entries hold no pointer, so the garbage collector never looks into them; it
// sees one pointer for every 4,096 slots.
//
// The wheel reads no clock, takes no lock and calls nobody: the loop passes the time in and gets slots back. It
// belongs to one goroutine.
package wheel

import (
	"math"
	"math/bits"
	"time"
)

const (
	chunkBits = 12 // entries are kept in chunks of 4,096 (64 KiB), so that growth never copies a living entry
	chunkSize = 1 << chunkBits

	none = math.MaxUint32 // ends a list; therefore no slot may have this number

	// farthestTicks bounds how far ahead a deadline may lie, because an entry keeps the low 32 bits of its tick.
	farthestTicks = math.MaxUint32

	minBuckets = 64
	maxBuckets = 1 << 24

	linked     = 1 << 31 // of entry.place: in the list of its bucket
	armed      = 1 << 30 // of entry.place: has a deadline; never without linked
	bucketMask = armed - 1
)

// entry is the timer of one slot. Its zero value is a slot without a deadline.
type entry struct {
	next, prev uint32 // neighbours in the bucket's list, or none
	deadline   uint32 // low 32 bits of the tick it fires on; exact, because every deadline is later than Wheel.current
	place      uint32 // bucket, linked, armed
}

// Wheel holds at most one deadline for each slot. Times are nanoseconds on one monotonic clock of the caller's
// choice.
type Wheel struct {
	shift   uint  // a tick is 1<<shift nanoseconds: telling the tick of a time is a shift, not a division
	start   int64 // the time of tick 0
	current int64 // the last tick that Expire went through

	// Every linked entry is due within (current, current+buckets]. So a bucket never mixes entries of different turns
	// of the wheel, and its number alone tells when it must be looked at.
	mask     uint32
	heads    []uint32
	occupied occupancy
	chunks   []*[chunkSize]entry
	set      int // armed entries
}

// New returns an empty wheel at time now. The tick is rounded down to a power of two nanoseconds, see [Wheel.Tick];
// it must be positive, or New panics. The number of buckets is rounded up to a power of two between 64 and
// 16,777,216. Buckets times tick should exceed the usual timeout; longer ones work, but are looked at once in every
// such span.
func New(tick time.Duration, buckets int, now int64) *Wheel {
	if tick <= 0 {
		panic("wheel: the tick must be positive")
	}
	buckets = min(max(buckets, minBuckets), maxBuckets)
	count := uint32(1) << bits.Len32(uint32(buckets)-1)
	w := &Wheel{
		shift:    uint(bits.Len64(uint64(tick)) - 1),
		start:    now,
		mask:     count - 1,
		heads:    make([]uint32, count),
		occupied: newOccupancy(count),
	}
	for i := range w.heads {
		w.heads[i] = none
	}
	return w
}

// Tick returns the resolution: the tick given to New, rounded down to a power of two nanoseconds. A deadline is
// reported at most this much late when Expire is called as Next advises.
func (w *Wheel) Tick() time.Duration { return 1 << w.shift }

// Len returns how many slots have a deadline.
func (w *Wheel) Len() int { return w.set }

// Set gives the slot the deadline at, in place of the one it had. A deadline that has passed already fires on the
// next tick. One more than 4,294,967,295 ticks ahead (over a year with ticks of 8 ms) is taken to be that far ahead.
// Moving a deadline to a later time is a store; to an earlier one, a relink. Set allocates only when the slot is the
// first of its 4,096 ever used. The slot math.MaxUint32 does not exist: Set panics.
func (w *Wheel) Set(slot uint32, at int64) {
	ahead := w.ticksAhead(at)
	e := w.entry(slot)
	if e == nil {
		if slot == none {
			panic("wheel: no such slot: 4294967295")
		}
		e = w.grow(slot)
	}
	e.deadline = uint32(w.current) + ahead
	if e.place&armed == 0 {
		w.set++
	}
	if e.place&linked != 0 {
		if ahead >= w.ticksUntil(e.place&bucketMask) {
			e.place |= armed
			return
		}
		w.unlink(e)
	}
	w.link(slot, e)
}

// Clear takes the slot's deadline away; a slot without one is left alone. The entry stays linked until its bucket
// comes round or the slot is set again, so a cleared deadline can cost one early wake-up.
func (w *Wheel) Clear(slot uint32) {
	if e := w.entry(slot); e != nil && e.place&armed != 0 {
		e.place &^= armed
		w.set--
	}
}

// Deadline returns the slot's deadline and whether it has one. The deadline is the one given to Set, rounded up to a
// tick.
func (w *Wheel) Deadline(slot uint32) (at int64, ok bool) {
	e := w.entry(slot)
	if e == nil || e.place&armed == 0 {
		return 0, false
	}
	return w.timeOf(w.current + int64(e.deadline-uint32(w.current))), true
}

// Next returns how long the loop may wait from now on before it must call Expire: -1 for ever, because no deadline is
// set; 0 not at all. It never goes past a deadline by more than a tick, and may end before one where a deadline was
// moved or cleared. It looks at a handful of words, however many slots are set.
func (w *Wheel) Next(now int64) time.Duration {
	if w.set == 0 {
		return -1
	}
	// A set slot is linked, so some bucket is occupied and next finds it.
	bucket := w.occupied.next(uint32(w.current+1) & w.mask)
	due := w.timeOf(w.current + int64(w.ticksUntil(bucket)))
	if due <= now {
		return 0
	}
	return time.Duration(due - now)
}

// Expire appends the slots whose deadline has passed to dst, each once, clears them, and returns the extended slice.
// They come bucket by bucket, in no promised order within one. It is one comparison while the tick has not changed,
// and after the longest pause it looks at each bucket once. A time before that of an earlier call changes nothing.
//
// The slots are only numbers: a caller that reuses a slot while it works through them must tell the old owner from
// the new.
func (w *Wheel) Expire(now int64, dst []uint32) []uint32 {
	target := (now - w.start) >> w.shift
	if target <= w.current {
		return dst
	}
	passed := uint64(target - w.current)
	moved := uint32(none) // entries to link again, chained by next
	first := uint32(w.current+1) & w.mask
	for left := min(passed, uint64(len(w.heads))); left > 0; {
		bucket := w.occupied.next(first)
		distance := uint64((bucket - first) & w.mask)
		if bucket == none || distance >= left {
			break
		}
		dst, moved = w.visit(bucket, passed, dst, moved)
		left -= distance + 1
		first = (bucket + 1) & w.mask
	}
	// Only now, so that nothing is linked into a bucket that is still to be visited.
	w.current = target
	for moved != none {
		e := w.entry(moved)
		slot := moved
		moved = e.next
		w.link(slot, e)
	}
	return dst
}

// visit empties a bucket: entries whose deadline lies within the passed ticks go to dst, later ones onto the moved
// chain, and cleared ones nowhere.
func (w *Wheel) visit(bucket uint32, passed uint64, dst []uint32, moved uint32) ([]uint32, uint32) {
	slot := w.heads[bucket]
	w.heads[bucket] = none
	w.occupied.clear(bucket)
	for slot != none {
		e := w.entry(slot)
		next := e.next
		switch {
		case e.place&armed == 0:
			e.place = 0
		case uint64(e.deadline-uint32(w.current)) <= passed:
			e.place = 0
			w.set--
			dst = append(dst, slot)
		default:
			e.next = moved
			moved = slot
		}
		slot = next
	}
	return dst, moved
}

// link puts an armed entry into the bucket of its deadline, modulo one turn of the wheel.
func (w *Wheel) link(slot uint32, e *entry) {
	bucket := e.deadline & w.mask
	head := w.heads[bucket]
	e.next, e.prev, e.place = head, none, bucket|linked|armed
	if head != none {
		w.entry(head).prev = slot
	} else {
		w.occupied.set(bucket)
	}
	w.heads[bucket] = slot
}

// unlink takes an entry out of its bucket's list.
func (w *Wheel) unlink(e *entry) {
	if e.next != none {
		w.entry(e.next).prev = e.prev
	}
	if e.prev != none {
		w.entry(e.prev).next = e.next
		return
	}
	bucket := e.place & bucketMask
	w.heads[bucket] = e.next
	if e.next == none {
		w.occupied.clear(bucket)
	}
}

// entry returns the entry of a slot, or nil when its chunk was never needed.
func (w *Wheel) entry(slot uint32) *entry {
	if index := slot >> chunkBits; uint64(index) < uint64(len(w.chunks)) {
		if chunk := w.chunks[index]; chunk != nil {
			return &chunk[slot%chunkSize]
		}
	}
	return nil
}

// grow makes the chunk of a slot.
func (w *Wheel) grow(slot uint32) *entry {
	index := int(slot >> chunkBits)
	if missing := index + 1 - len(w.chunks); missing > 0 {
		w.chunks = append(w.chunks, make([]*[chunkSize]entry, missing)...)
	}
	w.chunks[index] = new([chunkSize]entry)
	return &w.chunks[index][slot%chunkSize]
}

// ticksAhead returns how many ticks after the current one a deadline fires: rounded up, so that it never fires early,
// and at least 1, because the current tick has been dealt with.
func (w *Wheel) ticksAhead(at int64) uint32 {
	if at <= w.start {
		return 1
	}
	nanoseconds := uint64(at) - uint64(w.start) // right even where the signed difference would overflow
	tick := nanoseconds >> w.shift
	if tick<<w.shift != nanoseconds {
		tick++
	}
	if tick <= uint64(w.current) {
		return 1
	}
	return uint32(min(tick-uint64(w.current), farthestTicks))
}

// ticksUntil returns how many ticks after the current one a bucket is due: 1 to the number of buckets.
func (w *Wheel) ticksUntil(bucket uint32) uint32 {
	return (bucket-uint32(w.current)-1)&w.mask + 1
}

// timeOf returns the time at which a tick begins, or the end of time for one beyond it.
func (w *Wheel) timeOf(tick int64) int64 {
	if tick > (math.MaxInt64-max(w.start, 0))>>w.shift {
		return math.MaxInt64
	}
	return w.start + tick<<w.shift
}
