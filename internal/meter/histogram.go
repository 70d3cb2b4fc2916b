package meter

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The buckets are log-linear: each doubling of the latency is divided into 32 of equal width, so a value is known to
// one part in 32 and, taken as the middle of its bucket, to one in 64. Below 1,024 ns all are 32 ns wide.
const (
	unitBits     = 5 // 32 ns, the narrowest bucket
	divisionBits = 5 // 32 buckets for each doubling
	divisions    = 1 << divisionBits
	longestBits  = 42 // 2^42 ns are 73 minutes
	doublings    = longestBits - unitBits - divisionBits
	buckets      = (doublings + 1) * divisions
	longest      = time.Duration(1)<<longestBits - 1 // longer ones count as this
	words        = (buckets + 63) / 64
)

// Histogram counts latencies from 1 us to 73 minutes with an error of at most 1.6 %. Shorter ones are known to 16 ns;
// longer ones count as 73 minutes. Its zero value is ready; it takes 13 KiB and must not be copied.
type Histogram struct {
	_          [cacheLine]byte
	pending    [buckets]uint32 // the owner's: recorded since the last Publish
	dirty      [words]uint64   // a bit for each bucket with something pending
	pendingSum int64
	_          [cacheLine]byte
	published  [buckets]atomic.Uint64
	sum        atomic.Int64 // nanoseconds
	_          [cacheLine]byte
}

// Record counts one latency; a negative one counts as 0. Owner only, and at most 4,294,967,295 times between two
// calls of Publish. Readers see it after Publish.
func (h *Histogram) Record(latency time.Duration) {
	latency = min(max(latency, 0), longest)
	bucket := bucketOf(latency)
	h.pending[bucket]++
	h.dirty[bucket/64] |= 1 << (bucket % 64)
	h.pendingSum += int64(latency)
}

// RecordShared counts one latency from any goroutine. Readers see it at once.
func (h *Histogram) RecordShared(latency time.Duration) {
	latency = min(max(latency, 0), longest)
	h.published[bucketOf(latency)].Add(1)
	h.sum.Add(int64(latency))
}

// RecordMany counts n times the same latency from any goroutine. Readers see it at once.
func (h *Histogram) RecordMany(latency time.Duration, n int) {
	latency = min(max(latency, 0), longest)
	h.published[bucketOf(latency)].Add(uint64(n))
	h.sum.Add(int64(latency) * int64(n))
}

// Publish shows readers what was recorded since the last call. Owner only; once a turn of the loop, before it waits.
func (h *Histogram) Publish() {
	for word, dirty := range h.dirty {
		if dirty == 0 {
			continue
		}
		h.dirty[word] = 0
		for ; dirty != 0; dirty &= dirty - 1 {
			bucket := word*64 + bits.TrailingZeros64(dirty)
			h.published[bucket].Add(uint64(h.pending[bucket]))
			h.pending[bucket] = 0
		}
	}
	if h.pendingSum != 0 {
		h.sum.Add(h.pendingSum)
		h.pendingSum = 0
	}
}

// Snapshot copies what is published. Any goroutine.
func (h *Histogram) Snapshot() *Latencies {
	copied := new(Latencies)
	for i := range h.published {
		n := h.published[i].Load()
		copied.buckets[i] = n
		copied.count += n
	}
	copied.sum = h.sum.Load()
	return copied
}

// Latencies is a copy of a [Histogram], or several merged. Its zero value is empty.
type Latencies struct {
	buckets [buckets]uint64
	count   uint64
	sum     int64
}

// Merge adds the latencies of another copy.
func (l *Latencies) Merge(other *Latencies) {
	for i, n := range other.buckets {
		l.buckets[i] += n
	}
	l.count += other.count
	l.sum += other.sum
}

// Since returns those of l that are not in an earlier copy of the same histograms.
func (l *Latencies) Since(earlier *Latencies) *Latencies {
	later := &Latencies{sum: l.sum - earlier.sum}
	for i := range l.buckets {
		n := l.buckets[i] - min(earlier.buckets[i], l.buckets[i])
		later.buckets[i] = n
		later.count += n
	}
	return later
}

// Count returns how many latencies there are.
func (l *Latencies) Count() uint64 { return l.count }

// Sum returns all latencies added up, each exact up to 73 minutes.
func (l *Latencies) Sum() time.Duration { return time.Duration(l.sum) }

// Mean returns the mean latency, or 0 when there is none.
func (l *Latencies) Mean() time.Duration {
	if l.count == 0 {
		return 0
	}
	return time.Duration(l.sum / int64(l.count))
}

// Quantile returns the latency that a share q of all does not exceed: 0.5 is the median, 0.99 what one in a hundred
// exceeds, 0 and 1 the shortest and the longest. A q outside of that is taken as the nearer end. It is 0 when there
// is none.
func (l *Latencies) Quantile(q float64) time.Duration {
	if l.count == 0 {
		return 0
	}
	rank := rankOf(q, l.count)
	for i, n := range l.buckets {
		if rank <= n {
			return middleOf(i)
		}
		rank -= n
	}
	return middleOf(buckets - 1)
}

// AtMost returns how many latencies are at most limit, as an exporter of cumulative buckets needs. The bucket that
// limit falls into counts as a whole.
func (l *Latencies) AtMost(limit time.Duration) uint64 {
	if limit < 0 {
		return 0
	}
	var total uint64
	for _, n := range l.buckets[:bucketOf(min(limit, longest))+1] {
		total += n
	}
	return total
}

// rankOf returns which of count sorted values, from 1 on, is the quantile q.
func rankOf(q float64, count uint64) uint64 {
	switch {
	case !(q > 0): // also not a number
		return 1
	case q >= 1:
		return count
	}
	exact := q * float64(count)
	rank := uint64(exact)
	if float64(rank) < exact {
		rank++
	}
	return min(max(rank, 1), count)
}

// bucketOf returns the bucket of a latency between 0 and longest.
func bucketOf(latency time.Duration) uint {
	units := uint64(latency) >> unitBits
	if units < divisions {
		return uint(units)
	}
	doubling := uint(bits.Len64(units)) - divisionBits // 1 for the first that has wider buckets than the linear part
	return doubling*divisions + uint(units>>(doubling-1)) - divisions
}

// middleOf returns the middle of a bucket.
func middleOf(bucket int) time.Duration {
	if bucket < divisions {
		return time.Duration(bucket)<<unitBits + 1<<(unitBits-1)
	}
	doubling := uint(bucket/divisions) - 1
	lowest := uint64(bucket%divisions+divisions) << doubling << unitBits
	return time.Duration(lowest + 1<<doubling<<unitBits/2)
}
