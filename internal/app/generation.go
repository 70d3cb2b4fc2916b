package app

import (
	"errors"
	"maps"
	"slices"

	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/rate"
	"github.com/myriad-server/myriad/web/static"
)

// generation is what one configuration became. What the one before has as well is taken over from it.
type generation struct {
	*App

	plan      *Plan
	before    *generation // while it is made
	root      web.Handler
	fronts    []*front
	upstreams map[string]*upstream.Group
	made      map[string]upstream.Options // of upstreams
	moved     map[string]bool             // upstreams whose endpoints are others than before
	folders   []folder
	passings  []passing
	limiters  map[string]*rate.Limiter // by what they limit
	called    []string                 // the names of the listeners, in their order
}

// folder is a folder that is served, and passing what passes requests on, with what they are made of.
type folder struct {
	of    static.Options
	files *static.Files
}

type passing struct {
	of      proxy.Options // without Group
	group   *upstream.Group
	handler *proxy.Handler
}

// now is what is in effect.
func (a *App) now() *generation { return a.current.Load() }

// replace has another front stand in the place of one, in a copy: what is in effect is read by others.
func (a *App) replace(was, is *front) {
	next := *a.now()
	next.fronts = slices.Clone(next.fronts)
	next.fronts[slices.Index(next.fronts, was)] = is
	a.current.Store(&next)
}

// open makes what a configuration needs besides listeners.
func (g *generation) open() error {
	for _, key := range listenerKeys(g.plan) {
		g.called = append(g.called, key.where)
	}
	err := g.openUpstreams()
	if err == nil {
		g.root, err = g.routes()
	}
	return err
}

// close gives back what was opened for the generation, but for what another one has taken over.
func (g *generation) close(kept *generation) error {
	var errs []error
	for _, f := range g.fronts {
		if f.udp != nil && kept == nil { // those that a reload has taken away are dismissed
			f.udp.Finish()
		}
	}
	for _, f := range g.folders {
		if kept == nil || !kept.serves(f.files) {
			errs = append(errs, f.files.Close())
		}
	}
	for _, group := range g.upstreams {
		if kept == nil || !kept.uses(group) {
			group.Close()
		}
	}
	return errors.Join(errs...)
}

// serves, passes and uses report that the generation has a folder, what passes requests on, or an upstream.
func (g *generation) serves(files *static.Files) bool {
	return slices.ContainsFunc(g.folders, func(f folder) bool { return f.files == files })
}

func (g *generation) passes(h *proxy.Handler) bool {
	return slices.ContainsFunc(g.passings, func(p passing) bool { return p.handler == h })
}

func (g *generation) uses(group *upstream.Group) bool {
	return slices.Contains(slices.Collect(maps.Values(g.upstreams)), group)
}
