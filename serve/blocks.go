package serve

import (
	"sync"
	"sync/atomic"
)

// block is a piece of memory of Limits.BlockBytes. Unlike those of package buf, these
// are lent to many threads of control.
type block struct {
	data []byte
}

// blocks lends blocks, up to a limit, to all connections of a site. Those that are
// free are the collector's to keep or drop.
type blocks struct {
	size  int
	limit int64
	lent  atomic.Int64
	free  sync.Pool

	waiting atomic.Int32 // len(hungry), to be read without the lock
	mu      sync.Mutex
	hungry  []*connection // want a block to receive into, in the order in which they came
}

func newBlocks(size, limit int) *blocks {
	s := &blocks{size: size, limit: int64(limit)}
	s.free.New = func() any { return &block{data: make([]byte, size)} }
	return s
}

// take lends a block for output, or returns nil at the limit.
func (s *blocks) take() *block { return s.takeBelow(s.limit) }

// takeInput lends a block for input. A quarter of them is kept back for output, so that the
// requests of some cannot make the answers to others impossible.
func (s *blocks) takeInput() *block { return s.takeBelow(s.limit - s.limit/4) }

// fairBlocks is how many blocks of output a connection may hold when blocks are scarce.
const fairBlocks = 4

// takeOutput lends a block to a connection that holds so much output already. When half of
// the blocks are lent, who holds many gets no more: clients that do not read must not take
// the requests of all others.
func (s *blocks) takeOutput(held int64) *block {
	if s.lent.Load() > s.limit/2 && held > int64(fairBlocks*s.size) {
		return nil
	}
	return s.take()
}

func (s *blocks) takeBelow(limit int64) *block {
	if s.lent.Add(1) > limit {
		s.lent.Add(-1)
		return nil
	}
	return s.free.Get().(*block)
}

// release takes a block back, and tells one connection that waits for one.
func (s *blocks) release(b *block) {
	s.free.Put(b)
	s.lent.Add(-1)
	if s.waiting.Load() > 0 {
		s.feed()
	}
}

func (s *blocks) feed() {
	s.mu.Lock()
	if len(s.hungry) == 0 {
		s.mu.Unlock()
		return
	}
	c := s.hungry[0]
	s.hungry = append(s.hungry[:0], s.hungry[1:]...)
	s.waiting.Store(int32(len(s.hungry)))
	s.mu.Unlock()
	c.hungry.Store(false)
	c.wake()
}

// await puts c into the line of those that want a block. The caller tries once more
// after it: a block that came back in between told nobody.
func (s *blocks) await(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.hungry.Store(true)
	s.hungry = append(s.hungry, c)
	s.waiting.Store(int32(len(s.hungry)))
}

// leave takes c out of the line.
func (s *blocks) leave(c *connection) {
	if !c.hungry.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.hungry {
		if other == c {
			s.hungry = append(s.hungry[:i], s.hungry[i+1:]...)
			break
		}
	}
	s.waiting.Store(int32(len(s.hungry)))
	c.hungry.Store(false)
}
