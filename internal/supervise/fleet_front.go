package supervise

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/front"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/standard"
	"github.com/myriad-server/myriad/internal/sys"
)

// OrderFront gives a worker the channel that the connections come by that this process accepts.
const OrderFront = "front"

// lastTime is how long the end waits for the workers to take what was accepted.
const lastTime = time.Second

// fronts is what this process itself does for clients: under prefork it accepts, and under ports it tells them where to
// go. All but acceptor is under Fleet.mu.
type fronts struct {
	acceptor *front.Acceptor // nil: it accepts nothing
	engine   front.Engine
	entries  map[string]*entry // by listener
}

// entry is an entry that is served.
type entry struct {
	*front.Entry
	ports []uint16 // by seat
	end   context.CancelFunc
	ended chan struct{}
}

// openFronts begins what this process does for clients.
func (f *Fleet) openFronts() (err error) {
	plan := f.work.Plan
	f.fronts.entries = map[string]*entry{}
	f.mu.Lock()
	f.fronts.acceptor = front.New(front.Options{Policy: plan.Spread, Log: f.options.Log})
	f.mu.Unlock()
	f.fronts.engine = front.Engine{Driver: plan.Driver, Log: f.options.Log}
	if f.fronts.engine.Model, err = standard.Model("reactor"); err != nil {
		return err
	}
	if plan.Driver.Open == nil { // the workers' model brings its own
		if f.fronts.engine.Driver, _, err = standard.Driver(standard.Auto); err != nil {
			return err
		}
	}
	return f.beginFronts(nil, f.work.sockets)
}

// beginFronts serves the listeners that next has and was has not, and tells the entries which ports there are.
func (f *Fleet) beginFronts(was, next *app.Sockets) error {
	before := frontNames(was)
	for _, of := range next.Fronts() {
		if of.Ports == nil {
			if !slices.Contains(before, of.Name) {
				if err := f.fronts.acceptor.Listen(of.Name, of.FD); err != nil {
					return err
				}
			}
			continue
		}
		f.mu.Lock()
		e := f.fronts.entries[of.Name]
		if e == nil {
			fd, err := sys.Duplicate(of.FD)
			if err != nil {
				f.mu.Unlock()
				return err
			}
			e = f.serveEntry(of.Name, fd)
			f.fronts.entries[of.Name] = e
		}
		e.ports = of.Ports
		f.announce()
		f.mu.Unlock()
	}
	return nil
}

// endFronts serves no more what was has and next has not. Its workers still serve it.
func (f *Fleet) endFronts(was, next *app.Sockets) {
	kept := frontNames(next)
	for _, name := range frontNames(was) {
		if slices.Contains(kept, name) {
			continue
		}
		f.mu.Lock()
		e := f.fronts.entries[name]
		delete(f.fronts.entries, name)
		f.mu.Unlock()
		if e != nil {
			e.end()
			<-e.ended
			continue
		}
		f.fronts.acceptor.Leave(name)
	}
}

// changeFronts serves what is new in next, or, after a failure, what there was before.
func (f *Fleet) changeFronts(was, next *task, failed error) error {
	if failed != nil {
		was, next = next, was
	}
	return cmp.Or(failed, f.beginFronts(was.sockets, next.sockets))
}

func frontNames(of *app.Sockets) (names []string) {
	if of != nil {
		for _, one := range of.Fronts() {
			names = append(names, one.Name)
		}
	}
	return names
}

// serveEntry serves an entry at a descriptor, which is its own.
func (f *Fleet) serveEntry(name string, fd int) *entry {
	ctx, end := context.WithCancel(context.Background())
	e := &entry{Entry: front.NewEntry(), end: end, ended: make(chan struct{})}
	go func() {
		defer close(e.ended)
		if err := e.Serve(ctx, name, fd, f.fronts.engine); err != nil {
			f.options.Log.Error("clients are not told any more where to go", "listener", name, "error", err)
		}
		_ = sys.Close(fd)
	}()
	return e
}

// announce tells the entries which workers serve. Under mu.
func (f *Fleet) announce() {
	for _, e := range f.fronts.entries {
		var places []front.Place
		for _, l := range f.links {
			if l.serves && l.place.Seat < len(e.ports) {
				places = append(places, front.Place{Port: e.ports[l.place.Seat], Shown: f.shown(l.place)})
			}
		}
		e.Set(places)
	}
}

// shown reads how many connections a worker has off the board.
func (f *Fleet) shown(p Place) front.Shown {
	return func() (int64, time.Duration) {
		report, ok := f.board.Read(p.Slot)
		if !ok || report.Worker != uint64(p.Worker) {
			return 0, 0
		}
		return int64(report.Total.Open), report.Beat
	}
}

// accepts reports that this process accepts for the workers.
func (f *Fleet) accepts() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.work.sockets.Fronts(), func(of app.Front) bool { return of.Ports == nil })
}

// admit has a worker that serves be given connections.
func (f *Fleet) admit(l *link) {
	if !f.accepts() {
		return
	}
	channel, theirs, err := proc.NewPair()
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), orderTime)
		_, err = l.order(ctx, Order{Do: OrderFront, Channel: 1}, []int{theirs})
		cancel()
		_ = sys.Close(theirs)
		if err != nil {
			channel.Close()
		}
	}
	if err != nil {
		f.options.Log.Error("a worker is given no connections", "worker", uint64(l.place.Worker), "error", err)
		return
	}
	f.mu.Lock()
	acceptor := f.fronts.acceptor
	f.mu.Unlock()
	acceptor.Join(front.Worker{ID: uint64(l.place.Worker), Channel: channel, Shown: f.shown(l.place)})
	f.mu.Lock()
	serves := l.serves
	f.mu.Unlock()
	if !serves { // it was told to end meanwhile
		acceptor.Retire(uint64(l.place.Worker))
	}
}

// closeFronts accepts no more, and waits until the workers have what was accepted, up to a limit.
func (f *Fleet) closeFronts(limit time.Duration) {
	if f.fronts.acceptor == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := f.fronts.acceptor.Close(ctx); err != nil {
		f.options.Log.Warn("connections are lost in the end", "cause", err)
	}
	for _, e := range f.fronts.entries {
		e.end()
		<-e.ended
	}
}

// Restarts are how often workers have died that nobody had told to end, by their seat.
func (f *Fleet) Restarts() map[int]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.restarts)
}
