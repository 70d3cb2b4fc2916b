package supervise

import "context"

// This file is about who reads datagrams. The sockets of a seat outlive its workers, and two that read from the same
// ones would both begin sessions for a client. So a worker that begins to serve sockets leaves the datagrams to the one
// that does so yet, until that has handed its sessions over, or it is clear that it will not.

// servant is who serves the sockets of a seat, or will before long, besides one that begins to; 0: nobody. One that has
// the seat comes before one that has adopted its sockets. Under mu.
func (f *Fleet) servant(seat int, besides *link) (who ID) {
	for id, l := range f.links {
		switch {
		case l == besides || l.leaves:
		case l.place.Seat == seat && l.awaits[seat] == 0:
			return id
		case l.place.Seat == seat && who == 0, l.more[seat]:
			who = id
		}
	}
	return who
}

// begin enters what a worker begins to serve, and returns the seats at which it has to wait for another one. Under mu.
func (f *Fleet) begin(l *link, seats []int) (awaits []int) {
	for _, seat := range seats {
		if who := f.servant(seat, l); who != 0 {
			l.awaits[seat] = who
			awaits = append(awaits, seat)
		}
		if seat != l.place.Seat {
			l.more[seat] = true
		}
	}
	return awaits
}

// fallTo are the seats that nobody has, of so many, whose sockets the worker of a seat is to serve as it starts: those
// of the one before it there, and those that no other serves. Under mu.
func (f *Fleet) fallTo(own, seats int) (more []int) {
	for seat := f.workers; seat < seats; seat++ {
		if !f.has(seat, func(l *link) bool { return l.place.Seat != own }) {
			more = append(more, seat)
		}
	}
	return more
}

// has tells whether a worker that stays, and is one of those meant, serves the sockets of a seat that nobody has. Under
// mu.
func (f *Fleet) has(seat int, meant func(l *link) bool) bool {
	for _, l := range f.links {
		if l.more[seat] && !l.leaves && meant(l) {
			return true
		}
	}
	return false
}

// kept tells whether one of so many workers serves the sockets of a seat beyond them already.
func (f *Fleet) kept(seat, workers int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.has(seat, func(l *link) bool { return l.place.Seat < workers })
}

// adopter is who is to serve the sockets of a seat beside its own, of so many workers: the one in a seat, if it serves,
// or else another one that does, or will. Under mu.
func (f *Fleet) adopter(seat, workers int) (best *link) {
	worth := func(l *link) int {
		switch {
		case l == nil:
			return 0
		case !l.serves:
			return 1
		case l.place.Seat != seat:
			return 2
		}
		return 3
	}
	for _, l := range f.links {
		if !l.leaves && l.place.Seat < workers && worth(l) > worth(best) {
			best = l
		}
	}
	return best
}

// from are the seats at which a worker waits for another one, and does not any more: it leads there. Where somebody has
// the seat by now, it waits for that one. Under mu.
func (f *Fleet) from(l *link, who ID) (seats []int) {
	for seat, id := range l.awaits {
		if id != who {
			continue
		}
		delete(l.awaits, seat)
		if owner := f.owner(seat); owner != 0 && owner != l.place.Worker && l.place.Seat != seat {
			l.awaits[seat] = owner
			continue
		}
		seats = append(seats, seat)
	}
	return seats
}

// owner is the worker that has a seat, and stays; 0: nobody. Under mu.
func (f *Fleet) owner(seat int) ID {
	for id, l := range f.links {
		if l.place.Seat == seat && !l.leaves {
			return id
		}
	}
	return 0
}

// free has those lead who wait for a worker that leaves, or has ended. Its heir will hear from it. Under mu.
func (f *Fleet) free(e Event) {
	for id, l := range f.links {
		if id == e.Heir {
			continue
		}
		if seats := f.from(l, e.Worker); len(seats) > 0 {
			f.underway.Add(1)
			go func() {
				defer f.underway.Add(-1)
				f.lead(l, seats)
			}()
		}
	}
}

// lead tells a worker that nobody will hand over to it at some seats.
func (f *Fleet) lead(l *link, seats []int) {
	ctx, cancel := context.WithTimeout(context.Background(), orderTime)
	defer cancel()
	if _, err := l.order(ctx, Order{Do: OrderLead, Awaits: seats}, nil); err != nil {
		f.options.Log.Warn("a worker does not hear that it follows nobody", "worker", uint64(l.place.Worker), "cause", err)
	}
}

// reclaim has a worker that is ready take the sockets of its seat back from one that has served them meanwhile. Under
// mu.
func (f *Fleet) reclaim(l *link) {
	seat := l.place.Seat
	giver := f.links[l.awaits[seat]]
	if giver == nil || giver.place.Seat == seat {
		return // its predecessor, who hands over when it is told to go
	}
	delete(l.awaits, seat)
	delete(giver.more, seat)
	f.underway.Add(1)
	go func() {
		defer f.underway.Add(-1)
		ctx, cancel := context.WithTimeout(context.Background(), orderTime)
		defer cancel()
		if err := f.connect(ctx, giver, l, Order{Do: OrderGiveBack, Seat: seat}, []int{seat}); err != nil {
			f.options.Log.Warn("a worker has not given the sockets of a seat back", "seat", seat,
				"worker", uint64(giver.place.Worker), "to", uint64(l.place.Worker), "cause", err)
		}
	}()
}
