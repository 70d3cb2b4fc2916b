package app

import (
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/observe"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
)

// sight is what the server remembers of what it has done, beyond the counters of its loops.
type sight struct {
	requests []*meter.Histogram // of each web server
	failures observe.Tally      // answers by cause
}

// attend has a web server tell of each request that is over.
func (a *App) attend(s *web.Server) {
	latencies := new(meter.Histogram)
	a.sight.requests = append(a.sight.requests, latencies)
	s.Done = func(x *web.Exchange) {
		outcome := x.Outcome()
		latencies.RecordShared(outcome.Duration)
		if outcome.Cause != "" {
			a.sight.failures.Count(outcome.Cause)
		}
	}
}

// Reading is what the server has counted. It costs copies of the counters and asks no loop.
func (a *App) Reading() observe.Reading {
	r := observe.Reading{
		Version: a.options.Version, Driver: a.plan.DriverName(), Model: a.plan.Model.Name(), Started: a.started,
		Limit: a.plan.Capacity.First().At, Total: a.counters.Total(), Workers: a.counters.Workers(),
		Requests: new(meter.Latencies), Failures: a.sight.failures.Counts(),
		Upstreams: a.snapshots(), Lost: make(map[string]int64),
	}
	for _, h := range a.sight.requests {
		r.Requests.Merge(h.Snapshot())
	}
	for _, of := range a.streams {
		r.Streams = append(r.Streams, observe.StreamReading{Listener: of.listener, Counts: of.counts()})
	}
	if a.access != nil {
		r.Lost["log_lines"] = a.access.Dropped()
	}
	return r
}

// snapshots are the upstreams in their order.
func (a *App) snapshots() []upstream.Snapshot {
	var all []upstream.Snapshot
	for _, t := range targets(a.plan.Config) {
		s := a.upstreams[t.name].Snapshot()
		s.Name = t.name
		all = append(all, s)
	}
	return all
}
