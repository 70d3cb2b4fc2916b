package control

import (
	"context"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/meter"
)

// Figures are what happened within the last moment.
type Figures struct {
	Time    time.Time `json:"time"`
	Seconds Seconds   `json:"over_seconds"`
	Open    int64     `json:"open"`
	// Rates are in a second.
	Accepted  float64            `json:"accepted_per_second"`
	Closed    float64            `json:"closed_per_second"`
	Requests  float64            `json:"requests_per_second"`
	Received  float64            `json:"received_bytes_per_second"`
	Sent      float64            `json:"sent_bytes_per_second"`
	Responses map[string]float64 `json:"responses_per_second"`
	Latency   Latency            `json:"latency"`
	Loops     []Loop             `json:"loops"`
	Process   Process            `json:"process"`
}

// Latency is how long requests took that were over within the moment: from the first byte until the last of the answer
// was queued. Its times are 0 when there were none.
type Latency struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_microseconds"`
	P50   float64 `json:"p50_microseconds"`
	P99   float64 `json:"p99_microseconds"`
	P999  float64 `json:"p999_microseconds"`
}

// latency makes them of all that is counted at two times.
func latency(before, last *meter.Latencies) Latency {
	if before == nil || last == nil {
		return Latency{}
	}
	l := last.Since(before)
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return Latency{
		Count: l.Count(), Mean: micros(l.Mean()), P50: micros(l.Quantile(0.5)), P99: micros(l.Quantile(0.99)),
		P999: micros(l.Quantile(0.999)),
	}
}

// Process is what the server as a process takes of the host.
type Process struct {
	// Descriptors are those that are open, and their limit. Connections on direct descriptors take none of them.
	Descriptors     int64 `json:"descriptors"`
	DescriptorLimit int64 `json:"descriptor_limit"`
	ResidentBytes   int64 `json:"resident_bytes"`
}

// Loop is one event loop, or all threads together of a model that has none.
type Loop struct {
	Worker uint64 `json:"worker,omitempty"` // the number of the worker process; 0: there is one process
	Loop   int    `json:"loop"`
	Open   int64  `json:"open"`
	// Busy is the share of the time that the loop did not wait, Turns how many it made in a second, Turn how long one took
	// on average, and Batch how many completions it brought.
	Busy  float64 `json:"busy_share"`
	Turns float64 `json:"turns_per_second"`
	Turn  float64 `json:"turn_microseconds"`
	Batch float64 `json:"completions_per_turn"`
	Posts float64 `json:"posts_per_second"`

	Counts map[string]int64 `json:"counts"` // since the start
}

// moment is what was counted at one time.
type moment struct {
	at      time.Time
	workers []meter.Counts
	total   meter.Counts
	process Process
	latency *meter.Latencies
}

func now(a *app.App) moment {
	m := moment{at: time.Now()}
	m.workers, m.total = a.Counts()
	m.latency = a.Reading().Requests
	m.process.Descriptors, m.process.DescriptorLimit, m.process.ResidentBytes = a.Process()
	return m
}

// sampler compares what is counted with what was a second ago.
type sampler struct {
	mu     sync.Mutex
	before moment
	last   moment
	next   chan struct{} // closed when there is another
}

const sampleTime = time.Second

// run takes another sample each second. The first has been taken before: who asks waits for the next.
func (s *sampler) run(ctx context.Context, a *app.App) {
	ticker := time.NewTicker(sampleTime)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.sample(a)
		case <-ctx.Done():
			return
		}
	}
}

func (s *sampler) sample(a *app.App) {
	m := now(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.last = s.last, m
	if s.next != nil {
		close(s.next)
	}
	s.next = make(chan struct{})
}

// figures are those of the last whole second, or of as much as there was; and a channel that is closed when there are
// others.
func (s *sampler) figures(a *app.App) (Figures, <-chan struct{}) {
	s.mu.Lock()
	before, last, next := s.before, s.last, s.next
	s.mu.Unlock()
	if before.at.IsZero() {
		before, last = last, now(a)
	}
	return compare(&before, &last), next
}

func compare(before, last *moment) Figures {
	d := last.at.Sub(before.at).Seconds()
	f := Figures{
		Time: last.at.UTC(), Seconds: Seconds(last.at.Sub(before.at)), Open: last.total[meter.Open],
		Responses: map[string]float64{}, Loops: []Loop{}, Process: last.process,
		Latency: latency(before.latency, last.latency),
	}
	rate := func(a, b *meter.Counts, c meter.Counter) float64 { return over(float64(b[c]-a[c]), d) }
	was, is := &before.total, &last.total
	f.Accepted, f.Closed = rate(was, is, meter.Accepted), rate(was, is, meter.Closed)
	f.Requests = rate(was, is, meter.Requests)
	f.Received, f.Sent = rate(was, is, meter.BytesIn), rate(was, is, meter.BytesOut)
	for class, c := range map[string]meter.Counter{
		"1xx": meter.Responses1xx, "2xx": meter.Responses2xx, "3xx": meter.Responses3xx, "4xx": meter.Responses4xx,
		"5xx": meter.Responses5xx,
	} {
		f.Responses[class] = rate(was, is, c)
	}
	for i := range last.workers {
		is := &last.workers[i]
		var was meter.Counts
		if i < len(before.workers) {
			was = before.workers[i]
		}
		turns := float64(is[meter.Turns] - was[meter.Turns])
		busy := float64(is[meter.BusyNanoseconds] - was[meter.BusyNanoseconds])
		l := Loop{
			Loop: i, Open: is[meter.Open], Busy: over(busy/1e9, d), Turns: over(turns, d),
			Turn: over(busy/1e3, turns), Batch: over(float64(is[meter.Completions]-was[meter.Completions]), turns),
			Posts: rate(&was, is, meter.Posts), Counts: map[string]int64{},
		}
		for counter, n := range is.All() {
			l.Counts[counter.String()] = n
		}
		f.Loops = append(f.Loops, l)
	}
	return f
}

// over is a/b, and nothing of nothing.
func over(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}
