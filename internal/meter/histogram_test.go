package meter

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// latency draws from all magnitudes alike, and some beyond the histogram's range.
func latency() *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		magnitude := rapid.IntRange(0, 43).Draw(t, "bits")
		return time.Duration(rapid.Int64Range(0, 1<<magnitude).Draw(t, "nanoseconds"))
	})
}

// near tells whether got is as close to a real latency as the histogram promises.
func near(got, exact time.Duration) bool {
	exact = min(exact, longest)
	allowed := max(16, float64(exact)/64)
	return math.Abs(float64(got-exact)) <= allowed
}

func TestBucketsFollowOneAnother(t *testing.T) {
	last := uint(0)
	lower := time.Duration(0) // the first latency of the bucket
	for v := time.Duration(0); v < longest; v += max(1, v/1000) {
		bucket := bucketOf(v)
		if bucket != last {
			if bucket != last+1 {
				t.Fatalf("%d ns: bucket %d follows %d", v, bucket, last)
			}
			last, lower = bucket, v
		}
		if middle := middleOf(int(bucket)); !near(middle, v) {
			t.Fatalf("%d ns: the middle of bucket %d (from %d) is %d", v, bucket, lower, middle)
		}
	}
	if bucketOf(longest) != buckets-1 {
		t.Fatalf("the longest latency is in bucket %d of %d", bucketOf(longest), buckets)
	}
}

func TestQuantileAgainstExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(latency(), 1, 200).Draw(t, "latencies")
		var h, other Histogram
		var sum time.Duration
		for i, v := range values {
			sum += min(v, longest)
			switch i % 3 {
			case 0:
				h.Record(v)
			case 1:
				other.Record(v)
			case 2:
				h.RecordShared(v)
			}
		}
		h.Publish()
		other.Publish()
		got := h.Snapshot()
		got.Merge(other.Snapshot())
		if got.Count() != uint64(len(values)) || got.Sum() != sum || got.Mean() != sum/time.Duration(len(values)) {
			t.Fatalf("count %d, sum %d, mean %d; want %d, %d", got.Count(), got.Sum(), got.Mean(), len(values), sum)
		}
		slices.Sort(values)
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1, rapid.Float64Range(-1, 2).Draw(t, "q")} {
			rank := int(math.Ceil(min(max(q, 0), 1) * float64(len(values))))
			exact := values[max(rank, 1)-1]
			if value := got.Quantile(q); !near(value, exact) {
				t.Fatalf("quantile %v is %d, want %d", q, value, exact)
			}
		}
	})
}

func TestAtMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(latency()).Draw(t, "latencies")
		limit := latency().Draw(t, "limit")
		var h Histogram
		for _, v := range values {
			h.Record(v)
		}
		h.Publish()
		least, most := uint64(0), uint64(0)
		for _, v := range values {
			if v <= limit {
				least++
			}
			if v <= limit+max(32, limit/32) || limit >= longest {
				most++
			}
		}
		if got := h.Snapshot().AtMost(limit); got < least || got > most {
			t.Fatalf("AtMost(%d) is %d, want %d to %d", limit, got, least, most)
		}
	})
}

// TestSince takes out exactly what an earlier copy had.
func TestSince(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all, late Histogram
		for _, d := range rapid.SliceOf(latency()).Draw(t, "early") {
			all.RecordShared(d)
		}
		early := all.Snapshot()
		for _, d := range rapid.SliceOf(latency()).Draw(t, "late") {
			all.RecordShared(d)
			late.RecordShared(d)
		}
		if got, want := all.Snapshot().Since(early), late.Snapshot(); *got != *want {
			t.Fatalf("%d latencies of %v in all, want %d of %v", got.Count(), got.Sum(), want.Count(), want.Sum())
		}
	})
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	empty := h.Snapshot()
	if empty.Quantile(0.5) != 0 || empty.Mean() != 0 || empty.Count() != 0 || empty.AtMost(time.Hour) != 0 {
		t.Error("an empty histogram has latencies")
	}
	h.Record(-time.Second)
	h.Record(math.MinInt64)
	h.RecordShared(-1)
	h.Publish()
	copied := h.Snapshot()
	if copied.Sum() != 0 || copied.AtMost(0) != 3 || copied.AtMost(-1) != 0 {
		t.Errorf("negative latencies: sum %d, at most zero %d", copied.Sum(), copied.AtMost(0))
	}
	h.RecordShared(math.MaxInt64)
	if copied = h.Snapshot(); copied.Sum() != longest || !near(copied.Quantile(1), longest) {
		t.Errorf("the longest: sum %d, quantile 1 %d", copied.Sum(), copied.Quantile(1))
	}
	if got := copied.Quantile(math.NaN()); got != copied.Quantile(0) {
		t.Errorf("quantile of not a number is %d", got)
	}
}

func BenchmarkRecord(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	v := time.Duration(0)
	for b.Loop() {
		v = (v*5 + 12345) & (1<<30 - 1)
		h.Record(v)
	}
}

// BenchmarkRecordAndPublish is what a turn with one request pays.
func BenchmarkRecordAndPublish(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	v := time.Duration(0)
	for b.Loop() {
		v = (v*5 + 12345) & (1<<30 - 1)
		h.Record(v)
		h.Publish()
	}
}
