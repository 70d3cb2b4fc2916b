package observe

import (
	"maps"
	"sync"
)

// mostNames is how many names a Tally keeps apart.
const mostNames = 128

// Tally counts by name what happens seldom, such as failures. Its zero value is ready, and its methods may be called
// from any goroutine.
type Tally struct {
	mu     sync.Mutex
	counts map[string]int64
}

// Count adds one. Beyond 128 names all are counted as "others".
func (t *Tally) Count(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]int64)
	}
	if _, known := t.counts[name]; !known && len(t.counts) >= mostNames {
		name = others
	}
	t.counts[name]++
}

// Counts copies what was counted.
func (t *Tally) Counts() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}
