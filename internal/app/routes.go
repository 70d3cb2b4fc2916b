package app

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/route"
)

// routes makes the handler that every request goes to.
func (a *App) routes() (web.Handler, error) {
	var table []route.Route
	for i := range a.plan.Config.Routes {
		r := &a.plan.Config.Routes[i]
		handler, err := a.action(r)
		if err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
		table = append(table, route.Route{
			Host: r.Host, Path: r.Path, Prefix: r.Prefix, Suffix: r.Suffix, Methods: r.Methods,
			Fields: fieldsOf(r.Headers), Handler: handler,
		})
	}
	root, err := route.New(table...)
	if err != nil {
		return nil, err
	}
	return root, nil
}

// action is what a route does.
func (a *App) action(r *config.Route) (web.Handler, error) {
	switch {
	case r.Respond != nil:
		return route.Respond{
			Status: r.Respond.Status, Body: r.Respond.Body, Type: r.Respond.Type, Fields: fieldsOf(r.Respond.Headers),
		}.Handler()
	case r.Redirect != nil:
		return route.Redirect{To: r.Redirect.To, Status: r.Redirect.Status}.Handler()
	case r.Status != nil:
		return web.HandlerFunc(a.serveStatus), nil
	}
	return nil, fmt.Errorf("it does nothing")
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
