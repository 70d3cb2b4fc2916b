package serve

import (
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
)

// What Depart and Arrive may answer, besides [conn.ErrStopping] when the site or the listener winds down.
var (
	// ErrFull: there is no room for one more connection, and nothing idle that could make it.
	ErrFull = listen.ErrLimit
	// ErrNotPortable: the model, or the handler of the listener, cannot go on with connections of another process.
	ErrNotPortable = conn.ErrNotPortable
)

// Departure says what is to leave, and for where. Its functions are called on the threads of the model, several at the
// same time, and must not block, nor call Steering.
type Departure struct {
	// Room is how many more connections Take has room for. Where it is none it is asked again some 10 ms later. As several
	// threads ask, a few connections more may come.
	Room func() int
	// Take is given each connection that has left. It owns the parcel and its descriptors from then on. To the handler
	// the connection is closed, with [conn.ErrMoved].
	Take func(p *conn.Parcel)
	// Only, if set, says by number which listeners are meant; all if nil.
	Only func(listener int) bool
}

// Arrive is ArriveMany for one connection.
func (b *Blocking) Arrive(p *conn.Parcel) error { return b.arrive(p) }

// ArriveMany is that of [Steering].
func (b *Blocking) ArriveMany(parcels []*conn.Parcel) []error {
	errs := make([]error, len(parcels))
	for i, p := range parcels {
		errs[i] = b.arrive(p)
	}
	return errs
}

// arrive begins a connection that was accepted elsewhere, as if it had been accepted here.
func (b *Blocking) arrive(p *conn.Parcel) error {
	l, err := b.welcome(p)
	if err != nil {
		return err
	}
	if !b.alone {
		b.enter(p.FD, l, b.place)
		return nil
	}
	b.enter(p.FD, l, func(a Arrival) {
		b.mu.Lock()
		b.waiting = append(b.waiting, a)
		b.mu.Unlock()
	})
	b.newDoorstep()
	return nil
}

// welcome finds the listener of a connection that arrives, and counts it in: from then on the site does not end.
func (b *Blocking) welcome(p *conn.Parcel) (*listening, error) {
	b.steers.Lock()
	defer b.steers.Unlock()
	all := b.all()
	if p.Listener < 0 || p.Listener >= len(all) || all[p.Listener].Handler == nil || len(p.State) > 0 || p.Mate != nil ||
		len(p.Unread) > 0 || p.Ended || p.Final {
		return nil, ErrNotPortable
	}
	l := all[p.Listener]
	if l.stopping() {
		return nil, conn.ErrStopping
	}
	if b.open.Load() >= int64(b.limits.Connections) && b.Shed(shedAtOnce, 0) == 0 {
		return nil, ErrFull
	}
	b.open.Add(1)
	return l, nil
}

// takeWaiting takes the next connection that has arrived for the one thread that serves all.
func (b *Blocking) takeWaiting() (a Arrival, some bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		return Arrival{}, false
	}
	a = b.waiting[0]
	b.waiting = append(b.waiting[:0], b.waiting[1:]...)
	return a, true
}

// Depart is that of [Steering]: what a connection means lies on a stack here, and cannot be told.
func (b *Blocking) Depart(Departure) (func(), error) { return nil, ErrNotPortable }
