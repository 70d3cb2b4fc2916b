package balance

// maxLoad keeps a load times a weight within 64 bits.
const maxLoad = 1 << 46

// loads knows how busy members are for their weight.
type loads struct {
	weights []uint64
	sources []func() int64
}

func newLoads(members []Member) loads {
	l := loads{weights: weightsOf(members), sources: make([]func() int64, len(members))}
	for i, m := range members {
		l.sources[i] = m.Load
	}
	return l
}

// of returns a member's load now.
func (l *loads) of(member int) uint64 {
	source := l.sources[member]
	if source == nil {
		return 0
	}
	return uint64(min(max(source(), 0), maxLoad))
}

// compare returns whether member a with load loadA has less to do for its weight than b (negative), the same, or
// more.
func (l *loads) compare(a int, loadA uint64, b int, loadB uint64) int {
	left, right := loadA*l.weights[b], loadB*l.weights[a]
	switch {
	case left < right:
		return -1
	case left > right:
		return 1
	}
	return 0
}
