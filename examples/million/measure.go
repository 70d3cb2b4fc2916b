package main

import (
	"context"
	"slices"
	"time"

	"github.com/myriad-server/myriad/internal/crowd"
	"github.com/myriad-server/myriad/internal/sys"
)

// sample is one measurement of a server under load.
type sample struct {
	Requests   int           `json:"requests"`
	Length     time.Duration `json:"nanoseconds"`
	Processor  time.Duration `json:"server_processor_nanoseconds"`
	Waited     time.Duration `json:"server_waited_nanoseconds"` // for its processor
	PerRequest float64       `json:"server_microseconds_per_request"`
	Idle       float64       `json:"other_server_milliseconds_per_second"`
	Middle     float64       `json:"p50_microseconds"`
	Late       float64       `json:"p99_microseconds"`
	PerSecond  float64       `json:"requests_per_second"`
	delays     []uint32
}

// measure keeps every connection of the table busy for a time, each with one request at a time, and takes the
// processor time of the server and the time of every request.
func measure(ctx context.Context, t *crowd.Table, pid int, length time.Duration) (s sample, err error) {
	s.delays = make([]uint32, 0, 1<<18)
	before, err := sys.ProcessTime(pid)
	if err != nil {
		return s, err
	}
	waitedBefore := waited(pid)
	began := time.Now()
	err = t.Busy(ctx, length, func(took time.Duration) { s.delays = append(s.delays, uint32(took)) })
	s.Length = time.Since(began)
	after, errAfter := sys.ProcessTime(pid)
	if err == nil {
		err = errAfter
	}
	s.Processor, s.Waited = after-before, waited(pid)-waitedBefore
	s.conclude()
	return s, err
}

func (s *sample) conclude() {
	s.Requests = len(s.delays)
	if s.Requests == 0 {
		return
	}
	slices.Sort(s.delays)
	at := func(p float64) float64 { return float64(s.delays[int(p*float64(len(s.delays)-1))]) / 1e3 }
	s.Middle, s.Late = at(0.50), at(0.99)
	s.PerRequest = float64(s.Processor) / 1e3 / float64(s.Requests)
	s.PerSecond = float64(s.Requests) / s.Length.Seconds()
	s.delays = nil
}

// median is the middle of what f says of the samples.
func median[T any](list []T, f func(T) float64) float64 {
	values := make([]float64, len(list))
	for i, v := range list {
		values[i] = f(v)
	}
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
