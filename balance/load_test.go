package balance

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// served runs n requests that never end against the policy and returns how many each member holds.
func served(policy Policy, n int, weights ...int) []int64 {
	open := make([]int64, len(weights))
	members := named(weights...)
	for i := range members {
		members[i].Load = func() int64 { return open[i] }
	}
	p := policy.Build(members)
	for range n {
		open[p.Pick(0, nil)]++
	}
	return open
}

func TestLeastConnectionsEvensOutTheLoad(t *testing.T) {
	if got := served(LeastConnections{}, 6000, 1, 2, 3); !slices.Equal(got, []int64{1000, 2000, 3000}) {
		t.Errorf("got %v, want 1000, 2000, 3000", got)
	}
}

func TestTwoChoicesEvensOutTheLoad(t *testing.T) {
	got := served(seeded(7)[2], 10_000, slices.Repeat([]int{1}, 10)...)
	// The theory says that the fullest is log log n above the mean: a handful, where random choice would be a
	// hundred.
	if slices.Min(got) < 985 || slices.Max(got) > 1015 {
		t.Errorf("got %v, want about 1000 each", got)
	}
}

func TestTwoChoicesFollowsTheWeightsUnderLoad(t *testing.T) {
	got := served(seeded(8)[2], 12_000, 1, 1, 2, 3, 5)
	for i, weight := range []int64{1, 1, 2, 3, 5} {
		if want := 1000 * weight; got[i] < want*95/100 || got[i] > want*105/100 {
			t.Errorf("member %d of weight %d holds %d, want about %d", i, weight, got[i], want)
		}
	}
}

func TestLeastConnectionsTakesTheLeastAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := named(rapid.SliceOfN(rapid.IntRange(1, 5), 1, 80).Draw(t, "weights")...)
		loads := make([]int64, len(members))
		for i := range members {
			loads[i] = rapid.Int64Range(0, 50).Draw(t, "load")
			members[i].Load = func() int64 { return loads[i] }
		}
		var asked []int
		LeastConnections{}.Build(members).Pick(0, func(i int) bool {
			asked = append(asked, i)
			return false
		})
		if len(asked) != len(members) || !slices.IsSortedFunc(asked, func(a, b int) int {
			return int(loads[a])*members[b].Weight - int(loads[b])*members[a].Weight
		}) {
			t.Fatalf("asked %v, not by load for weight: loads %v", asked, loads)
		}
	})
}

func TestLeastConnectionsTurnsOfEvenMembers(t *testing.T) {
	p := LeastConnections{}.Build(named(1, 1, 1))
	for turn := range 9 {
		if got := p.Pick(0, nil); got != turn%3 {
			t.Fatalf("turn %d went to %d", turn, got)
		}
	}
	// One that was refused for long does not get all turns afterwards.
	for range 1000 {
		p.Pick(0, func(i int) bool { return i != 1 })
	}
	if got := picks(p, 3, 30, nil); slices.Max(got) > 11 {
		t.Fatalf("after a member came back, 30 turns were given %v", got)
	}
}

func TestExtremeLoadsDoNotOverflow(t *testing.T) {
	members := named(1, MaxWeight)
	members[0].Load = func() int64 { return math.MinInt64 }
	members[1].Load = func() int64 { return math.MaxInt64 }
	for _, policy := range []Policy{LeastConnections{}, seeded(1)[2]} {
		p := policy.Build(members)
		for range 20 {
			if got := p.Pick(0, nil); got != 0 {
				t.Fatalf("%s: picked %d, the busiest", policy.Name(), got)
			}
		}
	}
}
