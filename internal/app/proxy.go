package app

import (
	"reflect"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// mostOfHead is how large the head of an answer may be. It must also fit in a block, as that of a request.
const mostOfHead = 64 << 10

// proxy makes what passes the requests of a route on.
func (g *generation) proxy(r *config.Route, where string) (web.Handler, error) {
	p := r.Proxy
	group, err := g.group(p.Upstream, where)
	if err != nil {
		return nil, err
	}
	u, named := g.plan.Config.Upstreams[p.Upstream]
	if !named {
		u = config.UpstreamTo()
	}
	o := proxy.Options{
		Group:     group,
		Host:      p.Host,
		Prefix:    p.Prefix,
		Forwarded: forwarded[p.Forwarded], Underscores: p.Underscores,
		Request:   editsOf(&p.RequestHeaders),
		Response:  editsOf(&p.ResponseHeaders),
		BodyBytes: int64(p.Body),
		HeadBytes: min(int(g.plan.Config.Engine.Block), mostOfHead),
		Key:       proxy.Key{Of: keys[u.Key.Source], Name: u.Key.Name},
		Close:     !u.Pool.Enabled,
		Attempts:  orNone(int(u.Retries.Attempts)),
		Budget:    u.Retries.Budget,
		Evidence:  u.Evidence,
		Finish:    u.ClientEnd == config.ClientEndFinish,
		Timeouts: proxy.Timeouts{
			Send: time.Duration(u.Timeouts.Send), FirstByte: time.Duration(u.Timeouts.FirstByte),
			BetweenBytes: time.Duration(u.Timeouts.BetweenBytes), Exchange: time.Duration(u.Timeouts.Exchange),
			Tunnel: time.Duration(u.Timeouts.Tunnel),
		},
	}
	o.Events = g.records()
	o.Counters = &g.sight.tunnels
	if g.access != nil {
		o.Tunnels = g.access.Tunnels()
	}
	if p.Strip {
		o.Strip = r.Prefix
	}
	if u.Sticky != nil {
		o.Sticky = u.Sticky.Cookie
	}
	for _, subnet := range p.Trusted {
		o.Trusted = append(o.Trusted, subnet.Prefix)
	}
	if u.Key.Source == "" && group.Snapshot().Policy == (balance.Maglev{}).Name() {
		o.Key.Of = proxy.KeyClient // the other policies look at no key
	}
	return g.passing(o)
}

// passing is what passes requests on: that of the generation before, if there is one that does the same.
func (g *generation) passing(o proxy.Options) (*proxy.Handler, error) {
	made := passing{of: o, group: o.Group}
	made.of.Group = nil
	if g.before != nil {
		for _, was := range g.before.passings {
			if was.group == made.group && reflect.DeepEqual(was.of, made.of) && !g.passes(was.handler) {
				g.passings = append(g.passings, was)
				return was.handler, nil
			}
		}
	}
	var err error
	if made.handler, err = proxy.New(o); err != nil {
		return nil, err
	}
	g.passings = append(g.passings, made)
	return made.handler, nil
}

// orNone is a number for a package where 0 stands for the default and a negative number for none.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func editsOf(e *config.HeaderEdits) proxy.Edits {
	return proxy.Edits{Set: fieldsOf(e.Set), Add: fieldsOf(e.Add), Remove: e.Remove}
}

var forwarded = map[config.Forwarded]proxy.Forwarded{
	config.ForwardedX:       proxy.ForwardedX,
	config.ForwardedRFC7239: proxy.ForwardedRFC7239,
	config.ForwardedBoth:    proxy.ForwardedBoth,
	config.ForwardedOff:     proxy.ForwardedOff,
}

var keys = map[config.KeySource]proxy.KeySource{
	config.KeyClient: proxy.KeyClient,
	config.KeyPath:   proxy.KeyPath,
	config.KeyHeader: proxy.KeyField,
	config.KeyCookie: proxy.KeyCookie,
}

// largestBody is the most content that a route takes, beyond what limits.body allows to all of them.
func largestBody(c *config.Config) int64 {
	most := int64(0)
	for _, r := range c.Routes {
		if r.Proxy != nil {
			most = max(most, int64(r.Proxy.Body))
		}
	}
	return most
}
