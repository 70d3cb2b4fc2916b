package app

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime/debug"
	"slices"
	"time"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/route"
	"github.com/myriad-server/myriad/web/static"
)

// routes makes the handler that every request goes to.
func (g *generation) routes() (web.Handler, error) {
	var table []route.Route
	for i := range g.plan.Config.Routes {
		r := &g.plan.Config.Routes[i]
		handler, err := g.action(r, routeName(i))
		if err == nil {
			handler, err = g.limited(r, handler)
		}
		if err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
		table = append(table, route.Route{
			Host: r.Host, Path: r.Path, Prefix: r.Prefix, Suffix: r.Suffix, Methods: r.Methods,
			Fields: fieldsOf(r.Headers), Fixed: r.Respond != nil || r.Status != nil, Handler: handler,
		})
	}
	root, err := route.New(table...)
	if err != nil {
		return nil, err
	}
	return root, nil
}

// action is what a route does.
func (g *generation) action(r *config.Route, name string) (web.Handler, error) {
	var own web.Handler
	var err error
	switch {
	case r.Files != nil:
		return g.files(r)
	case r.Proxy != nil:
		return g.proxy(r, name)
	case r.Respond != nil:
		own, err = route.Respond{
			Status: r.Respond.Status, Body: r.Respond.Body, Type: r.Respond.Type, Fields: fieldsOf(r.Respond.Headers),
		}.Handler()
	case r.Redirect != nil:
		own, err = route.Redirect{To: r.Redirect.To, Status: r.Redirect.Status}.Handler()
	case r.Status != nil:
		own = web.HandlerFunc(g.serveStatus)
	default:
		return nil, errors.New("the route does nothing")
	}
	if err != nil || !proxies(g.plan.Config) {
		return own, err
	}
	// Beside a route that passes any method on, those that answer everything by themselves still know what they know.
	return web.HandlerFunc(func(x *web.Exchange) {
		if x.Method() == http1.Other {
			x.RefuseMethod(0)
			return
		}
		own.Serve(x)
	}), nil
}

// proxies says that a route passes requests on.
func proxies(c *config.Config) bool {
	return slices.ContainsFunc(c.Routes, func(r config.Route) bool { return r.Proxy != nil })
}

// files opens a folder. In the configuration nothing is remembered at 0; for the folder 0 means the default.
func (g *generation) files(r *config.Route) (web.Handler, error) {
	f := r.Files
	nothing := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	o := static.Options{
		Root: f.Root, Index: f.Index, Listing: f.Listing, Hidden: f.Hidden, Types: f.MIME,
		Entries: int(nothing(int64(g.plan.cacheEntries(f)))), Valid: time.Duration(f.Cache.Valid),
		MemoryFile: nothing(int64(f.Cache.MemoryFile)), Memory: nothing(int64(f.Cache.Memory)),
	}
	if f.Strip {
		o.Strip = r.Prefix
	}
	for _, coding := range f.Precompressed {
		o.Precompressed = append(o.Precompressed, string(coding))
	}
	if g.before != nil {
		for _, was := range g.before.folders {
			if reflect.DeepEqual(was.of, o) && !g.serves(was.files) {
				g.folders = append(g.folders, was)
				return was.files, nil
			}
		}
	}
	files, err := static.Open(o)
	if err != nil {
		return nil, err
	}
	g.folders = append(g.folders, folder{o, files})
	return files, nil
}

// fieldsOf is the fields of a mapping, in a fixed order.
func fieldsOf(mapping map[string]string) []http1.FieldLine {
	var fields []http1.FieldLine
	for _, name := range slices.Sorted(maps.Keys(mapping)) {
		fields = append(fields, http1.FieldLine{Name: name, Value: mapping[name]})
	}
	return fields
}

// panicked tells the operator what a handler did; the client is told 500.
func (a *App) panicked(x *web.Exchange, value any) {
	a.options.Log.Error("a handler panicked",
		"value", fmt.Sprint(value), "path", string(x.Path()), "stack", string(debug.Stack()))
}
