package lab

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
)

const (
	closesAfter = 300 // milliseconds of silence after which the upstream closes, or the box forgets
	crewSize    = 32
)

func stale() Experiment {
	return Experiment{
		Name: "stale", Title: "The upstream closes connections that a pool still holds",
		Seeds: []string{"002"},
		Claim: "When the other side closes pooled connections, one that is dead must be passed over and another taken. " +
			"A pool " +
			"that hands the error on instead brings errors often enough to hurt the service.",
		Varied: "who holds the pooled connections, and whether a request may be repeated",
		Method: "An upstream closes connections after 300 ms of silence. 32 users ask, and are silent for 200 to 400 " +
			"ms. They " +
			"use connections of their own without a look, or Myriad stands between: without retries, and as it is.",
		Quick: 40 * second, Full: 20 * minute, measure: measureStale, judge: judgeStale,
	}
}

func idleTimeout() Experiment {
	return Experiment{
		Name: "idle-timeout", Title: "A box on the way forgets connections",
		Seeds: []string{"002"},
		Claim: "A balancer or proxy drops a connection from its session table after its idle timeout, while both ends, " +
			"by a " +
			"longer keepalive, believe in it. The next request is answered by a reset or by nothing, and the client sees " +
			"connection errors. The timeouts must be set with care: shorter at the ends than in the middle.",
		Varied: "whether the box resets or keeps silent, and how long the pool keeps idle connections",
		Method: "A forwarder of the lab's own forgets a connection after 300 ms of silence and tells nobody. 32 users " +
			"that are " +
			"silent for 200 to 400 ms ask through it, or through Myriad before it, which waits 1 s for an answer; its pool " +
			"keeps idle connections for a minute, or for 100 ms.",
		Quick: 60 * second, Full: 30 * minute, measure: measureIdleTimeout, judge: judgeIdleTimeout,
	}
}

func staleColumns() []Column {
	return []Column{{"asked", "requests"}, {"failed", "requests"}, {"share failed", "%"}, {"slowest", "ms"}}
}

// through lets a crew ask one address, and adds what it has seen.
func (s *Stand) through(ctx context.Context, r *Result, t *Table, key []string, address, method string) {
	length := 20 * second
	if s.Quick {
		length = 2 * second
	}
	e := crew{
		address: address, method: method, users: crewSize, least: 200 * time.Millisecond, most: 400 * time.Millisecond,
		patience: 3 * second, length: length, seed: s.Seed,
	}.work(ctx)
	r.check(e.asked >= crewSize && e.failed <= e.asked, "%v: the users asked %d times, and %d failed", key, e.asked,
		e.failed)
	sum := 0
	for _, n := range e.why {
		sum += n
	}
	r.check(sum == e.failed, "%v: each of %d failures has a cause: %d", key, e.failed, sum)
	t.add(key, float64(e.asked), float64(e.failed), 100*float64(e.failed)/math.Max(1, float64(e.asked)),
		milliseconds(e.slowest))
	if e.failed > 0 && len(r.Notes) < 12 {
		r.note("%v: %v", key, e.why)
	}
}

// proxied starts Myriad before an address.
func (s *Stand) proxied(ctx context.Context, to string, more ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	command := append([]string{s.Program, "proxy", "--listen", address, "--to", to, "--loops", "1"}, more...)
	return s.start(ctx, spec{name: "proxy", address: address, command: command})
}

func (s *Stand) upstream(ctx context.Context, idle int) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return s.start(ctx, spec{name: "upstream", address: address, onLoad: true, command: []string{
		s.Program, "lab", "part", "upstream", address, strconv.Itoa(idle),
	}})
}

func measureStale(ctx context.Context, s *Stand, r *Result) error {
	t := r.table("stale", []string{"pool", "method"}, staleColumns()...)
	up, err := s.upstream(ctx, closesAfter)
	if err != nil {
		return err
	}
	pools := []struct {
		name string
		more []string
	}{
		{"without a look", nil},
		{"Myriad without retries", []string{"--set", "upstreams.default.retries.attempts=off"}},
		{"Myriad", nil},
	}
	for round := range s.Rounds {
		for _, method := range []string{"GET", "POST"} {
			for _, i := range rotated(len(pools), round) {
				s.Tell("stale: %s, %s", pools[i].name, method)
				address := up.address
				var p *process
				if i > 0 {
					if p, err = s.proxied(ctx, up.address, pools[i].more...); err != nil {
						return err
					}
					address = p.address
				}
				s.through(ctx, r, t, []string{pools[i].name, method}, address, method)
				if p != nil {
					if err := s.end(p); err != nil {
						return err
					}
				}
			}
		}
	}
	r.draw(Figure{
		Title: "Requests that failed", Table: t.Name, Column: "share failed", Line: "method", Over: "pool",
		Names: true,
	})
	return s.end(up)
}

func judgeStale(r *Result) Verdict {
	t := r.find("stale")
	get := func(pool, method string) float64 { return t.median("share failed", pool, method) }
	why := fmt.Sprintf("Of requests on connections used without a look %.1f %% (GET) and %.1f %% (POST) failed; through "+
		"Myriad without retries %.2f %% and %.2f %%, with them %.2f %% and %.2f %%.", get("without a look", "GET"),
		get("without a look", "POST"), get("Myriad without retries", "GET"), get("Myriad without retries", "POST"),
		get("Myriad", "GET"), get("Myriad", "POST"))
	if get("without a look", "GET") > 5 && get("Myriad", "GET") < 0.1 {
		return Verdict{Holds, why}
	}
	return Verdict{Partly, why}
}

func measureIdleTimeout(ctx context.Context, s *Stand, r *Result) error {
	t := r.table("forgotten", []string{"box", "pool"}, staleColumns()...)
	up, err := s.upstream(ctx, 600_000)
	if err != nil {
		return err
	}
	pools := []struct {
		name string
		more []string
	}{
		{"without a look", nil},
		{"Myriad, idle for 60 s", []string{"--set", "upstreams.default.timeouts.first_byte=1s"}},
		{"Myriad, idle for 100 ms", []string{
			"--set", "upstreams.default.timeouts.first_byte=1s", "--set", "upstreams.default.pool.idle_timeout=100ms",
		}},
	}
	for round := range s.Rounds {
		for _, manner := range []string{"reset", "silent"} {
			at, err := freeAddress()
			if err != nil {
				return err
			}
			middle, err := s.start(ctx, spec{name: "forget", address: at, onLoad: true, command: []string{
				s.Program, "lab", "part", "forget", at, up.address, strconv.Itoa(closesAfter), manner,
			}})
			if err != nil {
				return err
			}
			for _, i := range rotated(len(pools), round) {
				s.Tell("idle-timeout: %s box, %s", manner, pools[i].name)
				address := at
				var p *process
				if i > 0 {
					if p, err = s.proxied(ctx, at, pools[i].more...); err != nil {
						return err
					}
					address = p.address
				}
				s.through(ctx, r, t, []string{manner, pools[i].name}, address, "GET")
				if p != nil {
					if err := s.end(p); err != nil {
						return err
					}
				}
			}
			if err := s.end(middle); err != nil {
				return err
			}
		}
	}
	r.draw(Figure{
		Title: "Requests that failed", Table: t.Name, Column: "share failed", Line: "box", Over: "pool",
		Names: true,
	})
	return s.end(up)
}

func judgeIdleTimeout(r *Result) Verdict {
	t := r.find("forgotten")
	get := func(box, pool string) float64 { return t.median("share failed", box, pool) }
	const long, short = "Myriad, idle for 60 s", "Myriad, idle for 100 ms"
	why := fmt.Sprintf("Of requests through a box that resets or is silent, %.1f and %.1f %% failed on connections used "+
		"without a look; through Myriad whose pool keeps longer than the box %.2f and %.2f %%, shorter %.2f and %.2f %%.",
		get("reset", "without a look"), get("silent", "without a look"), get("reset", long), get("silent", long),
		get("reset", short), get("silent", short))
	if get("reset", "without a look") > 5 && get("silent", short) < 0.1 && get("reset", short) < 0.1 {
		return Verdict{Holds, why}
	}
	return Verdict{Partly, why}
}
