// Package workpool serves connections with a fixed number of threads, each of which takes
// an accepted connection from a queue and serves it to its end. When all workers are busy
// and the queue is full, accepting stops and the backlog of the kernel holds what comes.
//
// A worker that serves an idle connection is lost to the others. So a connection that has
// been idle for a moment ends when others wait.
package workpool

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/serve"
)

const (
	name = "workpool"
	// grace is how long a connection has been idle that ends for another one.
	grace = 100 * time.Millisecond
)

type model struct{}

// New returns the model. It needs Limits.Workers and Limits.Queue.
func New() serve.Model { return model{} }

func (model) Name() string   { return name }
func (model) Driver() string { return "blocking" }

func (model) Serve(ctx context.Context, s *serve.Site) error {
	b, err := serve.NewBlocking(s, name, serve.OnThread)
	if err != nil {
		return err
	}
	if s.Limits.Workers <= 0 || s.Limits.Queue <= 0 {
		err = fmt.Errorf("serve/workpool: Limits.Workers is %d and Limits.Queue is %d; both must be positive",
			s.Limits.Workers, s.Limits.Queue)
		return errors.Join(err, s.Validate())
	}
	p := pool{b: b, queue: make(chan serve.Arrival, s.Limits.Queue), workers: int64(s.Limits.Workers)}
	b.Crowded = p.crowded
	var workers sync.WaitGroup
	for range s.Limits.Workers {
		workers.Go(p.work)
	}
	err = b.Run(ctx, p.place)
	close(p.queue)
	workers.Wait()
	return err
}

// pool is a queue and its workers.
type pool struct {
	b       *serve.Blocking
	queue   chan serve.Arrival
	workers int64
	present atomic.Int64 // connections that wait or are served
}

// crowded reports whether connections wait because all workers are busy.
func (p *pool) crowded() bool { return p.present.Load() > p.workers }

// work serves one connection after the other.
func (p *pool) work() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for a := range p.queue {
		p.b.Serve(a)
		p.present.Add(-1)
	}
}

// place puts a connection into the queue. If all workers are busy, one that is kept by an idle connection is set free;
// and as long as the queue is full, one more from time to time.
func (p *pool) place(a serve.Arrival) {
	p.present.Add(1)
	select {
	case p.queue <- a:
		if p.crowded() {
			p.b.Shed(1, grace)
		}
		return
	default:
	}
	again := time.NewTicker(grace)
	defer again.Stop()
	for {
		p.b.Shed(1, grace)
		select {
		case p.queue <- a:
			return
		case <-again.C:
		}
	}
}
