package balance

import "math/rand/v2"

// Random takes any member, with a chance in proportion to its weight. It shares no memory between goroutines.
type Random struct {
	// Source returns random numbers; nil means those of the runtime. It must be safe for concurrent use if Pick is
	// used so.
	Source func() uint64
}

// Name returns "random".
func (Random) Name() string { return "random" }

// Build shuffles the members' shares.
func (r Random) Build(members []Member) Picker {
	return &random{table: shuffled(members), source: sourceOr(r.Source)}
}

type random struct {
	table
	source func() uint64
}

func (p *random) Pick(_ uint64, ok func(int) bool) int {
	return p.walk(p.position(p.source()), ok)
}

func sourceOr(source func() uint64) func() uint64 {
	if source == nil {
		return rand.Uint64
	}
	return source
}

// shuffled returns a table of the members' shares in random order. It holds them as many times over as accuracy
// allows, so that what follows one member is any other as often as its share says.
func shuffled(members []Member) table {
	once := evenly(shares(weightsOf(members)))
	entries := once
	for len(once) > 0 && len(entries)+len(once) <= accuracy {
		entries = append(entries, once...)
	}
	// Any order will do, so it is always the same one, and a seeded Source makes the whole Picker repeatable.
	generator := rand.New(rand.NewPCG(1, uint64(len(entries))))
	generator.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	return table{entries: entries, members: len(members)}
}
