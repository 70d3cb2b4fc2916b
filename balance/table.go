package balance

import "math/bits"

// accuracy is how many entries a table of shares may have, unless there are even more members: weights are honoured
// to about one in 16,384.
const accuracy = 1 << 14

// table lists members, each as often as its share and at least once. An order of preference is a walk through it from
// some position on, round and round, that passes over members already met. So the share of a member that is refused
// falls to the others in proportion to theirs, when the table is well mixed.
type table struct {
	entries []uint32
	members int
}

// position maps a random or hashed number to a position, evenly, without a division.
func (t *table) position(number uint64) int {
	high, _ := bits.Mul64(number, uint64(len(t.entries)))
	return int(high)
}

// walk returns the first member from a position on that ok accepts, or -1.
func (t *table) walk(from int, ok func(int) bool) int {
	if t.members == 0 {
		return -1
	}
	if first := int(t.entries[from]); ok == nil || ok(first) {
		return first
	}
	return t.walkOn(from, ok)
}

// walkOn is walk after the first member was refused. It is apart so that the usual case does not clear a set of
// members.
func (t *table) walkOn(from int, ok func(int) bool) int {
	w := newWalker(t, from)
	w.next() // the one that was refused
	return w.first(ok)
}

// walker yields every member of a table once.
type walker struct {
	table *table
	at    int
	left  int // members not met
	met   memberSet
}

func newWalker(t *table, from int) walker {
	return walker{table: t, at: from, left: t.members, met: newMemberSet(t.members)}
}

// first returns the first member not met that ok accepts, or -1.
func (w *walker) first(ok func(int) bool) int {
	for {
		if member := w.next(); member < 0 || ok(member) {
			return member
		}
	}
}

// next returns the next member not met, or -1 when all were. It ends, because every member is in the table.
func (w *walker) next() int {
	if w.left == 0 {
		return -1
	}
	for {
		member := int(w.table.entries[w.at])
		if w.at++; w.at == len(w.table.entries) {
			w.at = 0
		}
		if w.meet(member) {
			return member
		}
	}
}

// meet counts a member as met and tells whether it was not met before.
func (w *walker) meet(member int) bool {
	isNew := w.met.add(member)
	if isNew {
		w.left--
	}
	return isNew
}

// memberSet is a set of members that lives on the stack for up to 4,096 of them.
type memberSet struct {
	few  [64]uint64
	many []uint64 // in place of few
}

func newMemberSet(members int) memberSet {
	var s memberSet
	if members > len(s.few)*64 {
		s.many = make([]uint64, (members+63)/64)
	}
	return s
}

func (s *memberSet) has(member int) bool {
	if s.many != nil {
		return s.many[member/64]>>(member%64)&1 == 1
	}
	return s.few[member/64]>>(member%64)&1 == 1
}

// add adds a member and tells whether it is new.
func (s *memberSet) add(member int) bool {
	word := &s.few[member/64%len(s.few)]
	if s.many != nil {
		word = &s.many[member/64]
	}
	bit := uint64(1) << (member % 64)
	isNew := *word&bit == 0
	*word |= bit
	return isNew
}

// shares reduces weights to how often each member stands in a table: exactly in proportion when that takes at most as
// many entries as accuracy says, otherwise rounded, and at least once.
func shares(weights []uint64) []uint64 {
	divisor, sum := uint64(0), uint64(0)
	for _, weight := range weights {
		divisor = greatestCommonDivisor(weight, divisor)
		sum += weight
	}
	reduced := make([]uint64, len(weights))
	limit := uint64(max(accuracy, len(weights)))
	for i, weight := range weights {
		if sum/divisor <= limit {
			reduced[i] = weight / divisor
		} else {
			reduced[i] = max(1, (weight*limit+sum/2)/sum)
		}
	}
	return reduced
}

func greatestCommonDivisor(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// mix spreads every bit of a number over all bits (the finalizer of splitmix64), so that keys may be mere counters.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
