package app

import (
	"errors"
	"slices"

	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// generation is what one configuration became.
type generation struct {
	*App

	plan      *Plan
	root      web.Handler
	groups    []*listen.Group
	upstreams map[string]*upstream.Group
	streams   []sessions // of the listeners that pass on
	proxies   []*proxy.Handler
	closers   []func() error
}

// now is what is in effect.
func (a *App) now() *generation { return a.current.Load() }

// open makes what a configuration needs besides listeners.
func (g *generation) open() error {
	err := g.openUpstreams()
	if err == nil {
		g.root, err = g.routes()
	}
	return err
}

// close gives back what was opened for the generation.
func (g *generation) close() error { return closeAll(&g.closers) }

// closeAll calls what ends things, the last that was begun first.
func closeAll(closers *[]func() error) error {
	var errs []error
	for _, end := range slices.Backward(*closers) {
		errs = append(errs, end())
	}
	*closers = nil
	return errors.Join(errs...)
}
