// Package balance chooses one of a set: the loop that gets a connection, the endpoint that gets a request.
//
// A [Policy] is built into a [Picker] for a fixed list of members. When the list changes, another Picker is built and
// put in the place of the old one; a Picker itself never changes in its members, so that any goroutine may use it
// without a lock. Health, limits and draining are not known here: the caller tells of them in the function that it
// passes to Pick.
//
// No Pick allocates (with up to 4,096 members) or takes a lock. A closure that the caller makes anew for each Pick
// does allocate, because Pick is called through an interface: make it once and keep it.
package balance

import (
	"fmt"
	"strings"
)

// MaxWeight is the largest weight that counts.
const MaxWeight = 65_535

// Member is one of a set.
type Member struct {
	// Name tells members apart for consistent hashing: the same names give the same choice in every process and on
	// every machine, whatever the order of the list. Names should be unique.
	Name string
	// Weight is the share of the choices in proportion to the other members' weights. Below 1 it counts as 1, above
	// MaxWeight as MaxWeight. To keep a member from being chosen, refuse it in Pick.
	Weight int
	// Load returns how busy the member is, such as its open connections; nil means always 0, and negative values
	// count as 0. It is called from Pick, so it must be cheap and safe for concurrent use.
	Load func() int64
}

// Policy is a way to choose. Policies are values without state.
type Policy interface {
	// Name returns the policy's name in the configuration, such as "round_robin".
	Name() string
	// Build returns a Picker for these members, which it copies.
	Build(members []Member) Picker
}

// Picker chooses among a fixed list of members. It is safe for concurrent use.
type Picker interface {
	// Pick returns the index of the first member, in the policy's order of preference for key, that ok accepts; -1
	// when it accepts none or there are none. A nil ok accepts all. Only consistent hashing looks at the key.
	//
	// Pick asks about each member at most once and returns the first that is accepted without asking further. So ok
	// may also take what it found, such as one of a limited number of places: it is not asked in vain.
	Pick(key uint64, ok func(member int) bool) int
}

// Policies returns all policies with their defaults, the usual one first.
func Policies() []Policy {
	return []Policy{
		RoundRobin{},
		LeastConnections{},
		TwoChoices{},
		Maglev{},
		Random{},
	}
}

// ByName returns the policy of that name. The error names the known ones.
func ByName(name string) (Policy, error) {
	policies := Policies()
	known := make([]string, len(policies))
	for i, policy := range policies {
		if policy.Name() == name {
			return policy, nil
		}
		known[i] = policy.Name()
	}
	return nil, fmt.Errorf("balance: unknown policy %q; known are %s", name, strings.Join(known, ", "))
}

// weightsOf returns the members' weights within their limits.
func weightsOf(members []Member) []uint64 {
	weights := make([]uint64, len(members))
	for i, m := range members {
		weights[i] = uint64(min(max(m.Weight, 1), MaxWeight))
	}
	return weights
}
