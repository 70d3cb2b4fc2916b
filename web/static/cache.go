package static

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
)

// shardEntries is how many entries a shard has room for. A change copies its shard, so they are small.
const shardEntries = 16

// cache maps paths to what was found there. Readers load one pointer and look into a map that never changes; writers
// take their shard's lock, copy its map and put the copy in place.
type cache struct {
	seed   maphash.Seed
	shards []shard
}

type shard struct {
	entries atomic.Pointer[map[string]*resource]
	mu      sync.Mutex
	room    int
	_       [40]byte // a cache line each, so that writing one does not disturb readers of the next
}

// newCache makes a cache for up to n entries. When fewer are asked for than a shard has room for, there is one shard.
func newCache(n int) *cache {
	count := 1
	for count*shardEntries < n && count < 1<<16 {
		count <<= 1
	}
	c := &cache{seed: maphash.MakeSeed(), shards: make([]shard, count)}
	for i := range c.shards {
		c.shards[i].room = max(1, n/count)
	}
	return c
}

func (c *cache) shard(path []byte) *shard {
	return &c.shards[maphash.Bytes(c.seed, path)&uint64(len(c.shards)-1)]
}

// find is the entry of a path, or nil.
func (c *cache) find(path []byte) *resource {
	if m := c.shard(path).entries.Load(); m != nil {
		return (*m)[string(path)]
	}
	return nil
}

// put keeps r. What it replaces, or what was used least recently if there is no room, is retired.
func (c *cache) put(r *resource, now int64, retire func(*resource)) {
	r.used.Store(now)
	s := c.shard([]byte(r.path))
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.copied()
	old := m[r.path]
	if old == nil && len(m) >= s.room {
		for _, other := range m {
			if old == nil || other.used.Load() < old.used.Load() {
				old = other
			}
		}
		delete(m, old.path)
	}
	m[r.path] = r
	s.entries.Store(&m)
	if old != nil {
		retire(old)
	}
}

// remove forgets a path.
func (c *cache) remove(path string, retire func(*resource)) {
	s := c.shard([]byte(path))
	if m := s.entries.Load(); m == nil || (*m)[path] == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.copied()
	old := m[path]
	delete(m, path)
	s.entries.Store(&m)
	if old != nil {
		retire(old)
	}
}

// clear forgets everything.
func (c *cache) clear(retire func(*resource)) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		if m := s.entries.Swap(nil); m != nil {
			for _, r := range *m {
				retire(r)
			}
		}
		s.mu.Unlock()
	}
}

// copied is the shard's map to be changed.
func (s *shard) copied() map[string]*resource {
	if m := s.entries.Load(); m != nil {
		return maps.Clone(*m)
	}
	return make(map[string]*resource, 1)
}
