package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// dues takes every due time of a schedule.
func dues(s *schedule) (list []int64) {
	for ; s.next != ended; s.advance() {
		list = append(list, s.next)
	}
	return list
}

func TestConstant(t *testing.T) {
	list := dues(newSchedule([]Stage{{1000, 1000, 2 * time.Second}}, 0, 1, nil))
	if len(list) != 2000 {
		t.Fatalf("%d are due in two seconds of 1000", len(list))
	}
	for i, due := range list {
		if want := int64(i+1) * 1e6; due < want-1 || due > want+1 {
			t.Fatalf("request %d is due at %d, want %d", i, due, want)
		}
	}
}

// TestWorkersTogether checks that the parts of any number of workers are the schedule of one.
func TestWorkersTogether(t *testing.T) {
	stages := []Stage{{100, 900, 3 * time.Second}, {900, 900, time.Second}, {900, 0, 2 * time.Second}}
	whole := dues(newSchedule(stages, 0, 1, nil))
	if len(whole) != 1500+900+900 {
		t.Fatalf("%d are due", len(whole))
	}
	for _, n := range []int{2, 3, 7} {
		var parts []int64
		for i := range n {
			parts = append(parts, dues(newSchedule(stages, i, n, nil))...)
		}
		slices.Sort(parts)
		if len(parts) != len(whole) {
			t.Fatalf("%d workers have %d, one has %d", n, len(parts), len(whole))
		}
		for i := range parts {
			if d := parts[i] - whole[i]; d < -2000 || d > 2000 { // near the end the rate is next to nothing
				t.Fatalf("request %d of %d workers is due at %d, of one at %d", i, n, parts[i], whole[i])
			}
		}
	}
}

// TestRamp holds the times against the integral of the rate.
func TestRamp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stages []Stage
		for range rapid.IntRange(1, 4).Draw(t, "stages") {
			stages = append(stages, Stage{
				From: rapid.Float64Range(0, 5000).Draw(t, "from"), To: rapid.Float64Range(1, 5000).Draw(t, "to"),
				For: time.Duration(rapid.IntRange(1, 2000).Draw(t, "milliseconds")) * time.Millisecond,
			})
		}
		mass := func(at float64) (sum float64) {
			for _, s := range stages {
				length := s.For.Seconds()
				x := min(max(at, 0), length)
				sum += s.From*x + (s.To-s.From)*x*x/2/length
				at -= length
			}
			return sum
		}
		last := int64(0)
		list := dues(newSchedule(stages, 0, 1, nil))
		for i, due := range list {
			if due < last {
				t.Fatalf("request %d is due at %d, after one at %d", i, due, last)
			}
			last = due
			if got := mass(float64(due) / 1e9); math.Abs(got-float64(i+1)) > 0.01 {
				t.Fatalf("when request %d is due, %f are", i+1, got)
			}
		}
		if all := mass(1e9); float64(len(list)) < all-1.01 || float64(len(list)) > all+0.01 {
			t.Fatalf("%d are due of %f", len(list), all)
		}
	})
}

// TestPoisson looks at the moments of random arrivals, with a seed.
func TestPoisson(t *testing.T) {
	list := dues(newSchedule([]Stage{{10_000, 10_000, 10 * time.Second}}, 0, 1, rand.New(rand.NewPCG(7, 0))))
	if n := float64(len(list)); math.Abs(n-100_000) > 4*math.Sqrt(100_000) {
		t.Errorf("%.0f arrivals, want some 100,000", n)
	}
	var sum, squares float64
	for i := 1; i < len(list); i++ {
		gap := float64(list[i]-list[i-1]) / 1e9
		sum, squares = sum+gap, squares+gap*gap
	}
	n := float64(len(list) - 1)
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean)
	if math.Abs(deviation/mean-1) > 0.02 {
		t.Errorf("gaps of %g have a deviation of %g; random ones have the same", mean, deviation)
	}
	again := dues(newSchedule([]Stage{{10_000, 10_000, 10 * time.Second}}, 0, 1, rand.New(rand.NewPCG(7, 0))))
	if !slices.Equal(list, again) {
		t.Error("the same seed gives other arrivals")
	}
}

func TestBacklogOrder(t *testing.T) {
	b := newBacklog(3)
	for round := range int64(10) {
		for i := range int64(3) {
			if !b.put(round*10 + i) {
				t.Fatal("full too soon")
			}
		}
		if b.put(99) {
			t.Fatal("a fourth of three")
		}
		for i := range int64(3) {
			if due, ok := b.take(); !ok || due != round*10+i {
				t.Fatalf("took %d, %v", due, ok)
			}
		}
		if _, ok := b.take(); ok {
			t.Fatal("took from an empty one")
		}
	}
}
