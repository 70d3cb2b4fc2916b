package supervise

import (
	"slices"
	"testing"
)

// seating is a fleet of which only the seats are looked at.
type seating struct {
	*Fleet
	t    *testing.T
	last ID
}

// start has a worker begin at a seat, to which some more fall, and which awaits others at some.
func (f *seating) start(seat int, more []int, awaits ...int) *link {
	f.t.Helper()
	f.last++
	l := newLink(Place{Worker: f.last, Seat: seat}, nil, 1)
	f.links[f.last] = l
	got := f.fallTo(seat, 4)
	if !slices.Equal(got, more) {
		f.t.Errorf("to worker %d at seat %d fall %d, want %d", f.last, seat, got, more)
	}
	waits := f.begin(l, append(got, seat))
	if slices.Sort(waits); !slices.Equal(waits, awaits) {
		f.t.Errorf("worker %d at seat %d awaits %d, want %d", f.last, seat, waits, awaits)
	}
	l.serves = true
	return l
}

// leave has a worker go, for an heir or for nobody.
func (f *seating) leave(l, heir *link) {
	l.serves, l.leaves = false, true
	if heir != nil {
		f.from(heir, l.place.Worker)
	}
	delete(f.links, l.place.Worker)
}

// adopts has a worker serve the sockets of a seat beyond the workers that there are, unless one does so already.
func (f *seating) adopts(seat int, by *link, wanted bool) {
	f.t.Helper()
	if kept := f.kept(seat, f.workers); kept == wanted {
		f.t.Errorf("seat %d is kept by one of %d workers: %t", seat, f.workers, kept)
	}
	if wanted {
		f.begin(by, []int{seat})
	}
}

// TestSeatsNobodyHas has workers come and go at four seats: the sockets of each seat are served by one of them, and
// whoever begins to serve some waits for who does so yet.
func TestSeatsNobodyHas(t *testing.T) {
	f := &seating{Fleet: &Fleet{links: map[ID]*link{}, workers: 4}, t: t}
	var at [4]*link
	for seat := range at {
		at[seat] = f.start(seat, nil)
	}
	// One after the other goes, the last first. What has been adopted stays where it is.
	f.workers = 3
	f.adopts(3, at[0], true)
	f.leave(at[3], at[0])
	f.workers = 2
	f.adopts(2, at[0], true)
	f.adopts(3, at[0], false)
	f.leave(at[2], at[0])
	// A crash of either: the sockets fall to who follows, and to nobody else.
	f.leave(at[1], nil)
	at[1] = f.start(1, nil)
	f.leave(at[0], nil)
	at[0] = f.start(0, []int{2, 3})
	// A new generation: it has what the one before has, and waits for it.
	next := f.start(0, []int{2, 3}, 0, 2, 3)
	f.leave(at[0], next)
	if len(next.awaits) != 0 {
		t.Errorf("the heir still awaits %v", next.awaits)
	}
	at[0] = next
	f.workers = 1
	f.adopts(1, at[0], true)
	f.adopts(2, at[0], false)
	f.leave(at[1], at[0])
	// One more again: it waits for its seat's sockets, and whoever follows the one that has them yet does not lead there.
	f.workers = 2
	again := f.start(1, nil, 1)
	if again.awaits[1] != at[0].place.Worker {
		t.Errorf("it awaits %v", again.awaits)
	}
	next = f.start(0, []int{2, 3}, 0, 2, 3)
	next.more[1], next.awaits[1] = true, at[0].place.Worker // it was started before
	f.leave(at[0], next)
	if next.awaits[1] != again.place.Worker || len(next.awaits) != 1 {
		t.Errorf("the heir awaits %v", next.awaits)
	}
	// One that has died is not asked to adopt; one that begins is, if no other serves.
	if l := f.adopter(1, 2); l != again {
		t.Errorf("seat 1 is adopted by %v", l.place)
	}
	again.leaves = true
	if l := f.adopter(1, 2); l != next {
		t.Errorf("seat 1 is adopted by %v", l.place)
	}
	next.leaves = true
	if l := f.adopter(1, 2); l != nil {
		t.Errorf("seat 1 is adopted by %v", l.place)
	}
}
