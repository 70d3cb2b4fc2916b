// Package single serves one connection at a time, on one thread that blocks: the first
// server that everybody writes, and the shortest. While it serves, the others wait in
// the backlog. A connection that has been idle for a moment ends when another one waits;
// without that, one browser that keeps its connection would keep everybody else out.
package single

import (
	"context"

	"github.com/myriad-server/myriad/serve"
)

const name = "single"

type model struct{}

// New returns the model. Limits.Connections has no effect beyond its being positive.
func New() serve.Model { return model{} }

func (model) Name() string   { return name }
func (model) Driver() string { return "blocking" }

func (model) Serve(ctx context.Context, s *serve.Site) error {
	b, err := serve.NewBlocking(s, name, serve.OnThread)
	if err != nil {
		return err
	}
	return b.RunAlone(ctx)
}
