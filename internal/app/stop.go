package app

import (
	"context"
	"time"

	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/stream"
)

// anyDrain is how long the model waits for the end of the drain: it is the server that ends it. It knows what is cut,
// and how long the drain may take by now.
const anyDrain = 365 * 24 * time.Hour

// drainSlack is how much longer than timeouts.drain something is kept that may still be wanted.
const drainSlack = time.Second

// ending is how a stop goes.
type ending struct {
	began  time.Time
	before load          // when the stop began
	cut    load          // when the drain was ended
	after  time.Duration // of the stop, until then
	cause  string        // what ended the drain; empty: nothing had to
}

// load is what a server has open, and what it has closed so far.
type load struct{ clients, upstreams, sessions, closed int64 }

// load reads the counters, which are a turn of the loop old at most.
func (a *App) load() load {
	total := a.counters.Total()
	made := load{clients: total[meter.Open], closed: total[meter.Closed]}
	for _, group := range a.now().upstreams {
		for _, endpoint := range group.Snapshot().Endpoints {
			made.upstreams += int64(endpoint.Open)
		}
	}
	for _, counts := range a.sessions() {
		made.sessions += counts[stream.Open]
	}
	// The loops count what they dialled among the rest. The two readings are of two moments.
	made.upstreams = min(made.upstreams, made.clients)
	made.clients -= made.upstreams
	return made
}

// serve has the model serve the site, and ends the drain at its deadline or when kill is closed.
func (a *App) serve(ctx context.Context, site *serve.Site, kill <-chan struct{}) (*ending, error) {
	cut, ended, watched := make(chan struct{}), make(chan struct{}), make(chan *ending, 1)
	site.Kill, site.Limits.Drain = cut, anyDrain
	go func() { watched <- a.watch(ctx, kill, ended, cut) }()
	err := a.now().plan.Model.Serve(ctx, site)
	close(ended)
	return <-watched, err
}

// watch waits for the stop, and closes cut when the drain has taken too long. It returns when ended is closed; without
// a stop there is no ending.
func (a *App) watch(ctx context.Context, kill, ended <-chan struct{}, cut chan<- struct{}) *ending {
	select {
	case <-ctx.Done():
	case <-ended:
		return nil
	}
	drain := max(time.Duration(a.now().plan.Config.Timeouts.Drain), time.Nanosecond)
	if a.halfway.Load() {
		drain = max(drain-drain/leavePart, time.Nanosecond)
	}
	e := &ending{began: time.Now(), before: a.load()}
	deadline := time.NewTimer(drain)
	defer deadline.Stop()
	select {
	case <-ended:
		return e
	case <-deadline.C:
		e.cause = "timeouts.drain is " + drain.String()
	case <-kill:
		e.cause = "a second signal"
	}
	e.cut, e.after = a.load(), time.Since(e.began)
	close(cut)
	<-ended
	return e
}

// report says how the stop went. Whoever was at rest has been let go at its begin, so what was cut was at work.
func (a *App) report(e *ending) {
	if e == nil {
		return
	}
	took, closed := time.Since(e.began).Round(time.Millisecond), a.load().closed-e.before.closed
	if e.cut.clients+e.cut.upstreams+e.cut.sessions == 0 {
		a.options.Log.Info("drained", "took", took, "connections_closed", closed)
		return
	}
	a.options.Log.Warn("connections were cut", "connections_cut", e.cut.clients,
		"upstream_connections_cut", e.cut.upstreams, "sessions_cut", e.cut.sessions,
		"after", e.after.Round(time.Millisecond), "cause", e.cause, "connections_closed", closed, "took", took,
		"fix", "raise timeouts.drain, if they are to end by themselves")
}
