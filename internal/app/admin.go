package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/goccy/go-yaml"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
)

// This file is what the admin API asks of a running server. All of it may be called from any goroutine.

// roll keeps who lists the connections, and which endpoints somebody has drained.
type roll struct {
	mu      sync.Mutex
	rosters []conn.Roster
	drained map[string][]string // by upstream: the endpoints as they were configured
}

// enroll is serve.Site.Roster.
func (r *roll) enroll(_ int, of conn.Roster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rosters = append(r.rosters, of)
}

// forget puts the endpoints of an upstream back, which the configuration has others for now.
func (r *roll) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.drained, name)
}

// Rosters are who lists the connections: the loops, or the model itself.
func (a *App) Rosters() []conn.Roster {
	a.roll.mu.Lock()
	defer a.roll.mu.Unlock()
	return slices.Clone(a.roll.rosters)
}

// Log is where the server speaks about itself.
func (a *App) Log() *slog.Logger { return a.options.Log }

// Listener is a listener as the admin API names it.
type Listener struct {
	Address  string `json:"address"`
	Protocol string `json:"protocol"`
	Upstream string `json:"upstream,omitempty"`
}

// Listeners are the listeners by their numbers, also those that a reload has taken away: they may have connections.
func (a *App) Listeners() []Listener {
	all := a.fates.listeners()
	for _, f := range a.now().fronts {
		for len(all) <= f.number {
			all = append(all, Listener{})
		}
		all[f.number] = f.about()
		for _, number := range f.more {
			for len(all) <= number {
				all = append(all, Listener{})
			}
			all[number] = f.about()
		}
	}
	return all
}

func (f *front) about() Listener {
	l := Listener{Address: f.url(), Protocol: string(f.config.Protocol), Upstream: f.config.Upstream}
	if l.Upstream == "" && len(f.config.To) > 0 {
		l.Upstream = f.where
	}
	return l
}

// About is what a connection is for.
type About struct {
	// Upstream is the name of one, and Endpoint where a connection to it leads, or where what comes on a client's
	// connection is passed on.
	Upstream string `json:"upstream,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	// Partner is the ID of the connection on the other side, while something is passed on: of a client's that to the
	// upstream, and the reverse. A text, like all IDs.
	Partner string `json:"partner,omitempty"`
	// Exchanging says that a request has begun and its answer is not over.
	Exchanging bool `json:"exchanging,omitempty"`
}

// About looks what a connection is for. It is called on the thread of the connection.
func (a *App) About(c conn.Conn) (about About) {
	switch v := c.Attached().(type) {
	case *upstream.Link:
		a.leads(&about, v)
		if lessee, passes := v.Owner.(upstream.Lessee); passes && lessee.Client() != nil {
			about.Partner = idText(lessee.Client().ID())
		}
	case *web.Exchange:
		about.Exchanging = true
		if about.Endpoint = v.Outcome().Upstream; about.Endpoint != "" && v.Passage().Link != 0 {
			about.Partner = idText(v.Passage().Link)
		}
	case upstream.Lessee:
		if l := v.Link(); l != nil {
			a.leads(&about, l)
			about.Partner = idText(l.Conn.ID())
		}
	}
	return about
}

// leads says where a link leads.
func (a *App) leads(about *About, l *upstream.Link) {
	about.Endpoint = l.Endpoint.Address()
	for name, group := range a.now().upstreams {
		if group.Endpoint(l.Endpoint.ID()) == l.Endpoint {
			about.Upstream = name
		}
	}
}

func idText(id uint64) string { return strconv.FormatUint(id, 10) }

// Counts are what each worker has counted, in their order, and the sum of everything.
func (a *App) Counts() (workers []meter.Counts, total meter.Counts) {
	return a.counters.Workers(), a.counters.Total()
}

// Upstreams is the state of every upstream, ready to be written as JSON.
func (a *App) Upstreams() any { return append([]upstreamStatus{}, a.upstreamStatuses()...) }

// PoolStatus is the pool of connections to one endpoint.
type PoolStatus struct {
	Upstream    string       `json:"upstream"`
	Endpoint    string       `json:"endpoint"`
	Open        int          `json:"open"`
	Idle        int          `json:"idle"`
	Leased      int          `json:"leased"`
	Limit       int          `json:"limit,omitempty"` // none: there is no limit
	Waiting     int          `json:"waiting"`         // for any endpoint of the upstream
	Connected   uint64       `json:"connected"`
	Failed      uint64       `json:"failed"`
	IdleSeconds float64      `json:"idle_limit_seconds"`
	Ports       []portStatus `json:"ports,omitempty"`
}

// Pools is the state of every pool.
func (a *App) Pools() []PoolStatus {
	all := []PoolStatus{}
	for _, of := range a.upstreamStatuses() {
		for _, e := range of.Endpoints {
			all = append(all, PoolStatus{
				Upstream: of.Name, Endpoint: e.Address, Open: e.Open, Idle: e.Idle, Leased: e.Leased, Limit: e.Limit,
				Waiting: of.Waiting, Connected: e.Connected, Failed: e.Failed, IdleSeconds: e.IdleSeconds, Ports: e.Ports,
			})
		}
	}
	return all
}

// Why an endpoint is not drained.
var (
	ErrNoUpstream = errors.New("there is no such upstream")
	ErrNoEndpoint = errors.New("the upstream has no such endpoint")
	ErrLast       = errors.New("it is the last endpoint of the upstream that is not drained")
)

// SetDrained takes an endpoint out of an upstream, or puts it back. Nothing new is sent to one that is out; what is
// under way goes on. The endpoint is named as it was configured. The last one is not taken out.
func (a *App) SetDrained(name, endpoint string, drained bool) error {
	group := a.now().upstreams[name]
	if group == nil {
		return fmt.Errorf("%w: %q; there are %q", ErrNoUpstream, name, slices.Sorted(maps.Keys(a.now().upstreams)))
	}
	var all []upstream.EndpointOptions
	for _, t := range targets(a.now().plan.Config) {
		if t.name == name {
			o, err := groupOptions(&t)
			if err != nil {
				return err
			}
			all = o.Endpoints
		}
	}
	named := func(o upstream.EndpointOptions) bool { return o.Address == endpoint }
	if !slices.ContainsFunc(all, named) {
		var names []string
		for _, o := range all {
			names = append(names, o.Address)
		}
		return fmt.Errorf("%w: %q; there are %q", ErrNoEndpoint, endpoint, names)
	}
	a.roll.mu.Lock()
	defer a.roll.mu.Unlock()
	out := slices.DeleteFunc(slices.Clone(a.roll.drained[name]), func(o string) bool { return o == endpoint })
	if drained {
		out = append(out, endpoint)
	}
	left := slices.DeleteFunc(all, func(o upstream.EndpointOptions) bool { return slices.Contains(out, o.Address) })
	if len(left) == 0 {
		return ErrLast
	}
	if err := group.SetEndpoints(left); err != nil {
		return err
	}
	if a.roll.drained == nil {
		a.roll.drained = make(map[string][]string)
	}
	a.roll.drained[name] = out
	a.options.Log.Info("an endpoint was changed by the operator", "upstream", name, "endpoint", endpoint,
		"drained", drained)
	return nil
}

// Drained are the endpoints that somebody has taken out, by upstream.
func (a *App) Drained() map[string][]string {
	a.roll.mu.Lock()
	defer a.roll.mu.Unlock()
	all := make(map[string][]string)
	for name, out := range a.roll.drained {
		if len(out) > 0 {
			all[name] = slices.Clone(out)
		}
	}
	return all
}

// secret are the keys whose values are told to nobody: names of fields that carry credentials.
var secret = regexp.MustCompile(`(?i)authorization|cookie|token|secret|passw|api-?key|credential`)

// Config is the whole configuration as it is in effect, ready to be written as JSON, with "(hidden)" in the place of
// values that may be secrets.
func (a *App) Config() (any, error) {
	text, err := yaml.Marshal(a.now().plan.Config)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
	var document any
	if err == nil {
		err = json.Unmarshal(text, &document)
	}
	return hide(document), err
}

func hide(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if text, is := value.(string); is && text != "" && secret.MatchString(key) {
				v[key] = "(hidden)"
			} else {
				v[key] = hide(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = hide(v[i])
		}
	}
	return v
}

// End has a connection aborted, wherever it is. It reports false when it is gone.
func (a *App) End(id uint64) bool {
	for _, of := range a.Rosters() {
		if of.End(id, conn.ErrOperator) {
			return true
		}
	}
	return false
}

// Ended are the connections that have ended lately, the last ones first.
func (a *App) Ended(ctx context.Context) ([]conn.Record, error) {
	all := []conn.Record{}
	for _, of := range a.Rosters() {
		some, err := of.Ended(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b conn.Record) int { return int(b.Ended - a.Ended) })
	return all, nil
}
