package supervise

import "context"

// This file is about datagrams in a roll. A worker that takes the place of one that serves leaves the datagrams at
// their common sockets to that one, until it has handed its sessions over; or until it is clear that it will not.

// precedes reports that a worker serves from the same sockets as one that begins at a seat. Under mu.
func (f *Fleet) precedes(seat int) bool {
	for _, l := range f.links {
		if l.serves && l.place.Seat == seat {
			return true
		}
	}
	return false
}

// free has those lead who wait for a worker that leaves, or has ended, to hand over to them. Its heir will hear from
// it. Under mu.
func (f *Fleet) free(e Event) {
	var wait []*link
	for _, l := range f.links {
		switch {
		case l.place.Seat != e.Seat || l.place.Worker == e.Worker:
		case l.follows && l.place.Worker != e.Heir:
			wait = append(wait, l)
		case l.serves && !l.follows:
			return // it is this one that they wait for
		}
	}
	for _, l := range wait {
		l.follows = false
		go f.lead(l)
	}
}

// lead tells a worker that nobody will hand over to it.
func (f *Fleet) lead(l *link) {
	ctx, cancel := context.WithTimeout(context.Background(), orderTime)
	defer cancel()
	if _, err := l.order(ctx, Order{Do: OrderLead}, nil); err != nil {
		f.options.Log.Warn("a worker does not hear that it follows nobody", "worker", uint64(l.place.Worker), "cause", err)
	}
}
