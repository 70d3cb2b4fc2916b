package load

import (
	"math"
	"math/bits"
	"time"
)

// The two precisions of a Histogram, as bits of a value that are kept.
const (
	fineBits   = 11 // a value is known to one part in 1,024: three digits
	coarseBits = 6  // one part in 32, for the many short intervals of a run
	valueBits  = 42 // 2^42 ns are 73 minutes; longer ones count as that
)

// Histogram counts latencies in log-linear buckets, as HdrHistogram does: each doubling is divided into equal parts, so
// that the error is a share of the value. The histogram of package meter has one part in 32, which is enough to watch a
// server by and not to compare two; this one keeps three digits in 260 KiB. Shortest, longest and sum are exact. It
// belongs to one goroutine.
type Histogram struct {
	counts   []uint64
	bits     uint
	count    uint64
	sum      float64 // nanoseconds
	squares  float64
	shortest int64
	longest  int64
}

// NewHistogram returns an empty one of three digits.
func NewHistogram() *Histogram { return newHistogram(fineBits) }

func newHistogram(precision uint) *Histogram {
	parts := 1 << (precision - 1)
	return &Histogram{
		counts: make([]uint64, (valueBits-int(precision)+2)*parts), bits: precision, shortest: math.MaxInt64,
	}
}

// Record counts one latency. A negative one counts as zero.
func (h *Histogram) Record(latency time.Duration) {
	v := min(max(int64(latency), 0), 1<<valueBits-1)
	h.counts[h.bucket(v)]++
	h.count++
	h.sum += float64(v)
	h.squares += float64(v) * float64(v)
	h.shortest = min(h.shortest, v)
	h.longest = max(h.longest, v)
}

// bucket is where a value is counted: those below 2^bits each for themselves, the others by their leading bits.
func (h *Histogram) bucket(v int64) int {
	shift := max(0, bits.Len64(uint64(v))-int(h.bits))
	return shift<<(h.bits-1) + int(v>>shift)
}

// top is the largest value of a bucket.
func (h *Histogram) top(bucket int) int64 {
	if bucket < 1<<h.bits {
		return int64(bucket)
	}
	shift := bucket>>(h.bits-1) - 1
	lead := int64(bucket) - int64(shift)<<(h.bits-1)
	return (lead+1)<<shift - 1
}

// Merge adds what another of the same precision has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.count += other.count
	h.sum += other.sum
	h.squares += other.squares
	h.shortest = min(h.shortest, other.shortest)
	h.longest = max(h.longest, other.longest)
}

// Reset forgets everything.
func (h *Histogram) Reset() {
	clear(h.counts)
	h.count, h.sum, h.squares, h.shortest, h.longest = 0, 0, 0, math.MaxInt64, 0
}

// Count returns how many latencies there are.
func (h *Histogram) Count() uint64 { return h.count }

// Mean returns the mean; 0 without any.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.count))
}

// Deviation returns the standard deviation; 0 without any.
func (h *Histogram) Deviation() time.Duration {
	if h.count == 0 {
		return 0
	}
	mean := h.sum / float64(h.count)
	return time.Duration(math.Sqrt(max(0, h.squares/float64(h.count)-mean*mean)))
}

// Shortest and Longest return the extremes; 0 without any.
func (h *Histogram) Shortest() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.shortest)
}

// Longest returns the longest latency.
func (h *Histogram) Longest() time.Duration { return time.Duration(h.longest) }

// Quantile returns the latency that a share q of all does not exceed, rounded up to what its bucket may hold.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(h.count)))
	rank = max(rank, 1)
	for i, n := range h.counts {
		if rank <= n {
			return time.Duration(min(max(h.top(i), h.shortest), h.longest))
		}
		rank -= n
	}
	return time.Duration(h.longest)
}

// Point is one point of a curve of percentiles.
type Point struct {
	Quantile float64       `json:"quantile"`
	Latency  time.Duration `json:"nanoseconds"`
	Beyond   uint64        `json:"beyond"` // how many latencies are longer
}

// Curve returns the latencies at quantiles that come closer and closer to 1, up to that of the single longest.
func (h *Histogram) Curve() []Point {
	var points []Point
	add := func(q float64) {
		points = append(points, Point{q, h.Quantile(q), h.count - uint64(math.Ceil(q*float64(h.count)))})
	}
	add(0)
	for tail := 1.0; tail*float64(h.count) > 1; tail /= 2 {
		for part := range 4 {
			if q := 1 - tail*(1-float64(part+1)/8); q*float64(h.count) <= float64(h.count-1) {
				add(q)
			}
		}
	}
	add(1)
	return points
}
