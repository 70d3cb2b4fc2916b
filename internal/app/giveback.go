package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/myriad-server/myriad/internal/handover"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/serve"
)

// GiveBack leaves the sockets of a seat that were adopted to the worker at the other end of a channel, which has that
// seat now and is told TakeOver: with the sessions of datagrams, as what their clients send comes there. Connections
// stay.
func (a *App) GiveBack(ctx context.Context, channel *proc.Channel, seat int) error {
	hello, err := handover.Answer(ctx, channel, a.options.Version, nil)
	if err != nil {
		return err
	}
	a.reloads.Lock()
	defer a.reloads.Unlock()
	if a.steering == nil {
		return ErrNotServing
	}
	d := &departure{App: a, g: a.now(), places: map[int]int{}}
	all := d.g.places(hello)
	for n, is := range d.g.numbers() {
		if place, ok := all[n]; ok && n != is.front.number && is.seat == seat {
			d.places[n] = place
		}
	}
	d.sender = handover.NewSender(channel, handover.Options{Place: d.place, Back: a.comeBack, Patience: acknowledgeTime})
	stop, err := d.steering.Depart(serve.Departure{Room: func() int { return 0 }, Take: d.sender.Take, Only: d.goes})
	if err == nil {
		d.sender.Left()
		stop()
	}
	tally, lost := d.sender.Finish()
	if err = errors.Join(err, lost); err != nil {
		a.lead([]int{seat})
		return fmt.Errorf("the sockets of seat %d are not given back: %w", seat, err)
	}
	a.forget(d.places)
	a.options.Log.Info("gave the sockets of a seat back", "seat", seat, "sessions", tally.Moved)
	return nil
}

// forget has numbers stand for nothing that another seat's worker could have. Under reloads.
func (a *App) forget(gone map[int]int) {
	for n, is := range a.now().numbers() {
		if _, ok := gone[n]; !ok {
			continue
		}
		f := a.now().fronts[slices.IndexFunc(a.now().fronts, func(f *front) bool { return slices.Contains(f.more, n) })]
		i, again := slices.Index(f.more, n), *f
		again.seats = slices.Clone(f.seats)
		again.seats[i] = a.options.Seat // connections that were accepted there stay
		if datagrams(is.front.config) {
			a.steering.Leave(n, 0, nil)
			again.more, again.seats = slices.Delete(slices.Clone(f.more), i, i+1), slices.Delete(again.seats, i, i+1)
		}
		a.replace(f, &again)
	}
}
