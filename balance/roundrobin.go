package balance

import (
	"slices"
	"sync/atomic"
)

// RoundRobin takes the members in turn, each as often as its weight says and as evenly spread as that allows: weights
// 2 and 1 give a b a, not a a b. It is right when requests cost much the same.
//
// The order of one round is worked out when it is built, so a Pick is one atomic addition. Keeping a running weight
// for each member would need a lock.
type RoundRobin struct{}

// Name returns "round_robin".
func (RoundRobin) Name() string { return "round_robin" }

// Build works out one round, of as many entries as the weights, divided by what they have in common, add up to.
func (RoundRobin) Build(members []Member) Picker {
	return &roundRobin{table: table{entries: evenly(shares(weightsOf(members))), members: len(members)}}
}

type roundRobin struct {
	table
	turn atomic.Uint64
}

func (p *roundRobin) Pick(_ uint64, ok func(int) bool) int {
	if p.members == 0 {
		return -1
	}
	at := p.take()
	if first := int(p.entries[at]); ok == nil || ok(first) {
		return first
	}
	return p.pickOn(at, ok)
}

// take takes the next turn, which nobody else gets, and returns its position in the round.
func (p *roundRobin) take() int { return int((p.turn.Add(1) - 1) % uint64(len(p.entries))) }

// pickOn goes on after a member was refused, with further turns of its own. It must not look ahead at turns that are
// not taken yet: the member behind one that is down would serve its own turns and those of the other, and more so the
// more goroutines pick at once. Turns of members that were asked already are worthless, so dropping them is fair.
func (p *roundRobin) pickOn(at int, ok func(int) bool) int {
	const turns = 64 // then nearly all are down, and being done matters more than being even
	w := newWalker(&p.table, at)
	w.next() // the one that was refused
	for n := 0; n < turns && w.left > 0; n++ {
		w.at = p.take()
		if member := int(p.entries[w.at]); w.meet(member) && ok(member) {
			return member
		}
	}
	return w.first(ok)
}

// evenly lists members as often as their shares, evenly spread: the k-th of s entries of a member belongs at
// (k+1/2)/s.
func evenly(shares []uint64) []uint32 {
	type entry struct{ member, at, share uint64 } // its place is at/share
	var entries []entry
	for member, share := range shares {
		for k := range share {
			entries = append(entries, entry{uint64(member), 2*k + 1, share})
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		left, right := a.at*b.share, b.at*a.share
		switch {
		case left < right:
			return -1
		case left > right:
			return 1
		}
		return 0
	})
	order := make([]uint32, len(entries))
	for i, e := range entries {
		order[i] = uint32(e.member)
	}
	return order
}
