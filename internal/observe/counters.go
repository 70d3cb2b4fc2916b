package observe

import (
	"slices"
	"sync"

	"github.com/myriad-server/myriad/internal/meter"
)

// Counters knows the meter sets of a running server and sums them. Its zero value is ready, and its methods may be
// called from any goroutine.
type Counters struct {
	mu      sync.Mutex
	workers []*meter.Set
	others  []func() meter.Counts
}

// Worker registers the set of a worker, as serve.Site.Meter is called. A set that several workers share counts once.
func (c *Counters) Worker(worker int, set *meter.Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.workers) <= worker {
		c.workers = append(c.workers, nil)
	}
	if !slices.Contains(c.workers, set) {
		c.workers[worker] = set
	}
}

// Add registers something else that counts, such as the handlers of a site; it is asked at each Total.
func (c *Counters) Add(counts func() meter.Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.others = append(c.others, counts)
}

// Total is the sum over all workers and everything else.
func (c *Counters) Total() meter.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	var total meter.Counts
	for _, set := range c.workers {
		if set != nil {
			total.Add(set.Snapshot())
		}
	}
	for _, counts := range c.others {
		total.Add(counts())
	}
	return total
}

// Workers copies what each worker has counted, in their order. A worker that shares the set of an earlier one is left
// out.
func (c *Counters) Workers() []meter.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	each := make([]meter.Counts, 0, len(c.workers))
	for _, set := range c.workers {
		if set != nil {
			each = append(each, set.Snapshot())
		}
	}
	return each
}
