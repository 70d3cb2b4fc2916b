package main

import (
	"context"
	"fmt"
	"slices"
	"time"

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
func (t *table) measure(ctx context.Context, pid int, length time.Duration) (s sample, err error) {
	if t.since == nil {
		t.since = make([]int64, len(t.state))
	}
	s.delays = make([]uint32, 0, 1<<18)
	before, err := sys.ProcessTime(pid)
	if err != nil {
		return s, err
	}
	waitedBefore := waited(pid)
	began := time.Now()
	now := int64(0)
	flying := 0
	begin := func(slot int, lane uint16) {
		t.since[slot] = now
		t.chain(slot, lane, stepSend, stepReceive)
		flying++
	}
	for slot := range t.state {
		begin(slot, t.take())
	}
	for flying > 0 {
		if err := t.enter(1); err != nil {
			return s, err
		}
		now = int64(time.Since(began))
		if now > int64(length+stalledAfter) {
			return s, fmt.Errorf("%d of %d active connections say nothing for %v", flying, len(t.state), stalledAfter)
		}
		ready := t.ring.Ready()
		for i := range ready {
			o := *t.ring.Outcome(i)
			slot, lane, what := int(uint32(o.UserData)), uint16(o.UserData>>32), step(o.UserData>>48&0xff)
			flying--
			if err == nil {
				err = t.judge(&o, lane, what)
			}
			s.delays = append(s.delays, uint32(now-t.since[slot]))
			if now < int64(length) && err == nil && ctx.Err() == nil {
				begin(slot, lane)
			} else {
				t.free = append(t.free, lane)
			}
		}
		t.ring.Seen(ready)
	}
	s.Length = time.Since(began)
	after, errAfter := sys.ProcessTime(pid)
	if err == nil {
		err = errAfter
	}
	if err == nil {
		err = ctx.Err()
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
