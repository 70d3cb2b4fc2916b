package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/handover"
	"github.com/myriad-server/myriad/internal/proc"
)

// listenerKey is what two processes call a listener: where it listens, by the configuration, and what is spoken there.
type listenerKey struct{ where, protocol string }

func (k listenerKey) whole() string { return k.protocol + " " + k.where }

// listenerKeys are those of the listeners of a plan, in their order. Where several are alike, such as two whose port
// the kernel chooses, they are numbered.
func listenerKeys(p *Plan) []listenerKey {
	keys, alike := make([]listenerKey, len(p.Config.Listeners)), make(map[string]int)
	for i := range p.Config.Listeners {
		l := &p.Config.Listeners[i]
		spec := specOf(l, false)
		where := spec.Network + " " + spec.Name
		if l.Address.Network != config.Unix {
			where = spec.Network + " " + spec.Address.String()
		}
		if alike[where]++; alike[where] > 1 {
			where += fmt.Sprintf(" #%d", alike[where])
		}
		keys[i] = listenerKey{where, string(l.Protocol)}
	}
	return keys
}

// place is where a listener stands in the configuration of a plan; -1: it does not.
func (f *front) place(p *Plan) int {
	for i := range p.Config.Listeners {
		if f.config == &p.Config.Listeners[i] {
			return i
		}
	}
	return -1
}

// numbered is what a number of the site stands for.
type numbered struct {
	front *front
	key   string // of the listener
	seat  int    // whose sockets are served
}

// numbers are those of all listeners.
func (g *generation) numbers() map[int]numbered {
	all, keys := make(map[int]numbered), listenerKeys(g.plan)
	for _, f := range g.fronts {
		key := keys[f.place(g.plan)].whole()
		all[f.number] = numbered{f, key, g.options.Seat}
		for i, more := range f.more {
			all[more] = numbered{f, key, f.seats[i]}
		}
	}
	return all
}

// seatMark comes behind the key of a listener where the sockets are those of a certain seat.
func seatMark(seat int) string { return " seat " + strconv.Itoa(seat) }

// TakeOver goes on with the connections that the process at the other end of a channel hands over, which is told
// HandOver or GiveBack, and returns how many there were when it has given them all. What has come is this process's
// own, also if there is an error. It was awaited at some seats.
func (a *App) TakeOver(ctx context.Context, channel *proc.Channel, awaited []int) (taken int, err error) {
	a.reloads.Lock() // what the places mean stays
	defer a.reloads.Unlock()
	if a.steering == nil {
		return 0, ErrNotServing
	}
	hello, at := a.now().hello()
	if _, _, err := handover.Ask(ctx, channel, hello); err != nil {
		a.lead(awaited)
		return 0, err
	}
	return a.takeOver(ctx, channel, at, awaited)
}

// hello is what a server says to one that hands over to it, and the numbers of its places: first those of the listeners
// of the configuration, then those where the sockets of another seat are served.
func (g *generation) hello() (h handover.Hello, at []int) {
	h.Program = g.options.Version
	at = make([]int, len(g.plan.Config.Listeners))
	for _, key := range listenerKeys(g.plan) {
		h.Listeners = append(h.Listeners, key.whole())
	}
	for n, is := range g.numbers() {
		if n == is.front.number {
			at[is.front.place(g.plan)] = n
		} else if is.seat != g.options.Seat {
			h.Listeners, at = append(h.Listeners, is.key+seatMark(is.seat)), append(at, n)
		}
	}
	return h, at
}

// takeOver is TakeOver behind the hello. Under reloads.
func (a *App) takeOver(ctx context.Context, channel *proc.Channel, at, awaited []int) (taken int, err error) {
	left := func() { a.lead(awaited) }
	taken, err = handover.Receive(ctx, channel, func(parcels []*conn.Parcel) []error {
		return a.arrive(parcels, at)
	}, left)
	left() // also if the other side has died
	for _, f := range a.now().fronts {
		if !a.options.Worker { // not before it is over: until then the other one may have to go on
			f.group.Own()
		}
	}
	a.options.Log.Info("took over", "connections", taken)
	return taken, err
}

// errPlace refuses a connection of a listener that there is not.
var errPlace = errors.New("there is no such listener")

// arrive goes on with connections, whose listeners are places.
func (a *App) arrive(parcels []*conn.Parcel, numbers []int) []error {
	errs := make([]error, len(parcels))
	var known []*conn.Parcel
	var at []int
	for i, p := range parcels {
		if p.Listener < 0 || p.Listener >= len(numbers) {
			errs[i] = errPlace
			continue
		}
		p.Listener = numbers[p.Listener]
		known, at = append(known, p), append(at, i)
	}
	for i, err := range a.steering.ArriveMany(known) {
		errs[at[i]] = err
	}
	return errs
}

// resume receives from the sockets of a listener of datagrams.
func (a *App) resume(f *front) error {
	var errs []error
	for _, number := range append([]int{f.number}, f.more...) {
		errs = append(errs, a.steering.Resume(number))
	}
	return errors.Join(errs...)
}

// lead receives the datagrams at the sockets of some seats: nobody hands over any more who has served them. Under
// reloads.
func (a *App) lead(seats []int) {
	for n, is := range a.now().numbers() {
		if !datagrams(is.front.config) || !slices.Contains(seats, is.seat) {
			continue
		}
		if err := a.steering.Resume(n); err != nil {
			a.options.Log.Error("a listener is not served", "listener", is.front.url(), "cause", err)
		}
	}
}

// Lead says that nobody will hand over who was awaited at some seats.
func (a *App) Lead(seats []int) error {
	a.reloads.Lock()
	defer a.reloads.Unlock()
	if a.steering == nil {
		return ErrNotServing
	}
	a.lead(seats)
	return nil
}
