package observe

import (
	"sync"
	"testing"

	"github.com/myriad-server/myriad/internal/meter"
)

func TestCountersSum(t *testing.T) {
	var c Counters
	if total := c.Total(); total != (meter.Counts{}) {
		t.Fatalf("nothing is registered, and the total is %v", total)
	}
	sets := [3]meter.Set{}
	c.Worker(2, &sets[2])
	c.Worker(0, &sets[0])
	c.Worker(1, &sets[1])
	c.Add(func() meter.Counts {
		var counts meter.Counts
		counts[meter.Requests] = 1000
		return counts
	})
	for i := range sets {
		sets[i].Add(meter.Requests, int64(i+1))
		sets[i].Publish()
		sets[i].AddShared(meter.Open, 10)
	}
	total := c.Total()
	if total[meter.Requests] != 1006 || total[meter.Open] != 30 {
		t.Errorf("requests %d, want 1006; open %d, want 30", total[meter.Requests], total[meter.Open])
	}
	workers := c.Workers()
	if len(workers) != 3 {
		t.Fatalf("%d workers, want 3", len(workers))
	}
	for i, counts := range workers {
		if counts[meter.Requests] != int64(i+1) {
			t.Errorf("worker %d has %d requests, want %d", i, counts[meter.Requests], i+1)
		}
	}
}

func TestCountersSharedSetCountsOnce(t *testing.T) {
	var c Counters
	var set meter.Set
	set.AddShared(meter.Accepted, 7)
	for worker := range 4 {
		c.Worker(worker, &set)
	}
	if total := c.Total(); total[meter.Accepted] != 7 {
		t.Errorf("accepted is %d, want 7", total[meter.Accepted])
	}
	if n := len(c.Workers()); n != 1 {
		t.Errorf("%d workers, want 1", n)
	}
}

func TestCountersFromManyGoroutines(t *testing.T) {
	var c Counters
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			set := new(meter.Set)
			c.Worker(worker, set)
			for range 100 {
				set.AddShared(meter.Requests, 1)
				c.Total()
			}
		})
	}
	group.Wait()
	if total := c.Total(); total[meter.Requests] != 800 {
		t.Errorf("requests is %d, want 800", total[meter.Requests])
	}
}
