package app

import (
	"context"
	"errors"
	"fmt"

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

// TakeOver goes on with the connections that the process at the other end of a channel hands over, which is told
// HandOver, and returns how many there were when it has given them all. What has come is this process's own, also if
// there is an error.
func (a *App) TakeOver(ctx context.Context, channel *proc.Channel) (taken int, err error) {
	if _, _, err := handover.Ask(ctx, channel, a.now().hello()); err != nil {
		return 0, errors.Join(err, a.Lead())
	}
	return a.takeOver(ctx, channel)
}

// hello is what a server says to one that hands over to it.
func (g *generation) hello() handover.Hello {
	h := handover.Hello{Program: g.options.Version}
	for _, key := range listenerKeys(g.plan) {
		h.Listeners = append(h.Listeners, key.whole())
	}
	return h
}

// takeOver is TakeOver behind the hello.
func (a *App) takeOver(ctx context.Context, channel *proc.Channel) (taken int, err error) {
	a.reloads.Lock() // what the places mean stays
	defer a.reloads.Unlock()
	if a.steering == nil {
		return 0, ErrNotServing
	}
	g := a.now()
	numbers := make(map[int]int)
	for _, f := range g.fronts {
		numbers[f.place(g.plan)] = f.number
	}
	left := func() {
		a.lead()
		for _, f := range g.fronts {
			if !a.options.Worker {
				f.group.Own()
			}
		}
	}
	taken, err = handover.Receive(ctx, channel, func(parcels []*conn.Parcel) []error {
		return a.arrive(parcels, numbers)
	}, left)
	left() // also if the other side has died
	a.options.Log.Info("took over", "connections", taken)
	return taken, err
}

// errPlace refuses a connection of a listener that there is not.
var errPlace = errors.New("there is no such listener")

// arrive goes on with connections, whose listeners are places of the configuration.
func (a *App) arrive(parcels []*conn.Parcel, numbers map[int]int) []error {
	errs := make([]error, len(parcels))
	var known []*conn.Parcel
	var at []int
	for i, p := range parcels {
		number, ok := numbers[p.Listener]
		if !ok {
			errs[i] = errPlace
			continue
		}
		p.Listener = number
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

// lead ends the following of another process: what it has not handed over it does not hand over any more, and does not
// receive datagrams.
func (a *App) lead() {
	if !a.follows {
		return
	}
	a.follows = false
	for _, f := range a.now().fronts {
		if !datagrams(f.config) {
			continue
		}
		if err := a.resume(f); err != nil {
			a.options.Log.Error("a listener is not served", "listener", f.url(), "cause", err)
		}
	}
}

// Lead says that nobody will hand over to a server that was to follow another one.
func (a *App) Lead() error {
	a.reloads.Lock()
	defer a.reloads.Unlock()
	if a.steering == nil {
		return ErrNotServing
	}
	a.lead()
	return nil
}
