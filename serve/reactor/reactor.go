// Package reactor is the model of event loops: a few threads, each with a loop and
// a driver of its own, look after all connections between them. A connection stays
// with its loop, so nothing on its way is shared or locked.
//
// Connections come to the loops in one of two ways: each loop has a listening
// socket of its own and the kernel spreads by SO_REUSEPORT; or the first loop
// accepts for all, and a balance policy places what it accepted. Listeners on Unix
// sockets, which the kernel cannot spread, are always served in the second way.
package reactor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/serve"
)

// pipesMost is how many pipes one loop may have, each of two descriptors: the directions of piped connections that have
// bytes under way at one time. Beyond it bytes are copied.
const pipesMost = 256

type model struct{}

// New returns the model.
func New() serve.Model { return model{} }

func (model) Name() string { return "reactor" }

func (model) Driver() string { return "" }

// worker is one loop and what the others know of it.
type worker struct {
	loop   *loop.Loop
	meter  *meter.Set
	blocks *buf.Pool
	given  atomic.Int64 // connections placed here
	number int
}

// load is what the balance policy goes by: what was placed here and has not gone yet.
func (w *worker) load() int64 { return w.given.Load() - w.loop.Departed() }

// running is one call of Serve.
type running struct {
	site      *serve.Site
	workers   []*worker
	picker    balance.Picker
	turn      atomic.Uint64
	served    atomic.Pointer[[]*served] // by the numbers of the listeners
	steers    sync.Mutex                // one change at a time
	departing atomic.Bool               // Depart was called, and is not over
	group     sync.WaitGroup

	listening sync.WaitGroup // loops that have no listeners yet: nothing may be placed there
	mu        sync.Mutex
	failed    error
	failure   chan struct{} // closed with the first error
}

// Serve serves s on s.Limits.Loops loops. It raises GOMAXPROCS to one more than
// that if it is lower, because a loop that waits inside the kernel may keep its
// processor, and the collector and other goroutines need one.
func (model) Serve(ctx context.Context, s *serve.Site) error {
	if err := s.Validate(); err != nil {
		return err
	}
	switch {
	case s.Limits.Loops < 1:
		return fmt.Errorf("reactor: Limits.Loops is %d; it must be 1 or more", s.Limits.Loops)
	case s.Driver.Open == nil:
		return errors.New("reactor: the site has no driver")
	}
	if runtime.GOMAXPROCS(0) < s.Limits.Loops+1 {
		runtime.GOMAXPROCS(s.Limits.Loops + 1)
	}
	r := &running{site: s, failure: make(chan struct{})}
	members := make([]balance.Member, s.Limits.Loops)
	for i := range members {
		w := &worker{meter: new(meter.Set), number: i}
		r.workers = append(r.workers, w)
		members[i] = balance.Member{Name: fmt.Sprint("loop ", i), Weight: 1, Load: w.load}
		if s.Meter != nil {
			s.Meter(i, w.meter)
		}
	}
	spread := s.Spread
	if spread == nil {
		spread = balance.RoundRobin{}
	}
	r.picker = spread.Build(members)
	return r.run(ctx)
}

// run starts the loops, waits for the end, and sees it through.
func (r *running) run(ctx context.Context) error {
	if err := r.open(); err != nil {
		return err
	}
	var made, begin sync.WaitGroup
	made.Add(len(r.workers))
	r.listening.Add(len(r.workers))
	begin.Add(1)
	for _, w := range r.workers {
		r.group.Go(func() { r.work(w, &made, &begin) })
	}
	made.Wait()
	if r.err() == nil && r.site.Steer != nil {
		r.site.Steer(r)
	}
	if r.err() == nil && r.site.Ready != nil {
		r.site.Ready()
	}
	begin.Done()
	ended := make(chan struct{})
	go func() {
		r.group.Wait()
		close(ended)
	}()
	select {
	case <-ctx.Done():
		r.stop(false)
	case <-r.failure:
		r.stop(true)
	case <-ended:
		return r.err()
	}
	deadline := time.NewTimer(r.site.Limits.Drain)
	defer deadline.Stop()
	select {
	case <-ended:
		return r.err()
	case <-deadline.C:
	case <-r.site.Kill:
	case <-r.failure:
	}
	r.stop(true)
	<-ended
	return r.err()
}

func (r *running) stop(abort bool) {
	for _, w := range r.workers {
		if w.loop != nil {
			w.loop.Stop(abort)
		}
	}
}

func (r *running) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *running) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil && err != nil {
		r.failed = err
		close(r.failure)
	}
}

// work is the thread of one loop.
func (r *running) work(w *worker, made, begin *sync.WaitGroup) {
	// The thread ends with the loop: drivers leave marks on it, such as blocked signals.
	runtime.LockOSThread()
	s := r.site
	prepared := func() (err error) {
		defer made.Done()
		blocks, err := buf.NewPool(s.Limits.BlockBytes, s.Limits.Blocks, sys.Map)
		if err != nil {
			return err
		}
		options := s.Options
		options.Blocks, w.blocks = blocks, blocks
		options.Pipes = driver.NewPipes(pipesMost, sys.RoomyPipe, sys.Close)
		share := (s.Limits.Connections + len(r.workers) - 1) / len(r.workers)
		if options.Ops == 0 {
			options.Ops = 2*share + 4*len(s.Listeners) + 1024
		}
		d, err := s.Driver.Open(options)
		if err != nil {
			return fmt.Errorf("driver %s: %w", s.Driver.Name, err)
		}
		w.loop, err = loop.New(loop.Options{
			Driver: d, Blocks: blocks, Pipes: options.Pipes, Meter: w.meter, Connections: share,
			OutputBytes: s.Limits.OutputBytes, Place: r.place(w), Pressed: func() { r.shed(w) }, Log: s.Log,
			Recording: s.Recording,
		})
		if err != nil {
			_ = d.Close()
		} else if s.Roster != nil {
			s.Roster(w.number, w.loop)
		}
		return err
	}()
	begin.Wait()
	if prepared != nil || r.err() != nil {
		r.fail(prepared)
		r.listening.Done()
		r.release(w.number)
		return
	}
	err := r.listen(w)
	r.listening.Done()
	r.listening.Wait()
	if err == nil {
		err = w.loop.Run()
	}
	r.fail(err)
	for _, s := range *r.served.Load() {
		s.closed(w.number)
	}
	if err := w.loop.Close(); err != nil {
		r.fail(err)
		return // whatever still uses the memory keeps it
	}
	r.fail(w.blocks.Free(sys.Unmap))
}

// shed has the other loops make room: descriptors are the process's, and idle connections of any loop hold them.
func (r *running) shed(pressed *worker) {
	for _, w := range r.workers {
		if w != pressed {
			w.loop.Shed()
		}
	}
}

// place puts what one loop accepted for all on a loop; nil where each loop keeps what it accepts.
func (r *running) place(from *worker) func(listener, fd int) bool {
	if len(r.workers) == 1 {
		return nil
	}
	return func(listener, fd int) bool {
		s := (*r.served.Load())[listener]
		if !s.placed {
			from.given.Add(1)
			return from.loop.Keep(int(s.number[from.number].Load()), fd)
		}
		i := r.picker.Pick(r.turn.Add(1), nil)
		if i < 0 {
			return false
		}
		to := r.workers[i]
		to.given.Add(1)
		if to == from {
			return from.loop.Keep(int(s.number[from.number].Load()), fd)
		}
		ordinary, err := from.loop.Part(fd)
		if err != nil { // a direct descriptor stays where it is
			to.given.Add(-1)
			return from.loop.Keep(int(s.number[from.number].Load()), fd)
		}
		return to.loop.Give(int(s.number[i].Load()), ordinary)
	}
}
