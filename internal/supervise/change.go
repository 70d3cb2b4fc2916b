package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

// keys that belong to the supervisor itself, which does not change while it runs.
var keys = []string{"admin", "log", "pid_file", "engine.process_model"}

// Reload reads the configuration again and has all workers serve it, or, to preview, only says what that would do. It
// is checked here first, and previewed by every worker, before any of them changes. What workers cannot change while
// they run is changed by new workers that take over one after the other; it is waited for. Meanwhile there is nothing
// to preview, with app.ErrUpgrading.
func (f *Fleet) Reload(ctx context.Context, preview bool) (*app.Change, error) {
	if preview && f.rolling.Load() {
		return nil, app.ErrUpgrading
	}
	f.changes.Lock()
	defer f.changes.Unlock()
	was, next, rolled, err := f.again()
	if err != nil {
		return nil, err
	}
	var change *app.Change
	switch {
	case preview && len(rolled) > 0:
		change = &app.Change{}
	case preview:
		change, err = f.orderAll(ctx, OrderPreview, &next, nil)
	case len(rolled) > 0:
		change, err = &app.Change{}, f.roll(ctx, &was, &next)
	default:
		change, err = f.reload(ctx, &was, &next)
	}
	if preview {
		next.sockets.Retire(was.sockets)
	} else {
		err = f.changed(ctx, &was, &next, err)
	}
	if err != nil {
		return nil, err
	}
	change.Rolled = rolled
	return change, nil
}

// again reads the configuration again, checks what can be checked here, and opens the sockets that it has and the one
// in effect has not. Rolled are the keys for whose change there must be new workers.
func (f *Fleet) again() (was, next task, rolled []string, err error) {
	f.mu.Lock()
	was, workers := f.work, f.workers
	f.mu.Unlock()
	source, err := f.options.Load()
	if err == nil {
		rolled, err = fixed(&was, &source)
	}
	next = task{Source: source, version: was.version + 1, launch: was.launch}
	if err == nil {
		next.sockets, err = app.OpenSockets(source.Plan, workers, was.sockets)
	}
	return was, next, rolled, err
}

// changed ends what was opened in vain, or what is not in effect any more, and brings the number of workers to what the
// configuration says.
func (f *Fleet) changed(ctx context.Context, was, next *task, err error) error {
	if err != nil {
		next.sockets.Retire(was.sockets)
		return err
	}
	was.sockets.Retire(next.sockets)
	if processes := next.Plan.Config.Engine.Processes; processes != was.Plan.Config.Engine.Processes {
		return f.scale(ctx, processes)
	}
	return nil
}

// fixed are the keys for whose change there must be new workers; the error is about those that cannot change at all.
func fixed(was *task, next *Source) (rolled []string, err error) {
	var refused config.Problems
	for _, problem := range was.Plan.Config.Fixed(next.Plan.Config) {
		belongs := func(key string) bool { return problem.Path == key || strings.HasPrefix(problem.Path, key+".") }
		switch {
		case slices.ContainsFunc(keys, belongs):
			refused = append(refused, problem)
		case belongs("engine.processes") && next.Plan.Config.Engine.Processes == 0:
			refused = append(refused, problem)
		case belongs("engine.processes"):
		default:
			rolled = append(rolled, problem.Path)
		}
	}
	if len(refused) > 0 {
		return nil, refused
	}
	return rolled, nil
}

// reload has all workers preview the work and then do it.
func (f *Fleet) reload(ctx context.Context, was, next *task) (*app.Change, error) {
	if _, err := f.orderAll(ctx, OrderPreview, next, nil); err != nil {
		return nil, err
	}
	f.mu.Lock()
	for f.handing > 0 { // who takes connections over changes only then, which may be later than an order is waited for
		f.handed.Wait()
	}
	f.work = *next // who is started from now on begins with it
	f.mu.Unlock()
	f.endFronts(was.sockets, next.sockets)
	change, err := f.orderAll(ctx, OrderReload, next, was)
	return change, f.changeFronts(was, next, err)
}

// orderAll has all workers that serve do something with the work, and adds up what they say. With was those that fail
// are replaced; without, one that fails is the error of all.
func (f *Fleet) orderAll(ctx context.Context, do string, next, was *task) (*app.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	f.mu.Lock()
	workers := f.workers
	f.mu.Unlock()
	var group sync.WaitGroup
	var mu sync.Mutex
	var total *app.Change
	var failed []error
	for _, l := range f.serving() {
		group.Go(func() {
			a, err := f.orderOne(ctx, do, l, next, was, workers)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, errLost): // another is started in its place, and begins with the new work
			case err != nil:
				failed = append(failed, fmt.Errorf("worker %d: %w", l.place.Worker, err))
			default:
				total = add(total, a.Change)
			}
		})
	}
	group.Wait()
	if total == nil {
		total = &app.Change{}
	}
	if was != nil {
		return total, nil
	}
	return total, errors.Join(failed...)
}

func (f *Fleet) orderOne(ctx context.Context, do string, l *link, next, was *task, workers int) (Answer, error) {
	order := next.order(do, workers)
	var err error
	f.mu.Lock()
	order.Held = f.held()
	if was != nil {
		order.Sockets, err = next.sockets.Fresh(l.place.Seat, slices.Sorted(maps.Keys(l.more)), was.sockets)
	}
	f.mu.Unlock()
	var a Answer
	if err == nil {
		a, err = l.order(ctx, order, descriptorsOf(order.Sockets))
	}
	switch {
	case was == nil:
	case err != nil:
		f.replace(l, err)
	default:
		f.mu.Lock()
		l.version = next.version
		f.mu.Unlock()
	}
	return a, err
}

// add adds up what a change does to the connections of each worker. What it does to the configuration is the same.
func add(total, more *app.Change) *app.Change {
	if total == nil || more == nil {
		return more
	}
	total.Connections += more.Connections
	total.Touched += more.Touched
	return total
}

// replace ends a worker in good order that could not do what the others do. Another is started in its place.
func (f *Fleet) replace(l *link, why error) {
	if errors.Is(why, errLost) {
		return
	}
	f.options.Log.Error("a worker could not change as the others, and is replaced", "worker", uint64(l.place.Worker),
		"cause", why)
	if err := l.child.Signal(SignalDrain); err != nil && !errors.Is(err, proc.ErrGone) {
		f.options.Log.Error("a worker cannot be told to drain", "worker", uint64(l.place.Worker), "error", err)
	}
}

// catchUp has a worker that was started with an earlier configuration take the present one.
func (f *Fleet) catchUp(l *link) {
	f.changes.Lock()
	defer f.changes.Unlock()
	f.mu.Lock()
	next, workers := f.work, f.workers
	f.mu.Unlock()
	if l.version >= next.version {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), orderTime)
	defer cancel()
	// Which sockets it has is not known any more: with listeners that it does not know it is replaced.
	_, _ = f.orderOne(ctx, OrderReload, l, &next, &next, workers)
}

// roll has new workers with other work take over.
func (f *Fleet) roll(ctx context.Context, was, next *task) error {
	f.rolling.Store(true)
	defer f.rolling.Store(false)
	f.mu.Lock()
	f.coming = *next
	f.mu.Unlock()
	f.endFronts(was.sockets, next.sockets)
	return f.changeFronts(was, next, f.Roll(ctx, next.launch))
}

// Upgrade has workers of the binary that the command starts now take over, one after the other, and waits for it. They
// serve the configuration as it is by now, which is read and checked here first. When one of them fails before it has
// settled, those that there were go on.
func (f *Fleet) Upgrade(ctx context.Context, command func() proc.Command) error {
	f.changes.Lock()
	defer f.changes.Unlock()
	was, next, _, err := f.again()
	if err != nil {
		return err
	}
	next.launch = func(Place) (proc.Command, error) { return command(), nil }
	return f.changed(ctx, &was, &next, f.roll(ctx, &was, &next))
}

// Scale changes the number of workers. It does not wait for them.
func (f *Fleet) Scale(ctx context.Context, workers int) error {
	f.changes.Lock()
	defer f.changes.Unlock()
	return f.scale(ctx, workers)
}

func (f *Fleet) resize(ctx context.Context, more int) error {
	f.changes.Lock()
	defer f.changes.Unlock()
	f.mu.Lock()
	workers := f.workers + more
	f.mu.Unlock()
	return f.scale(ctx, workers)
}

// scale opens sockets for those who come, and has those of seats that go accepted from by others first.
func (f *Fleet) scale(ctx context.Context, workers int) error {
	f.mu.Lock()
	was, of := f.workers, f.work
	var err error
	if workers > was && workers <= f.Supervisor.options.Policy.MostWorkers {
		err = of.sockets.Grow(workers)
	}
	f.mu.Unlock()
	if err == nil {
		err = f.beginFronts(of.sockets, of.sockets)
	}
	if err != nil {
		return err
	}
	if workers >= 1 {
		if err := f.leaveSeats(ctx, &of, workers); err != nil {
			return err
		}
	}
	f.count(workers) // whoever starts meanwhile gets what it serves from then on
	if err := f.Supervisor.Scale(ctx, workers); err != nil {
		f.count(was)
		return err
	}
	return nil
}

func (f *Fleet) count(workers int) {
	f.mu.Lock()
	f.workers = workers
	f.mu.Unlock()
}

// leaveSeats gives the sockets of seats that go to workers that stay.
func (f *Fleet) leaveSeats(ctx context.Context, of *task, workers int) error {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	for seat := workers; seat < of.sockets.Seats(); seat++ {
		if f.kept(seat, workers) {
			continue
		}
		sockets := of.sockets.Extra(seat)
		if len(sockets) == 0 {
			continue
		}
		f.mu.Lock()
		l := f.adopter(seat%workers, workers)
		order := of.order(OrderAdopt, workers)
		if order.Sockets = sockets; l != nil {
			order.Awaits = f.begin(l, []int{seat})
		}
		f.mu.Unlock()
		if l != nil { // or whoever starts next gets them
			if _, err := l.order(ctx, order, descriptorsOf(order.Sockets)); err != nil {
				return fmt.Errorf("worker %d does not take the sockets of another over: %w", l.place.Worker, err)
			}
		}
	}
	return nil
}

// succeed has a worker hand its connections over to another one. The one drains what is left.
func (f *Fleet) succeed(from, heir ID) error {
	f.mu.Lock()
	giver, taker := f.links[from], f.links[heir]
	f.handing++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.handing--
		f.handed.Broadcast()
	}()
	if giver == nil || taker == nil {
		return errLost
	}
	// The machine ends who takes too long.
	ctx, cancel := context.WithTimeout(context.Background(), f.Supervisor.options.Policy.DrainFor)
	defer cancel()
	f.mu.Lock()
	seats := f.from(taker, from)
	f.mu.Unlock()
	return f.connect(ctx, giver, taker, Order{Do: OrderHandOver}, seats)
}

// connect gives one worker the way to another, which is to take over from it, with the seats at which it waited for
// that.
func (f *Fleet) connect(ctx context.Context, giver, taker *link, give Order, awaited []int) error {
	one, other, err := proc.RawPair()
	if err == nil {
		defer func() { _, _ = sys.Close(one), sys.Close(other) }()
		_, err = taker.order(ctx, Order{Do: OrderTakeOver, Channel: 1, Awaits: awaited}, []int{one})
	}
	if err != nil {
		if len(awaited) > 0 {
			f.lead(taker, awaited)
		}
		return err
	}
	give.Channel = 1
	_, err = giver.order(ctx, give, []int{other})
	return err
}

// Reopen has every worker open its log files anew.
func (f *Fleet) Reopen() {
	for _, l := range f.serving() {
		if err := l.child.Signal(syscall.SIGUSR1); err != nil && !errors.Is(err, proc.ErrGone) {
			f.options.Log.Error("a worker cannot be told to reopen its logs", "worker", uint64(l.place.Worker), "error", err)
		}
	}
}
