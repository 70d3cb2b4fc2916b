package meter

import (
	"fmt"
	"maps"
	"regexp"
	"sync"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestEveryCounterHasItsOwnNameAndHelp(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)*$`)
	seen := map[string]Counter{}
	for c := range counters {
		name, help := c.String(), c.Help()
		if !valid.MatchString(name) {
			t.Errorf("counter %d: bad name %q", c, name)
		}
		if before, ok := seen[name]; ok {
			t.Errorf("counters %d and %d are both called %s", before, c, name)
		}
		seen[name] = c
		if help == "" || !unicode.IsUpper(rune(help[0])) || help[len(help)-1] != '.' {
			t.Errorf("%s: help is not a sentence: %q", name, help)
		}
		if c.Gauge() != (c == Open) {
			t.Errorf("%s: Gauge is %v", name, c.Gauge())
		}
	}
	if got := counters.String(); got != fmt.Sprintf("counter_%d", int(counters)) || counters.Help() != "" {
		t.Errorf("a counter that does not exist is called %q, %q", got, counters.Help())
	}
}

func TestResponses(t *testing.T) {
	for status, want := range map[int]Counter{
		100: Responses1xx, 199: Responses1xx, 200: Responses2xx, 304: Responses3xx, 404: Responses4xx,
		499: Responses4xx, 500: Responses5xx, 599: Responses5xx, 600: Responses5xx, 0: Responses5xx, -200: Responses5xx,
	} {
		if got := Responses(status); got != want {
			t.Errorf("Responses(%d) is %v, want %v", status, got, want)
		}
	}
}

func TestReadersSeeWhatIsPublished(t *testing.T) {
	var s Set
	s.Add(Requests, 2)
	s.AddShared(Requests, 10)
	if got := s.Snapshot()[Requests]; got != 10 {
		t.Fatalf("before Publish: %d requests, want the 10 shared ones", got)
	}
	s.Publish()
	s.Publish()
	if got := s.Snapshot()[Requests]; got != 12 {
		t.Fatalf("after Publish: %d requests, want 12", got)
	}
}

func TestCountsOfManySets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets := make([]Set, rapid.IntRange(1, 4).Draw(t, "loops"))
		want := map[Counter]int64{}
		for c := range counters {
			want[c] = 0
		}
		for range rapid.IntRange(0, 60).Draw(t, "additions") {
			s := &sets[rapid.IntRange(0, len(sets)-1).Draw(t, "loop")]
			c := Counter(rapid.IntRange(0, int(counters)-1).Draw(t, "counter"))
			n := rapid.Int64Range(-5, 1<<40).Draw(t, "n")
			switch want[c] += n; rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				s.Add(c, n)
				s.Publish()
			case 1:
				s.Add(c, n)
			case 2:
				s.AddShared(c, n)
			}
		}
		var sum Counts
		for i := range sets {
			sets[i].Publish()
			sum.Add(sets[i].Snapshot())
		}
		if got := maps.Collect(sum.All()); !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for c, n := range sum.All() {
			if c != Accepted || n != want[Accepted] {
				t.Fatalf("All starts with %v: %d", c, n)
			}
			break
		}
	})
}

// The owner writes, others add, and readers copy, all at once. No copy may go backwards, and the last one is
// complete.
func TestReadersNextToTheOwner(t *testing.T) {
	const turns, sharers = 5000, 2
	var s Set
	var h Histogram
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var requests int64
			var latencies uint64
			for {
				counts, copied := s.Snapshot(), h.Snapshot()
				if counts[Requests] < requests || copied.Count() < latencies {
					t.Errorf("a counter fell: %d after %d, %d after %d",
						counts[Requests], requests, copied.Count(), latencies)
				}
				requests, latencies = counts[Requests], copied.Count()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range sharers {
		writers.Go(func() {
			for range turns {
				s.AddShared(Requests, 1)
				h.RecordShared(1e6)
			}
		})
	}
	writers.Go(func() {
		for range turns {
			s.Add(Requests, 1)
			s.Add(Requests, 1)
			h.Record(1e6)
			h.Record(1e9)
			s.Publish()
			h.Publish()
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
	const want = turns * (2 + sharers)
	if got := s.Snapshot()[Requests]; got != want {
		t.Errorf("%d requests, want %d", got, want)
	}
	if got := h.Snapshot().Count(); got != want {
		t.Errorf("%d latencies, want %d", got, want)
	}
}

func TestNoAllocation(t *testing.T) {
	var s Set
	var h Histogram
	var sum Counts
	if n := testing.AllocsPerRun(100, func() {
		s.Add(BytesIn, 100)
		s.AddShared(Posts, 1)
		h.Record(12345)
		h.RecordShared(12345)
		s.Publish()
		h.Publish()
		sum.Add(s.Snapshot())
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var s Set
	b.ReportAllocs()
	c := Counter(0)
	for b.Loop() {
		s.Add(c, 1)
		c = (c + 1) % 16
	}
}

func BenchmarkAddShared(b *testing.B) {
	var s Set
	b.ReportAllocs()
	for b.Loop() {
		s.AddShared(Requests, 1)
	}
}

// BenchmarkPublish is what a turn with one request pays.
func BenchmarkPublish(b *testing.B) {
	var s Set
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range [...]Counter{Requests, Responses2xx, BytesIn, BytesOut, Turns, Completions, BusyNanoseconds} {
			s.Add(c, 1)
		}
		s.Publish()
	}
}
