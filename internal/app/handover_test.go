package app

import (
	"context"
	"sync"
	"testing"

	"github.com/myriad-server/myriad/internal/handover"
	"github.com/myriad-server/myriad/internal/proc"
)

// TestHandOverInVain hands over to one that goes away, again and again, while somebody asks for the listeners: they are
// listened on as before, under numbers that all tell.
func TestHandOverInVain(t *testing.T) {
	r := start(t, "routes=[{respond: {body: x}}]")
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		for ctx.Err() == nil {
			for i, l := range r.Listeners() {
				if l.Protocol != "http" {
					t.Errorf("listener %d is %+v", i, l)
					return
				}
			}
		}
	})
	const attempts = 5
	for n := 1; n <= attempts; n++ {
		channel, end, err := proc.NewPair()
		if err != nil {
			t.Fatal(err)
		}
		other, err := proc.NewChannel(end)
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			defer other.Close()
			if _, _, err := handover.Ask(ctx, other, r.now().hello()); err != nil {
				t.Error(err)
			}
		})
		moved, err := r.HandOver(ctx, channel)
		channel.Close()
		if err == nil {
			t.Fatalf("handed over to nobody: %+v", *moved)
		}
		if status, body, _ := r.get("/"); status != 200 || body != "x" {
			t.Errorf("afterwards the answer is %d %q", status, body)
		}
		if got := len(r.Listeners()); got != n+1 {
			t.Errorf("after %d attempts there are %d listeners", n, got)
		}
	}
}
