package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// seeded returns all policies, those that draw lots with a fixed seed.
func seeded(seed uint64) []Policy {
	source := rand.New(rand.NewPCG(seed, 0)).Uint64
	return []Policy{RoundRobin{}, LeastConnections{}, TwoChoices{source}, Maglev{}, Random{source}}
}

// named makes members called a0, a1 and so on with these weights and no load.
func named(weights ...int) []Member {
	members := make([]Member, len(weights))
	for i, weight := range weights {
		members[i] = Member{Name: fmt.Sprintf("a%d", i), Weight: weight}
	}
	return members
}

// picks counts who gets how many of n picks with keys from 0 on.
func picks(p Picker, members, n int, ok func(int) bool) []int {
	counts := make([]int, members)
	for key := range n {
		counts[p.Pick(uint64(key), ok)]++
	}
	return counts
}

func TestByName(t *testing.T) {
	var names []string
	for i, want := range seeded(1) {
		got, err := ByName(want.Name())
		if err != nil || got.Name() != want.Name() || got.Name() != Policies()[i].Name() {
			t.Errorf("%s: got %v, %v", want.Name(), got, err)
		}
		names = append(names, want.Name())
	}
	_, err := ByName("roundrobin")
	if err == nil || !strings.Contains(err.Error(), strings.Join(names, ", ")) {
		t.Errorf("the error %v does not name the known policies", err)
	}
}

func TestSharesFollowTheWeights(t *testing.T) {
	const rounds = 60_000
	for _, weights := range [][]int{
		{1},
		{1, 1, 1},
		{3, 2, 1},
		{0, -5, 1},
		{5, 100, 20, 1},
		{65_535, 65_535 / 3, 65_535 / 7},
		{1 << 40, 65_535},
		{997, 1009, 1013, 1019, 1021, 5000, 1},
	} {
		sum := 0
		for _, weight := range weights {
			sum += min(max(weight, 1), MaxWeight)
		}
		for _, policy := range seeded(1) {
			got := picks(policy.Build(named(weights...)), len(weights), rounds, nil)
			for i, weight := range weights {
				want := float64(rounds) * float64(min(max(weight, 1), MaxWeight)) / float64(sum)
				slack := 2 + want/100
				if name := policy.Name(); name != "round_robin" && name != "least_connections" {
					slack = 30 + want/20
				}
				if policy.Name() == "two_choices" && len(weights) > 1 {
					// It draws two different members, so that without a load the small ones get more than their
					// share.
					continue
				}
				if difference := float64(got[i]) - want; difference > slack || difference < -slack {
					t.Errorf("%s, weights %v: member %d got %d, want %.0f (+-%.0f)",
						policy.Name(), weights, i, got[i], want, slack)
				}
			}
		}
	}
}

func TestRoundRobinIsSmooth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 8).Draw(t, "weights")
		sum := 0
		for _, weight := range weights {
			sum += weight
		}
		p := RoundRobin{}.Build(named(weights...))
		counts := make([]int, len(weights))
		for turn := 1; turn <= 3*sum; turn++ {
			counts[p.Pick(0, nil)]++
			for i, weight := range weights {
				if off := counts[i]*sum - turn*weight; off > 2*sum || off < -2*sum {
					t.Fatalf("after %d turns member %d had %d, its share is %d of %d", turn, i, counts[i], weight, sum)
				}
			}
		}
		for i, weight := range weights {
			if counts[i] != 3*weight {
				t.Fatalf("after three rounds member %d had %d, want %d", i, counts[i], 3*weight)
			}
		}
	})
}

// When a member is down, its share goes to all others, not to a neighbour.
func TestTheShareOfARefusedMemberIsSpread(t *testing.T) {
	const rounds = 40_000
	for members := 3; members <= 9; members += 2 {
		weights := slices.Repeat([]int{7}, members)
		for _, policy := range seeded(2) {
			for down := range members {
				p := policy.Build(named(weights...))
				got := picks(p, members, rounds, func(i int) bool { return i != down })
				for i, n := range got {
					want := rounds / (members - 1)
					if i == down {
						want = 0
					}
					if n < want*9/10 || n > want*11/10 {
						t.Errorf("%s: %d of %d is down: member %d got %d, want about %d",
							policy.Name(), down, members, i, n, want)
					}
				}
			}
		}
	}
}

// Each member is asked at most once, the first that is accepted is returned, and -1 only after all were asked.
func TestOrderOfPreference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(-1, 300), 0, 70).Draw(t, "weights")
		members := named(weights...)
		for i := range members {
			load := rapid.Int64Range(-2, 5).Draw(t, "load")
			members[i].Load = func() int64 { return load }
		}
		healthy := rapid.SliceOfN(rapid.Bool(), len(members), len(members)).Draw(t, "healthy")
		if rapid.Bool().Draw(t, "all down") {
			clear(healthy)
		}
		key := rapid.Uint64().Draw(t, "key")
		for _, policy := range seeded(rapid.Uint64().Draw(t, "seed")) {
			p := policy.Build(members)
			for range 3 {
				var asked []int
				got := p.Pick(key, func(i int) bool {
					if slices.Contains(asked, i) {
						t.Fatalf("%s: member %d was asked twice: %v", policy.Name(), i, asked)
					}
					asked = append(asked, i)
					return healthy[i]
				})
				if some := slices.Contains(healthy, true); some != (got >= 0) {
					t.Fatalf("%s: picked %d of %v", policy.Name(), got, healthy)
				}
				if got < 0 && len(asked) != len(members) {
					t.Fatalf("%s: gave up after %v", policy.Name(), asked)
				}
				if got >= 0 && (!healthy[got] || asked[len(asked)-1] != got) {
					t.Fatalf("%s: picked %d of %v after %v", policy.Name(), got, healthy, asked)
				}
			}
		}
	})
}

func TestMoreMembersThanFitOnTheStack(t *testing.T) {
	const members = 5000
	for _, policy := range seeded(3) {
		p := policy.Build(named(make([]int, members)...))
		asked := make([]bool, members)
		got := p.Pick(9, func(i int) bool {
			if asked[i] {
				t.Fatalf("%s: member %d was asked twice", policy.Name(), i)
			}
			asked[i] = true
			return false
		})
		if got != -1 || slices.Contains(asked, false) {
			t.Errorf("%s: picked %d, or not all were asked", policy.Name(), got)
		}
	}
}

func TestPicksByManyGoroutines(t *testing.T) {
	const goroutines, each, members = 4, 5000, 5
	for _, policy := range Policies() {
		var open [members]atomic.Int64
		list := named(1, 1, 1, 1, 1)
		for i := range list {
			list[i].Load = open[i].Load
		}
		p := policy.Build(list)
		var all sync.WaitGroup
		for g := range goroutines {
			all.Go(func() {
				ok := func(i int) bool { return i != 2 }
				for k := range each {
					member := p.Pick(uint64(g*each+k), ok)
					if member < 0 || member == 2 {
						t.Errorf("%s: picked %d", policy.Name(), member)
						return
					}
					open[member].Add(1)
				}
			})
		}
		all.Wait()
		const want = goroutines * each / (members - 1)
		for i := range open {
			if n := open[i].Load(); i != 2 && (n < want*8/10 || n > want*12/10) {
				t.Errorf("%s: member %d got %d, want about %d", policy.Name(), i, n, want)
			}
		}
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	for _, policy := range Policies() {
		p := policy.Build(named(make([]int, 4096)...))
		key := uint64(0)
		refuseMost := func(i int) bool { return i%64 == 63 }
		if n := testing.AllocsPerRun(100, func() {
			key++
			p.Pick(key, nil)
			p.Pick(key, refuseMost)
		}); n != 0 {
			t.Errorf("%s: %v allocations", policy.Name(), n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, members := range []int{2, 8, 100} {
		for _, policy := range Policies() {
			list := named(make([]int, members)...)
			var load atomic.Int64
			for i := range list {
				list[i].Load = load.Load
			}
			p := policy.Build(list)
			b.Run(fmt.Sprintf("%s/%d", policy.Name(), members), func(b *testing.B) {
				b.ReportAllocs()
				key := uint64(0)
				for b.Loop() {
					key++
					p.Pick(key, nil)
				}
			})
		}
	}
}

// BenchmarkPickRefused has the first choice refused each time.
func BenchmarkPickRefused(b *testing.B) {
	for _, policy := range Policies() {
		p := policy.Build(named(make([]int, 8)...))
		b.Run(policy.Name(), func(b *testing.B) {
			b.ReportAllocs()
			key, asked := uint64(0), false
			ok := func(int) bool { asked = !asked; return !asked }
			for b.Loop() {
				key++
				asked = false
				p.Pick(key, ok)
			}
		})
	}
}
