package app

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/upstream"
)

// uses is what an upstream is used for.
type uses struct{ http, tcp, udp bool }

// target is an upstream as somebody proxies to it: one that has a name, or one of his own.
type target struct {
	name   string
	config config.Upstream
	uses   uses
	own    bool // it has no name
}

// targets are all that is proxied to, those with names first. Upstreams that nobody uses are left out: nobody would ask
// for their connections, and their checks would be heard by nobody.
func targets(c *config.Config) []target {
	used := make(map[string]*uses)
	var own []target
	add := func(where, name string, to []config.Destination, u uses) {
		if name == "" {
			made := config.UpstreamTo()
			made.To = to
			own = append(own, target{where, made, u, true})
			return
		}
		if used[name] == nil {
			used[name] = new(uses)
		}
		all := used[name]
		all.http, all.tcp, all.udp = all.http || u.http, all.tcp || u.tcp, all.udp || u.udp
	}
	for i, l := range c.Listeners {
		switch l.Protocol {
		case config.StreamTCP:
			add(listenerName(i), l.Upstream, l.To, uses{tcp: true})
		case config.StreamUDP:
			add(listenerName(i), l.Upstream, l.To, uses{udp: true})
		}
	}
	for i, r := range c.Routes {
		if r.Proxy != nil {
			add(routeName(i), r.Proxy.Upstream, r.Proxy.To, uses{http: true})
		}
	}
	var all []target
	for _, name := range slices.Sorted(maps.Keys(used)) {
		all = append(all, target{name, c.Upstreams[name], *used[name], false})
	}
	return append(all, own...)
}

// listenerName and routeName are what upstreams without a name of their own are called, after whoever proxies to them.
func listenerName(i int) string { return fmt.Sprintf("listeners[%d]", i) }
func routeName(i int) string    { return fmt.Sprintf("routes[%d]", i) }

// openUpstreams makes the groups of all that is proxied to. Their checks run until the server has ended.
func (g *generation) openUpstreams() error {
	g.upstreams, g.made = make(map[string]*upstream.Group), make(map[string]upstream.Options)
	g.moved = make(map[string]bool)
	for _, t := range targets(g.plan.Config) {
		o, err := groupOptions(&t)
		if err == nil {
			o.Log = g.options.Log
			g.made[t.name] = o
			if g.upstreams[t.name] = g.inherited(&t, &o); g.upstreams[t.name] == nil {
				g.upstreams[t.name], err = upstream.New(o)
			}
		}
		if err != nil {
			delete(g.upstreams, t.name)
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// inherited is the upstream of the generation before that serves as well: the one of the same name, if nothing but its
// endpoints is other than it was, and for one without a name any with the same endpoints. Nil: there is none.
func (g *generation) inherited(t *target, o *upstream.Options) *upstream.Group {
	if g.before == nil {
		return nil
	}
	for name, was := range g.before.made {
		endpoints := was.Endpoints
		was.Name, was.Endpoints = o.Name, o.Endpoints
		group, same := g.before.upstreams[name], slices.Equal(endpoints, o.Endpoints)
		switch {
		case !reflect.DeepEqual(was, *o) || g.uses(group):
		case t.own && same:
			return group
		case !t.own && name == t.name:
			g.moved[name] = !same
			return group
		}
	}
	return nil
}

// group is the upstream with a name, or without one that of whoever asks.
func (g *generation) group(name, own string) (*upstream.Group, error) {
	if name == "" {
		name = own
	}
	if group := g.upstreams[name]; group != nil {
		return group, nil
	}
	return nil, errors.New("there is no such upstream: " + name)
}

// balanceOf is the policy of an upstream. Left to us, datagrams of a client go to the same endpoint also when its
// session has been forgotten; sessions of tcp last, so that their number counts; and requests are shared out evenly.
func balanceOf(t *target) (balance.Policy, error) {
	switch {
	case t.config.Balance != "auto":
		return balance.ByName(t.config.Balance)
	case t.config.Key.Source != "" || t.uses.udp:
		return balance.Maglev{}, nil
	case t.uses.tcp:
		return balance.LeastConnections{}, nil
	}
	return balance.RoundRobin{}, nil
}

// groupOptions are the options of a group. What is unlimited becomes larger than can be reached, because zero is the
// default there.
func groupOptions(t *target) (upstream.Options, error) {
	u := &t.config
	policy, err := balanceOf(t)
	if err != nil {
		return upstream.Options{}, err
	}
	o := upstream.Options{
		Name: t.name, Policy: policy,
		Pool: upstream.PoolOptions{
			Off: !u.Pool.Enabled, Alone: !u.Pool.Share, Min: u.Pool.Min, Max: countOf(u.Pool.Max), MaxIdle: u.Pool.Idle,
			IdleTimeout: time.Duration(u.Pool.IdleTimeout), MaxAge: time.Duration(u.Pool.MaxAge),
		},
		Queue:          upstream.QueueOptions{Limit: u.Queue.Limit, Timeout: time.Duration(u.Queue.Timeout)},
		ConnectTimeout: time.Duration(u.Timeouts.Connect),
		SlowStart:      time.Duration(u.SlowStart),
		KeepAlive:      time.Duration(u.KeepAlive),
		UserTimeout:    time.Duration(u.UserTimeout),
		Resolve: upstream.ResolveOptions{
			Min: time.Duration(u.Resolve.Min), Max: time.Duration(u.Resolve.Max), IPv6: u.Resolve.IPv6,
		},
	}
	for _, to := range u.To {
		o.Endpoints = append(o.Endpoints, upstream.EndpointOptions{Address: addressOf(to)})
	}
	for _, e := range u.Endpoints {
		o.Endpoints = append(o.Endpoints, upstream.EndpointOptions{
			Address: addressOf(e.Address), Weight: e.Weight, Connections: countOf(min(e.Connections, u.Pool.Max)),
		})
	}
	for _, source := range u.Sources {
		o.Sources = append(o.Sources, source.Addr)
	}
	if h := u.Health; h != nil {
		o.Health = &upstream.HealthOptions{
			Interval: time.Duration(h.Interval), Timeout: time.Duration(h.Timeout), Rise: h.Rise, Fall: h.Fall,
		}
		if h.HTTP != nil {
			o.Health.Path, o.Health.Host = h.HTTP.Path, h.HTTP.Host
		}
	}
	if e := u.Eject; e.Failures > 0 {
		o.Eject = &upstream.EjectOptions{
			Failures: int(e.Failures), Base: time.Duration(e.Base), Max: time.Duration(e.Max),
			Share: max(int(math.Round(e.Share*100)), 1),
		}
	}
	return o, nil
}

// addressOf is where an endpoint is. The file of a socket is taken from the directory that the server is started in,
// as every path of a configuration.
func addressOf(d config.Destination) string {
	if d.Path != "" && d.Path[0] != '@' {
		if path, err := filepath.Abs(d.Path); err == nil {
			return "unix:" + path
		}
	}
	return d.Endpoint()
}

// countOf is a count for a package that knows no "unlimited".
func countOf(c config.CountOrUnlimited) int { return int(min(c, math.MaxInt32)) }

// prewarm has every group of endpoints open on a loop what it keeps open at least, before the first request asks.
func (g *generation) prewarm(d conn.Dialer) {
	for _, group := range g.upstreams {
		group.Agent(d)
	}
}
