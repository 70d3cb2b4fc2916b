package supervise

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/myriad-server/myriad/internal/proc"
)

// TestChaosOfProcesses kills real workers, rolls good and bad generations and scales, all at once and in the order that
// a seed decides. At the end there are as many workers as there are to be, and nothing is left of the others.
func TestChaosOfProcesses(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("to have the same things done: SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := run(t, quick(2), "good")
	r.running()
	steps := 40
	if testing.Short() {
		steps = 15
	}
	ctx := context.Background()
	bad := func(Place) (proc.Command, error) { return role("refusing"), nil }
	var rolls sync.WaitGroup
	for range steps {
		switch random.IntN(5) {
		case 0, 1:
			workers := r.status().Workers
			if len(workers) == 0 {
				continue
			}
			r.kill(workers[random.IntN(len(workers))].ID)
		case 2:
			rolls.Go(func() {
				if err := r.Roll(ctx, bad); err == nil {
					t.Error("a bad generation has taken over")
				}
			})
		case 3:
			rolls.Go(func() { _ = r.Roll(ctx, r.launch) }) // it is refused while another is under way
		case 4:
			if err := r.Scale(ctx, 1+random.IntN(4)); err != nil {
				t.Error(err)
			}
		}
		if random.IntN(3) == 0 {
			r.running()
		}
	}
	rolls.Wait()
	s := r.running()
	for _, w := range s.Workers {
		if w.Generation != s.Generation || w.Board == nil || w.Board.PID != w.PID {
			t.Errorf("a worker is %+v", w)
		}
	}
	if err := r.Roll(ctx, r.launch); err != nil && !errors.Is(err, ErrRolling) {
		t.Errorf("it does not roll any more: %v", err)
	}
}
