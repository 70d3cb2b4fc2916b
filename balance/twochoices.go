package balance

// TwoChoices looks at two members at random, with chances in proportion to their weights, and takes the one with less
// load for its weight (Mitzenmacher 2001). It comes close to the least loaded at a cost that does not grow with the
// members, and many balancers that act on the same stale loads do not all run to the same member.
type TwoChoices struct {
	// Source returns random numbers; nil means those of the runtime. It must be safe for concurrent use if Pick is
	// used so.
	Source func() uint64
}

// Name returns "two_choices".
func (TwoChoices) Name() string { return "two_choices" }

// Build shuffles the members' shares.
func (c TwoChoices) Build(members []Member) Picker {
	return &twoChoices{table: shuffled(members), loads: newLoads(members), source: sourceOr(c.Source)}
}

type twoChoices struct {
	table
	loads
	source func() uint64
}

func (p *twoChoices) Pick(_ uint64, ok func(int) bool) int {
	if p.members < 2 {
		return p.walk(0, ok)
	}
	at := p.position(p.source())
	first := int(p.entries[at])
	second := first
	for other := p.position(p.source()); second == first; other++ {
		if other == len(p.entries) {
			other = 0
		}
		second = int(p.entries[other])
	}
	if p.less(second, first) {
		first, second = second, first
	}
	switch {
	case ok == nil || ok(first):
		return first
	case ok(second):
		return second
	}
	return p.pickOn(at, first, second, ok)
}

// pickOn goes on with two more members at a time after the first two were refused.
func (p *twoChoices) pickOn(at, first, second int, ok func(int) bool) int {
	w := newWalker(&p.table, at)
	w.meet(first)
	w.meet(second)
	for {
		first, second = w.next(), w.next()
		if second >= 0 && p.less(second, first) {
			first, second = second, first
		}
		switch {
		case first < 0 || ok(first):
			return first
		case second < 0 || ok(second):
			return second
		}
	}
}

// less tells whether a has less load for its weight than b.
func (p *twoChoices) less(a, b int) bool { return p.compare(a, p.of(a), b, p.of(b)) < 0 }
