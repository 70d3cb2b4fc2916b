package upstream

// repeats is a group's budget for asking again, in thousandths of a use. It is counted only when somebody asks for one,
// from what the agents have granted until then: so it holds for all threads together, and an ordinary use pays nothing
// for it. Under Group.mu.
type repeats struct {
	saved   int64  // may be spent
	counted uint64 // links granted when it was last counted
	spent   uint64 // links that will have been granted for repeating since then
}

const (
	oneUse = 1000
	// mostSaved is what can be saved, and what a group begins with.
	mostSaved = 10 * oneUse
)

// MayRepeat takes one use out of the budget of the group, if there is one: each link that was granted, and not for
// repeating, adds share to it, which is in thousandths of a use, and ten uses can be saved. The budget is one for all
// agents; whoever spends of it uses the same share.
func (a *Agent) MayRepeat(share int) bool {
	g := a.group
	g.mu.Lock()
	defer g.mu.Unlock()
	r, granted := &g.repeats, g.past[Acquired]
	for i := range g.top.Load() {
		if other := g.agents[i].Load(); other != nil {
			granted += other.tally[Acquired].Load()
		}
	}
	if earned := granted - r.counted; earned > r.spent {
		r.saved = min(mostSaved, r.saved+int64(min(earned-r.spent, mostSaved))*int64(share))
	}
	r.counted, r.spent = granted, 0
	if r.saved < oneUse {
		return false
	}
	r.saved -= oneUse
	r.spent = 1
	return true
}
