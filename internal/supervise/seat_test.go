package supervise

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// inherits checks that an heir is there, serves, and is none of those that go.
func (w *world) inherits(p *process, a Action) {
	if a.Heir == 0 {
		return
	}
	heir := w.find(a.Heir)
	if a.Do != DoDrain || heir == nil || heir == p || !heir.ready || heir.signalled > DoAsk {
		w.t.Fatalf("%s: worker %d is to inherit from %d, by %s: %+v", w.now, a.Heir, p.id, a.Do, heir)
	}
	w.heirs = append(w.heirs, a.Heir)
}

// seated checks that the workers that serve have the first seats, one each.
func (w *world) seated() error {
	var seats []int
	for _, p := range w.processes {
		seats = append(seats, p.seat)
	}
	slices.Sort(seats)
	for i, seat := range seats {
		if seat != i {
			return fmt.Errorf("the seats of %d workers are %d", len(seats), seats)
		}
	}
	return nil
}

// TestSeats follows the seats of workers that are killed, replaced, and told to go.
func TestSeats(t *testing.T) {
	w := steady(t, func(p *Policy) { p.Retire = LastSeat })
	expect := func(what string, heirs ...ID) {
		t.Helper()
		w.act()
		w.calm(time.Minute)
		if err := w.seated(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if !slices.Equal(w.heirs, heirs) {
			t.Errorf("%s: the heirs are %d, want %d", what, w.heirs, heirs)
		}
		w.heirs = nil
	}
	victim := w.processes[1]
	w.die(victim)
	expect("one has died")
	if last := w.processes[3]; last.seat != victim.seat {
		t.Errorf("it is followed in seat %d by one in seat %d", victim.seat, last.seat)
	}
	// Those that replace the four in their seats are 6 to 9.
	if _, err := w.machine.Roll(w.now); err != nil {
		t.Fatal(err)
	}
	expect("a new generation", 6, 7, 8, 9)
	// Seats 3 and 2 go, the last one first, and fall to seats 1 and 0.
	if err := w.machine.Scale(w.now, 2); err != nil {
		t.Fatal(err)
	}
	expect("two are enough", 7, 6)
	w.machine.Drain(w.now)
	expect("the end")
}
