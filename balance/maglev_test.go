package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// choices returns the names that the keys from 0 on get.
func choices(members []Member, size, keys int, ok func(int) bool) []string {
	p := Maglev{Size: size}.Build(members)
	chosen := make([]string, keys)
	for key := range chosen {
		chosen[key] = members[p.Pick(uint64(key), ok)].Name
	}
	return chosen
}

func TestMaglevHardlyMovesOtherKeys(t *testing.T) {
	const keys = 50_000
	for _, c := range []struct {
		members int
		weight  func(i int) int
		limit   float64 // of the keys of other members that may move
	}{
		{2, func(int) int { return 1 }, 0},
		{3, func(int) int { return 1 }, 0.02},
		{10, func(int) int { return 1 }, 0.02},
		{100, func(int) int { return 1 }, 0.03},
		{10, func(i int) int { return i%3 + 1 }, 0.03},
	} {
		members := make([]Member, c.members)
		for i := range members {
			members[i] = Member{Name: fmt.Sprintf("10.0.0.%d:80", i), Weight: c.weight(i)}
		}
		before := choices(members, 0, keys, nil)
		for _, leaver := range []int{0, c.members / 2, c.members - 1} {
			after := choices(slices.Delete(slices.Clone(members), leaver, leaver+1), 0, keys, nil)
			moved := 0
			for key := range before {
				if before[key] != members[leaver].Name && before[key] != after[key] {
					moved++
				}
			}
			if share := float64(moved) / keys; share > c.limit {
				t.Errorf("%d members, %d leaves: %.1f %% of the keys moved between others, limit %.1f %%",
					c.members, leaver, 100*share, 100*c.limit)
			}
		}
	}
}

func TestMaglevIgnoresTheOrderOfTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := named(rapid.SliceOfN(rapid.IntRange(1, 9), 1, 12).Draw(t, "weights")...)
		seed := rapid.Uint64().Draw(t, "seed")
		shuffled := slices.Clone(members)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(members), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		down := members[0].Name
		isUp := func(members []Member) func(int) bool {
			return func(i int) bool { return len(members) == 1 || members[i].Name != down }
		}
		size := rapid.IntRange(-1, 2000).Draw(t, "size")
		want := choices(members, max(size, 1), 200, isUp(members))
		if got := choices(shuffled, max(size, 1), 200, isUp(shuffled)); !slices.Equal(got, want) {
			t.Fatalf("another order of the list gave %v, want %v", got, want)
		}
	})
}

// Processes of different versions must agree, so the choices are pinned.
func TestMaglevChoicesNeverChange(t *testing.T) {
	got := choices(named(1, 2, 3), 0, 12, nil)
	want := []string{"a1", "a1", "a0", "a2", "a2", "a2", "a0", "a1", "a2", "a1", "a1", "a0"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestMaglevWithOneDownMovesOnlyItsKeys(t *testing.T) {
	members := named(1, 1, 1, 1)
	before := choices(members, 0, 10_000, nil)
	after := choices(members, 0, 10_000, func(i int) bool { return i != 1 })
	for key := range before {
		if before[key] != "a1" && before[key] != after[key] {
			t.Fatalf("key %d moved from %s to %s while a1 was down", key, before[key], after[key])
		}
	}
}

func TestMaglevSizes(t *testing.T) {
	for _, c := range []struct{ size, members, want int }{
		{0, 1, 65_537},
		{-1, 1, 65_537},
		{65_536, 1, 65_537},
		{1, 1, 3},
		{8, 8, 11},
		{7, 100, 101},
	} {
		p := Maglev{Size: c.size}.Build(named(make([]int, c.members)...)).(*maglev)
		if len(p.entries) != c.want {
			t.Errorf("size %d with %d members: %d entries, want %d", c.size, c.members, len(p.entries), c.want)
		}
	}
}

func BenchmarkMaglevBuild(b *testing.B) {
	for _, members := range []int{10, 1000} {
		list := named(make([]int, members)...)
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			for b.Loop() {
				Maglev{}.Build(list)
			}
		})
	}
}
