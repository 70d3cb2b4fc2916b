// Package goroutine serves each connection on a goroutine of its own, which waits in
// Go's poller: how Go programs serve, and what every other model is measured against. An
// idle connection costs a goroutine's stack, a file of the runtime and a seat, some 5
// KiB, and no buffer.
package goroutine

import (
	"context"
	"sync"

	"github.com/myriad-server/myriad/serve"
)

const name = "goroutine"

type model struct{}

// New returns the model.
func New() serve.Model { return model{} }

func (model) Name() string   { return name }
func (model) Driver() string { return "runtime" }

func (model) Serve(ctx context.Context, s *serve.Site) error {
	b, err := serve.NewBlocking(s, name, serve.OnRuntime)
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	return b.Run(ctx, func(a serve.Arrival) {
		serving.Go(func() { b.Serve(a) })
	})
}
