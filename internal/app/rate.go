package app

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/rate"
)

// limited is a route's handler behind its rate, if it has one. What clients have used of a rate stays when a reload
// leaves the route as it was.
func (g *generation) limited(r *config.Route, handler web.Handler) (web.Handler, error) {
	if r.Rate == nil {
		return handler, nil
	}
	name := limitName(r)
	l := g.limiters[name]
	if l == nil && g.before != nil {
		l = g.before.limiters[name]
	}
	if l == nil {
		var err error
		l, err = rate.New(rate.Options{
			Requests: r.Rate.Requests, Per: time.Duration(r.Rate.Per), Clients: r.Rate.Clients,
			Shared: g.plan.Config.Bus != nil,
		})
		if err != nil {
			return nil, err
		}
	}
	if g.limiters == nil {
		g.limiters = map[string]*rate.Limiter{}
	}
	g.limiters[name] = l
	return l.Handler(handler), nil
}

// limitName is what a rate is called between processes: the same wherever the same is limited.
func limitName(r *config.Route) string {
	text := fmt.Appendf(nil, "%q %q %q %q %q %+v", r.Host, r.Path, r.Prefix, r.Suffix, r.Methods, *r.Rate)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
