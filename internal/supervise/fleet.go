package supervise

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/proc"
)

// Source is a configuration as it was read, and what it was planned to.
type Source struct {
	Name string
	Text []byte
	Plan *app.Plan
}

// FleetOptions are what a Fleet is made of.
type FleetOptions struct {
	// Source is served at first, and Load reads it again.
	Source Source
	Load   func() (Source, error)
	// Command starts a worker of this binary, which calls Enter.
	Command func() proc.Command
	// Log is told of every event, and Ready, if set, is called once, when all workers serve.
	Log   *slog.Logger
	Ready func()
	// Stopping, if set, is called once, when the end begins.
	Stopping func()
	// Kept, if set, is what the program before this one has left in this process. Source is what its workers serve.
	Kept *Kept
}

// Fleet is a server of several worker processes, seen from above: their sockets, what they serve, and their supervisor.
// It serves no connection itself.
type Fleet struct {
	*Supervisor
	options FleetOptions
	board   *proc.Board
	changes sync.Mutex  // one change at a time
	rolling atomic.Bool // new workers take over

	mu         sync.Mutex
	work       task
	coming     task   // in a roll: of the generation that takes over
	generation uint64 // of work
	workers    int
	links      map[ID]*link
	handing    int        // hand-overs from one worker to another that are under way
	handed     *sync.Cond // told when one is over
	proven     bool       // a worker has been ready
	refused    error      // what the first workers said, before any was ready
	served     bool       // Ready was called
	ready      int
	fronts     fronts
	restarts   map[int]int // by seat
}

// task is what workers are to do.
type task struct {
	Source
	sockets *app.Sockets
	version uint64
	launch  Launch
}

// slack is what the supervisor waits longer than a worker's own deadlines.
const slack = 3 * time.Second

const (
	// settleAfter is how long each worker of a roll is looked at before the next one is replaced.
	settleAfter = time.Second
	// orderTime is how long a worker has to carry out an order.
	orderTime = 30 * time.Second
	// spareLoops is for how many loops of a worker the board has room at least, whatever a reload says.
	spareLoops = 16
)

// NewFleet opens the sockets. Run starts the workers; Close closes the sockets after it.
func NewFleet(o FleetOptions) (*Fleet, error) {
	c := o.Source.Plan.Config
	f := &Fleet{options: o, generation: 1, workers: c.Engine.Processes, links: map[ID]*link{}, restarts: map[int]int{}}
	f.handed = sync.NewCond(&f.mu)
	policy := Sensible(f.workers)
	policy.Retire, policy.SettleAfter = LastSeat, settleAfter
	// A worker that was told to end does so within timeouts.drain by itself.
	drain := time.Duration(c.Timeouts.Drain) + slack
	policy.DrainFor, policy.TerminateFor = max(policy.DrainFor, drain), max(policy.TerminateFor, drain)
	launch := func(Place) (proc.Command, error) { return o.Command(), nil }
	options := Options{
		Policy: policy, Log: o.Log, Notify: f.notice, Started: f.started, Resize: f.resize, Launch: launch,
		Succeed: f.succeed,
	}
	if o.Kept != nil {
		err := f.goOn(o.Kept, options)
		return f, err
	}
	sockets, err := app.OpenSockets(o.Source.Plan, f.workers, nil)
	if err != nil {
		return nil, err
	}
	f.work = task{Source: o.Source, sockets: sockets, version: 1, launch: launch}
	f.board, err = proc.NewBoard(policy.Slots, max(o.Source.Plan.Loops, spareLoops))
	options.Board = f.board
	if err == nil {
		f.Supervisor, err = New(options)
	}
	if err == nil {
		err = f.openFronts()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close closes the sockets, after Run.
func (f *Fleet) Close() {
	f.closeFronts(lastTime)
	f.work.sockets.Retire(nil)
	if f.board != nil {
		f.board.Close()
	}
}

// URLs are where the fleet listens, and what is to be said about it.
func (f *Fleet) URLs() (urls, warnings []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.work.sockets.URLs()
}

// Run keeps the workers until Drain or Stop. When the first of them says that it cannot serve, before any other could,
// all end, and the error is its own words.
func (f *Fleet) Run(ctx context.Context) error {
	err := f.Supervisor.Run(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(err, f.refused)
}

// started tells a worker what to serve, and listens to it.
func (f *Fleet) started(p Place, child *proc.Child) {
	f.mu.Lock()
	of := f.work
	if p.Generation > f.generation {
		of = f.coming
	}
	l := newLink(p, child, of.version)
	f.links[p.Worker] = l
	order := of.order(OrderServe, f.workers)
	order.Held = f.held()
	var err error
	more := f.fallTo(p.Seat, of.sockets.Seats())
	order.Sockets, err = of.sockets.For(p.Seat, more)
	order.Awaits = f.begin(l, append(more, p.Seat))
	f.mu.Unlock()
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), orderTime)
		defer cancel()
		// The answer is that the worker is ready, in its pipe.
		err = sendParts(ctx, child.Control(), KindOrder, order, descriptorsOf(order.Sockets))
	}
	if err != nil {
		f.options.Log.Error("a worker cannot be told what to serve", "worker", uint64(p.Worker), "error", err)
	}
	f.listen(l)
}

// listen listens to a worker until it has ended.
func (f *Fleet) listen(l *link) {
	l.listen()
	f.mu.Lock()
	delete(f.links, l.place.Worker)
	f.mu.Unlock()
}

// held is how many connections all workers show. Under mu.
func (f *Fleet) held() (open int64) {
	for _, l := range f.links {
		n, _ := f.shown(l.place)()
		open += n
	}
	return open
}

func (w *task) order(do string, workers int) Order {
	return Order{Do: do, Name: w.Name, Text: w.Text, Loops: w.Plan.Loops, Workers: workers}
}

func descriptorsOf(given []app.Given) (fds []int) {
	for _, g := range given {
		fds = append(fds, g.FD)
	}
	return fds
}

// notice is told of every event, on the goroutine of Run.
func (f *Fleet) notice(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e.Kind {
	case WorkerReady:
		f.proven = true
		f.ready++
		if f.ready >= f.workers && !f.served {
			f.served = true
			if f.options.Ready != nil {
				f.options.Ready()
			}
		}
		l := f.links[e.Worker]
		if l == nil {
			return
		}
		l.serves = true
		f.reclaim(l)
		f.announce()
		go f.admit(l)
		if e.Generation == f.generation && l.version < f.work.version {
			go f.catchUp(l)
		}
	case WorkerLeaving, WorkerKilled, WorkerDied:
		if l := f.links[e.Worker]; l != nil {
			l.serves, l.leaves = false, true
			f.announce()
			f.fronts.acceptor.Retire(uint64(e.Worker))
		}
		f.free(e)
		if e.Kind == WorkerDied && e.Cause >= Crashed {
			f.restarts[e.Seat]++
		}
		if !f.proven && f.refused == nil && e.Cause >= Crashed {
			f.refused = errors.New(cmp.Or(e.Text, e.Cause.String()))
			go func() { _ = f.Stop(context.Background()) }()
		}
	case StopBegan:
		if f.options.Stopping != nil {
			f.options.Stopping()
		}
		f.closeFronts(lastTime)
		f.work.sockets.Retire(nil) // a worker that drains takes its backlog; behind it nobody would take what comes
	case RollDone:
		f.generation, f.work = e.Generation, f.coming
	}
}

// serving are the workers that serve, in the order of their seats.
func (f *Fleet) serving() (list []*link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.links {
		if l.serves {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b *link) int {
		return cmp.Or(cmp.Compare(a.place.Seat, b.place.Seat), cmp.Compare(a.place.Worker, b.place.Worker))
	})
	return list
}
