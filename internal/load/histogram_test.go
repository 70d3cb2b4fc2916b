package load

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBuckets goes through values of all sizes: buckets follow each other without a gap, and are as narrow as promised.
func TestBuckets(t *testing.T) {
	for _, bits := range []uint{fineBits, coarseBits} {
		h := newHistogram(bits)
		last := h.bucket(0)
		for v := int64(1); v < 1<<valueBits-1; v += max(1, v>>(bits+2)) {
			b := h.bucket(v)
			if b != last && b != last+1 {
				t.Fatalf("%d is in bucket %d, the value before in %d", v, b, last)
			}
			if b != last && h.top(last) >= v || h.top(b) < v {
				t.Fatalf("%d is in bucket %d, up to %d; the one before ends at %d", v, b, h.top(b), h.top(last))
			}
			if wide := float64(h.top(b)-v) / float64(v); wide > 1/float64(int(1)<<(bits-1)) {
				t.Fatalf("%d may be told as %d", v, h.top(b))
			}
			last = b
		}
		if b := h.bucket(1<<valueBits - 1); b != len(h.counts)-1 {
			t.Errorf("the last bucket is %d of %d", b, len(h.counts))
		}
	}
}

// TestQuantiles holds the quantiles against sorted values.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 1, 300).Draw(t, "values")
		first, second := NewHistogram(), NewHistogram()
		for i, v := range values {
			if i%2 == 0 {
				first.Record(time.Duration(v))
			} else {
				second.Record(time.Duration(v))
			}
		}
		first.Merge(second)
		slices.Sort(values)
		for _, q := range []float64{0, 0.25, 0.5, 0.9, 0.99, 1} {
			want := values[max(0, int(math.Ceil(q*float64(len(values))))-1)]
			got := int64(first.Quantile(q))
			if got < want || float64(got) > float64(want)*(1+1.0/1024)+1 {
				t.Fatalf("quantile %g is %d, want %d", q, got, want)
			}
		}
		if int64(first.Shortest()) != values[0] || int64(first.Longest()) != values[len(values)-1] ||
			first.Count() != uint64(len(values)) {
			t.Fatalf("%v to %v, %d", first.Shortest(), first.Longest(), first.Count())
		}
		last := Point{Quantile: -1, Latency: -1}
		for _, p := range first.Curve() {
			if p.Quantile < last.Quantile || p.Latency < last.Latency {
				t.Fatalf("the curve goes from %v to %v", last, p)
			}
			last = p
		}
		if last.Quantile != 1 || last.Latency != first.Longest() || last.Beyond != 0 {
			t.Fatalf("the curve ends at %v", last)
		}
	})
}

func TestEmptyHistogram(t *testing.T) {
	h := NewHistogram()
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Deviation() != 0 || h.Shortest() != 0 || h.Longest() != 0 {
		t.Error("an empty histogram has a value")
	}
	h.Record(-5)
	h.Record(1 << 50)
	if h.Shortest() != 0 || h.Longest() != 1<<valueBits-1 {
		t.Errorf("%v to %v", h.Shortest(), h.Longest())
	}
	h.Reset()
	if h.Count() != 0 || h.Quantile(1) != 0 {
		t.Error("reset is not empty")
	}
}

func TestMoments(t *testing.T) {
	h := NewHistogram()
	for _, v := range []int{2, 4, 4, 4, 5, 5, 7, 9} {
		h.Record(time.Duration(v) * time.Second)
	}
	if h.Mean() != 5*time.Second || h.Deviation() != 2*time.Second {
		t.Errorf("mean %v, deviation %v", h.Mean(), h.Deviation())
	}
}

func BenchmarkRecord(b *testing.B) {
	h := NewHistogram()
	b.ReportAllocs()
	for i := range b.N {
		h.Record(time.Duration(i * 37 & 0xffffff))
	}
}
