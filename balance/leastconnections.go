package balance

import "sync/atomic"

// LeastConnections takes the member with the least load for its weight. Members that are even take turns in
// proportion to their weights. It is right when requests last differently long; it asks every member for its load, so
// it is for tens of members, and [TwoChoices] for hundreds.
type LeastConnections struct{}

// Name returns "least_connections".
func (LeastConnections) Name() string { return "least_connections" }

// Build copies the members.
func (LeastConnections) Build(members []Member) Picker {
	p := &leastConnections{loads: newLoads(members), turns: make([]atomic.Uint64, len(members))}
	return p
}

// leastConnections breaks ties by start-time fair queueing: a member's turn is a virtual time, which moves on by a
// step in inverse proportion to its weight when it is picked, and the earliest turn wins. One that was not picked for
// long does not save up turns: it counts from the present. Two goroutines that pick at once may store the same turn,
// and one step is lost; that is accepted, because it changes a tie and nothing else.
type leastConnections struct {
	loads
	turns   []atomic.Uint64
	present atomic.Uint64 // the turn of the last pick
}

// step is what the turn of a member of weight 1 moves on by.
const step = 1 << 20

// candidate is a member with what it is compared by, taken once, because a load changes while others are looked at.
type candidate struct {
	member int
	load   uint64
	turn   uint64
}

func (p *leastConnections) Pick(_ uint64, ok func(int) bool) int {
	if len(p.turns) == 0 {
		return -1
	}
	present := p.present.Load()
	best := p.candidate(0, present)
	for member := 1; member < len(p.turns); member++ {
		if c := p.candidate(member, present); p.before(c, best) {
			best = c
		}
	}
	if ok != nil && !ok(best.member) {
		return p.pickOn(best.member, present, ok)
	}
	return p.picked(best)
}

// pickOn goes on after the first member was refused. It finds the best few members not asked in each pass over all,
// because finding one a pass would be quadratic when most are down.
func (p *leastConnections) pickOn(refused int, present uint64, ok func(int) bool) int {
	asked := newMemberSet(len(p.turns))
	asked.add(refused)
	var best [32]candidate
	for left := len(p.turns) - 1; left > 0; {
		count := 0
		for member := range p.turns {
			if asked.has(member) {
				continue
			}
			c := p.candidate(member, present)
			if count < len(best) {
				count++
			} else if !p.before(c, best[count-1]) {
				continue
			}
			at := count - 1
			for ; at > 0 && p.before(c, best[at-1]); at-- {
				best[at] = best[at-1]
			}
			best[at] = c
		}
		for _, c := range best[:count] {
			if ok(c.member) {
				return p.picked(c)
			}
			asked.add(c.member)
		}
		left -= count
	}
	return -1
}

func (p *leastConnections) candidate(member int, present uint64) candidate {
	turn := p.turns[member].Load()
	if earlier(turn, present) {
		turn = present
	}
	return candidate{member: member, load: p.of(member), turn: turn}
}

func (p *leastConnections) before(a, b candidate) bool {
	if order := p.compare(a.member, a.load, b.member, b.load); order != 0 {
		return order < 0
	}
	return earlier(a.turn, b.turn)
}

// picked moves the member's turn on and returns the member.
func (p *leastConnections) picked(c candidate) int {
	p.present.Store(c.turn)
	p.turns[c.member].Store(c.turn + step/p.weights[c.member])
	return c.member
}

// earlier compares turns, which wrap round.
func earlier(a, b uint64) bool { return int64(a-b) < 0 }
