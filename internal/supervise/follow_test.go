package supervise

import (
	"slices"
	"testing"
)

// TestSeatsNobodyHas has workers come and go at four seats: the sockets of each seat are served by one of them, and
// whoever begins to serve some waits for who does so yet.
func TestSeatsNobodyHas(t *testing.T) {
	f := &Fleet{links: map[ID]*link{}, workers: 4}
	last := ID(0)
	start := func(seat int, more []int, awaits ...int) *link {
		t.Helper()
		last++
		l := newLink(Place{Worker: last, Seat: seat}, nil, 1)
		f.links[last] = l
		got := f.fallTo(seat, 4)
		if !slices.Equal(got, more) {
			t.Errorf("to worker %d at seat %d fall %d, want %d", last, seat, got, more)
		}
		waits := f.begin(l, append(got, seat))
		if slices.Sort(waits); !slices.Equal(waits, awaits) {
			t.Errorf("worker %d at seat %d awaits %d, want %d", last, seat, waits, awaits)
		}
		l.serves = true
		return l
	}
	leave := func(l, heir *link) {
		t.Helper()
		l.serves, l.leaves = false, true
		if heir != nil {
			heir.from(l.place.Worker)
		}
		delete(f.links, l.place.Worker)
	}
	var at [4]*link
	for seat := range at {
		at[seat] = start(seat, nil)
	}
	// One after the other goes, the last first. What has been adopted stays where it is.
	adopts := func(seat, by int, wanted bool) {
		t.Helper()
		if kept := f.kept(seat, f.workers); kept == wanted {
			t.Errorf("seat %d is kept by one of %d workers: %t", seat, f.workers, kept)
		}
		if wanted {
			f.begin(at[by], []int{seat})
		}
	}
	f.workers = 3
	adopts(3, 0, true)
	leave(at[3], at[0])
	f.workers = 2
	adopts(2, 0, true)
	adopts(3, 0, false)
	leave(at[2], at[0])
	// A crash of either: the sockets fall to who follows, and to nobody else.
	leave(at[1], nil)
	at[1] = start(1, nil)
	leave(at[0], nil)
	at[0] = start(0, []int{2, 3})
	// A new generation: it has what the one before has, and waits for it.
	next := start(0, []int{2, 3}, 0, 2, 3)
	leave(at[0], next)
	if len(next.awaits) != 0 {
		t.Errorf("the heir still awaits %v", next.awaits)
	}
	at[0] = next
	f.workers = 1
	adopts(1, 0, true)
	adopts(2, 0, false)
	leave(at[1], at[0])
	// One more again: it waits for its seat's sockets.
	f.workers = 2
	if l := start(1, nil, 1); l.awaits[1] != at[0].place.Worker {
		t.Errorf("it awaits %v", l.awaits)
	}
}
