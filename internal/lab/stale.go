package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

func stale() Experiment {
	return Experiment{
		Name: "stale", Title: "The upstream closes connections that a pool still holds",
		Seeds: []string{"002"},
		Claim: "When the other side closes pooled connections, one that is dead must be passed over and another taken. " +
			"A pool that hands the error on instead brings errors often enough to hurt the service.",
		Varied: "who holds the pooled connections, whether a request may be repeated (GET) or not (POST)",
		Method: "An upstream closes connections after 300 ms of silence. 32 users ask, and are silent for 200 to 400 ms. " +
			"They use connections of their own without a look, or Myriad stands between: without retries, and as it is.",
		Takes: 150 * second, Quick: quickest, Full: 10 * minute, measure: measureStale, judge: judgeStale,
	}
}

func idleTimeout() Experiment {
	return Experiment{
		Name: "idle-timeout", Title: "A box on the way forgets connections",
		Seeds: []string{"002"},
		Claim: "A balancer or proxy drops a connection from its session table after its idle timeout, while both ends, " +
			"by a longer keepalive, believe in it. The next request is answered by a reset or by nothing, and the client " +
			"sees connection errors. The timeouts must be set with care: shorter at the ends than in the middle.",
		Varied: "whether the box resets or keeps silent, and how long the pool keeps idle connections",
		Method: "Users, a NAT and an upstream are network namespaces; the NAT is the kernel's own (nftables), and forgets " +
			"a connection after a second of silence. Where there is no nftables, a forwarder of the lab's own stands for it. " +
			"64 users that are silent for 0.7 to 1.3 s ask through it, or through Myriad before it, which waits 1 s for an " +
			"answer; its pool keeps idle connections for a minute, or for 400 ms.",
		Takes: 3 * minute, Quick: quickest, Full: 10 * minute, measure: measureIdleTimeout, judge: judgeIdleTimeout,
	}
}

// way is how users reach an upstream: on connections of their own, or through Myriad with some settings.
type way struct {
	name     string
	proxied  bool
	settings []string
}

// without is the way of users that have nothing between.
const without = "without a look"

// visit is users of an upstream, which come in several ways.
type visit struct {
	key    []string // before the name of the way, in the table
	target string
	inside space // where the users are, and Myriad
	crew   crew
	ways   []way
}

func staleTable(r *Result, name, key string) *Table {
	return r.table(name, []string{key, "way"}, Column{"asked", "requests"}, Column{"failed", "requests"},
		Column{"share failed", "%"}, Column{"slowest", "ms"})
}

// pay has the users come in each way, in the order of a round.
func (v visit) pay(ctx context.Context, s *Stand, r *Result, t *Table, round int) error {
	v.crew.Length, v.crew.Seed, v.crew.Patience = 8*second, s.Seed+uint64(round), 3*second
	if s.Quick {
		v.crew.Length = 2 * second
	}
	for _, i := range rotated(len(v.ways), round) {
		w := v.ways[i]
		key := append(append([]string{}, v.key...), w.name)
		s.Tell("%s: %s", r.Name, strings.Join(key, ", "))
		e, err := v.once(ctx, s, w)
		if err != nil {
			return err
		}
		r.check(e.Asked >= v.crew.Users && e.Failed <= e.Asked, "%v: the users asked %d times, and %d failed", key, e.Asked,
			e.Failed)
		sum := 0
		for _, n := range e.Why {
			sum += n
		}
		r.check(sum == e.Failed, "%v: each of %d failures has a cause: %d", key, e.Failed, sum)
		t.add(key, float64(e.Asked), float64(e.Failed), 100*float64(e.Failed)/math.Max(1, float64(e.Asked)),
			milliseconds(e.Slowest))
		if e.Failed > 0 && round == 0 {
			r.note("%s, first round: of %d requests %s.", strings.Join(key, ", "), e.Asked, e.causes())
		}
	}
	return nil
}

// once has them come in one way. They are a process of their own.
func (v visit) once(ctx context.Context, s *Stand, w way) (e experience, err error) {
	v.crew.Address = v.target
	if w.proxied {
		p, err := s.proxied(ctx, v.inside, v.target, w.settings...)
		if err != nil {
			return e, err
		}
		defer func() { _ = s.end(p) }()
		v.crew.Address = p.address
	}
	description, err := json.Marshal(v.crew)
	if err != nil {
		return e, err
	}
	said, err := s.finish(ctx, spec{
		name: "users", onLoad: true, command: v.inside.runs(s.Program, "lab", "part", "users", string(description)),
	})
	if err != nil {
		return e, err
	}
	err = json.Unmarshal([]byte(said), &e)
	return e, err
}

// proxied starts Myriad before an address.
func (s *Stand) proxied(ctx context.Context, inside space, to string, settings ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	command := []string{s.Program, "proxy", "--listen", address, "--to", to, "--loops", "1"}
	for _, one := range settings {
		command = append(command, "--set", one)
	}
	return s.start(ctx, spec{
		name: "proxy", address: address, elsewhere: inside != "", command: inside.runs(command...),
	})
}

// upstream starts a server that closes connections which were idle for so many milliseconds.
func (s *Stand) upstream(ctx context.Context, inside space, host string, idle int) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	address = strings.Replace(address, "127.0.0.1", host, 1)
	return s.upstreamAt(ctx, inside, address, idle)
}

func (s *Stand) upstreamAt(ctx context.Context, inside space, address string, idle int) (*process, error) {
	return s.start(ctx, spec{
		name: "upstream", address: address, onLoad: true, elsewhere: inside != "",
		command: inside.runs(s.Program, "lab", "part", "upstream", address, strconv.Itoa(idle), "0"),
	})
}

func measureStale(ctx context.Context, s *Stand, r *Result) error {
	t := staleTable(r, "stale", "method")
	up, err := s.upstream(ctx, "", "127.0.0.1", 300)
	if err != nil {
		return err
	}
	for round := range s.Rounds {
		for _, method := range []string{"GET", "POST"} {
			v := visit{
				key: []string{method}, target: up.address,
				crew: crew{Method: method, Users: 32, Least: 200 * time.Millisecond, Most: 400 * time.Millisecond},
				ways: []way{
					{name: without},
					{name: "Myriad without retries", proxied: true, settings: []string{"upstreams.default.retries.attempts=off"}},
					{name: "Myriad", proxied: true},
				},
			}
			if err := v.pay(ctx, s, r, t, round); err != nil {
				return err
			}
		}
	}
	r.draw(Figure{
		Title: "Requests that failed", Table: t.Name, Column: "share failed", Line: "method", Over: "way", Names: true,
	})
	return s.end(up)
}

func judgeStale(r *Result) Verdict {
	t := r.find("stale")
	get := func(way, method string) float64 { return t.median("share failed", method, way) }
	why := fmt.Sprintf("Of requests on connections used without a look %.1f %% (GET) and %.1f %% (POST) failed; through "+
		"Myriad without retries %.2f %% and %.2f %%, with them %.2f %% and %.2f %%.", get(without, "GET"),
		get(without, "POST"), get("Myriad without retries", "GET"), get("Myriad without retries", "POST"),
		get("Myriad", "GET"), get("Myriad", "POST"))
	if get(without, "GET") > 5 && get("Myriad", "GET") < 0.1 {
		return Verdict{Holds, why}
	}
	return Verdict{Partly, why}
}

const (
	poolLong, poolShort = "Myriad, keeps 60 s", "Myriad, keeps 400 ms"
	forgetsAfter        = 1 // second; the kernel's table counts in seconds
)

func measureIdleTimeout(ctx context.Context, s *Stand, r *Result) error {
	t := staleTable(r, "forgotten", "box")
	_, missing := exec.LookPath("nft")
	native := missing == nil
	const waits = "upstreams.default.timeouts.first_byte=1s"
	for round := range s.Rounds {
		for _, manner := range []string{"reset", "silent"} {
			v := visit{
				key:  []string{manner},
				crew: crew{Method: "GET", Users: 64, Least: 700 * time.Millisecond, Most: 1300 * time.Millisecond},
				ways: []way{
					{name: without},
					{name: poolLong, proxied: true, settings: []string{waits}},
					{name: poolShort, proxied: true, settings: []string{waits, "upstreams.default.pool.idle_timeout=400ms"}},
				},
			}
			if native {
				if err := v.behindNAT(ctx, s, manner == "silent"); err != nil {
					// It is not fatal: a kernel may lack the tables, or a container the right to make them.
					if ctx.Err() != nil {
						return err
					}
					r.note("There is no NAT: %v.", err)
					native = false
				}
			}
			if !native {
				if err := v.behindForwarder(ctx, s, manner); err != nil {
					return err
				}
			}
			if err := v.pay(ctx, s, r, t, round); err != nil {
				return err
			}
			if err := s.endAll(); err != nil {
				return err
			}
		}
	}
	if native {
		r.note("The box was the kernel's NAT, in a network namespace.")
	} else {
		r.note("The box was a forwarder of the lab's own, not a NAT.")
	}
	r.draw(Figure{
		Title: "Requests that failed", Table: t.Name, Column: "share failed", Line: "box", Over: "way", Names: true,
	})
	r.draw(Figure{
		Title: "The slowest request", Table: t.Name, Column: "slowest", Line: "box", Over: "way", Names: true,
	})
	return nil
}

// never is the idle time of an upstream that never closes a connection by itself, in milliseconds.
const never = 600_000

// behindNAT puts the upstream behind the kernel's NAT.
func (v *visit) behindNAT(ctx context.Context, s *Stand, silent bool) error {
	users, servers, err := s.nat(ctx, forgetsAfter, silent)
	if err != nil {
		return err
	}
	up, err := s.upstream(ctx, servers, rightHost, never)
	if err == nil {
		v.inside, v.target = users, up.address
	}
	return err
}

// behindForwarder puts it behind the box of the lab's own.
func (v *visit) behindForwarder(ctx context.Context, s *Stand, manner string) error {
	v.inside = ""
	up, err := s.upstream(ctx, "", "127.0.0.1", never)
	if err != nil {
		return err
	}
	if v.target, err = freeAddress(); err != nil {
		return err
	}
	_, err = s.start(ctx, spec{name: "forget", address: v.target, onLoad: true, command: []string{
		s.Program, "lab", "part", "forget", v.target, up.address, strconv.Itoa(1000 * forgetsAfter), manner,
	}})
	return err
}

func judgeIdleTimeout(r *Result) Verdict {
	t := r.find("forgotten")
	get := func(box, way string) float64 { return t.median("share failed", box, way) }
	why := fmt.Sprintf("Of requests through a box that resets or is silent, %.1f and %.1f %% failed on connections used "+
		"without a look; through Myriad whose pool keeps longer than the box %.2f and %.2f %%, shorter %.2f and %.2f %%.",
		get("reset", without), get("silent", without), get("reset", poolLong), get("silent", poolLong),
		get("reset", poolShort), get("silent", poolShort))
	if get("reset", without) > 5 && get("silent", poolShort) < 0.1 && get("reset", poolShort) < 0.1 {
		return Verdict{Holds, why}
	}
	return Verdict{Partly, why}
}
