package app

import (
	"sync"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/observe"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// sight is what the server remembers of what it has done, beyond the counters of its loops.
type sight struct {
	mu       sync.Mutex
	requests []*meter.Histogram // of each web server, and of answers that took less than a turn; under mu
	failures observe.Tally      // answers by cause
	ends     observe.Tally      // connections by cause
	tunnels  proxy.TunnelCounters
	recorder *observe.Recorder
	tracer   *observe.Tracer // nil: nothing is traced
}

// openSight starts what logs the last events of failures. It is there also where nothing is recorded by itself, for
// those connections that somebody traces.
func (a *App) openSight() {
	a.sight.recorder = observe.NewRecorder(a.options.Log)
	a.closers = append(a.closers, a.sight.recorder.Close)
	if t := &a.now().plan.Config.Tracing; !t.Off() {
		a.sight.tracer = observe.NewTracer(observe.TraceOptions{
			URL: t.URL(), Service: t.Service, Version: a.options.Version, Sample: t.Sample, Log: a.options.Log,
		})
		a.closers = append(a.closers, a.sight.tracer.Close)
	}
}

// watch has more histograms read.
func (s *sight) watch(more []*meter.Histogram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, more...)
}

// latencies is the sum of all histograms.
func (s *sight) latencies() *meter.Latencies {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := new(meter.Latencies)
	for _, h := range s.requests {
		sum.Merge(h.Snapshot())
	}
	return sum
}

// records says that events of connections are recorded.
func (g *generation) records() bool { return g.plan.Config.Recorder > 0 }

// recording is what loops record.
func (g *generation) recording() conn.Recording {
	c := g.plan.Config
	r := conn.Recording{Connections: int(c.Recorder), Traced: g.sight.recorder.Traced}
	if c.Metrics || c.Recorder > 0 {
		r.Ended = func(r *conn.Record, events []conn.Event) {
			g.sight.ends.Count(observe.EndCode(r.Why))
			g.sight.recorder.Ended(r, events)
		}
		prompt := new(meter.Histogram)
		g.sight.watch([]*meter.Histogram{prompt})
		r.Prompt = func(n int, took time.Duration) { prompt.RecordMany(took, n) }
	}
	return r
}

// attend has a web server tell of each request that is over.
func (g *generation) attend(s *web.Server, latencies *meter.Histogram) {
	records, tracer := g.records(), g.sight.tracer
	if !g.plan.Config.Metrics && !records && tracer == nil {
		return
	}
	if tracer != nil {
		s.Begun = tracer.Begun
	}
	s.Done = func(x *web.Exchange) {
		outcome := x.Outcome()
		if outcome.Duration > 0 || !conn.CountPrompt(x.Conn()) {
			latencies.RecordShared(outcome.Duration)
		}
		if records {
			note(x.Conn(), &outcome)
		}
		if tracer != nil {
			tracer.Done(x, &outcome)
		}
		if outcome.Cause != "" {
			g.sight.failures.Count(outcome.Cause)
			g.sight.recorder.Failed(x, &outcome)
		}
	}
}

// note records an answer.
func note(c conn.Conn, o *web.Outcome) {
	if n, ok := c.(conn.Noter); ok {
		n.Note(conn.Answered, o.Status, uint64(o.Bytes))
	}
}

// Reading is what the server has counted. It costs copies of the counters and asks no loop.
func (a *App) Reading() observe.Reading {
	r := observe.Reading{
		Version: a.options.Version, Driver: a.now().plan.DriverName(), Model: a.now().plan.Model.Name(), Started: a.started,
		Limit: a.now().plan.Capacity.First().At, Total: a.counters.Total(), Workers: a.counters.Workers(),
		Requests: a.sight.latencies(), Failures: a.sight.failures.Counts(), Ends: a.sight.ends.Counts(),
		Tunnels: a.sight.tunnels.Counts(), Upstreams: a.snapshots(),
		Lost: map[string]int64{"records": a.sight.recorder.Dropped()},
	}
	for listener, counts := range a.sessions() {
		r.Streams = append(r.Streams, observe.StreamReading{Listener: listener, Counts: counts})
	}
	if a.access != nil {
		r.Lost["log_lines"] = a.access.Dropped()
	}
	if t := a.sight.tracer; t != nil {
		r.Spans, r.Lost["spans"] = t.Exported(), t.Dropped()
	}
	return r
}

// snapshots are the upstreams in their order.
func (a *App) snapshots() []upstream.Snapshot {
	var all []upstream.Snapshot
	for _, t := range targets(a.now().plan.Config) {
		s := a.now().upstreams[t.name].Snapshot()
		s.Name = t.name
		all = append(all, s)
	}
	return all
}
