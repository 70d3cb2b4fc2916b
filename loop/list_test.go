package loop

import (
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
)

// crowded is a loop that does not run, with so many slots.
func crowded(open int) *Loop {
	l := &Loop{vacant: none, listeners: []*listener{{}}, clock: func() (int64, int64) { return 0, 0 }}
	running[l.number] = l
	for range open {
		l.admit(7, 0)
	}
	return l
}

// TestListWhileTheyComeAndGo lists in pieces, with connections that come and go in between: whoever is there all the
// time is listed once, nobody twice, and nobody who was never there or is there no more.
func TestListWhileTheyComeAndGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := crowded(0)
		defer func() { running[l.number] = nil }()
		var open []*connection
		churn := func(label string) {
			for range rapid.IntRange(0, 400).Draw(t, label) {
				if len(open) == 0 || rapid.IntRange(0, 9).Draw(t, "kind") < 6 {
					open = append(open, l.admit(7, 0))
					continue
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				l.vacate(open[i])
				open = append(open[:i], open[i+1:]...)
			}
		}
		for range 5 {
			churn("before")
		}
		stays := map[uint64]bool{}
		for _, c := range open {
			stays[c.ID()] = true
		}
		seen := map[uint64]bool{}
		batch := make([]conn.Record, rapid.IntRange(1, 300).Draw(t, "batch"))
		from, rounds := uint32(0), 0
		for {
			n, next := l.list(from, batch, 0, 1)
			for _, r := range batch[:n] {
				if seen[r.ID] || l.known(r.ID) == nil || r.Listener != 0 || r.State != conn.Open {
					t.Fatalf("listed %+v; seen before: %v", r, seen[r.ID])
				}
				seen[r.ID] = true
			}
			if from = next; next == 0 {
				break
			}
			if rounds++; rounds < 20 { // after that the list comes to its end
				churn("between")
			}
			left := map[uint64]bool{}
			for _, c := range open {
				left[c.ID()] = true
			}
			for id := range stays {
				if !left[id] {
					delete(stays, id)
					if l.known(id) != nil {
						t.Fatalf("%d is known after its end", id)
					}
				}
			}
		}
		for id := range stays {
			if !seen[id] {
				t.Fatalf("%d was there all the time, and is not listed", id)
			}
		}
	})
}

// TestListInSlices lists in a loop whose clock runs: it takes many turns, in each of which others have theirs, and ends
// with the loop.
func TestListInSlices(t *testing.T) {
	const open = 1000
	l := crowded(open)
	now := int64(0)
	l.clock = func() (int64, int64) { now += int64(sliceTime) / 3; return now, 0 }
	l.meter, l.gone = new(meter.Set), make(chan struct{})
	l.knocks.Store(true) // nobody has to be woken
	type outcome struct {
		n    int
		next uint32
		err  error
	}
	list := func() <-chan outcome {
		over := make(chan outcome, 1)
		go func() {
			n, next, err := l.List(t.Context(), 0, make([]conn.Record, conn.ListMost), 0)
			over <- outcome{n, next, err}
		}()
		for posted := false; !posted; runtime.Gosched() {
			l.mu.Lock()
			posted = len(l.posts) > 0
			l.mu.Unlock()
		}
		return over
	}
	over, turns := list(), 0
	for ; l.knocks.Load(); turns++ {
		l.receivePosts()
	}
	if got := <-over; got != (outcome{n: open}) || turns < open/(4*atOnce) {
		t.Errorf("%+v in %d turns", got, turns)
	}
	l.knocks.Store(true)
	over = list()
	l.receivePosts()
	l.leave()
	if got := <-over; got != (outcome{err: errEnded}) {
		t.Errorf("the loop has ended, and the list says %+v", got)
	}
	if _, _, err := l.List(t.Context(), 0, make([]conn.Record, 1), 0); err != errEnded {
		t.Errorf("after its end: %v", err)
	}
}

// BenchmarkList is what one turn of a loop spends on a thousand of a million connections.
func BenchmarkList(b *testing.B) {
	l := crowded(1_000_000)
	defer func() { running[l.number] = nil }()
	batch := make([]conn.Record, conn.ListMost)
	b.ReportAllocs()
	from := uint32(0)
	for b.Loop() {
		_, from = l.list(from, batch, 0, 1)
	}
}
