// Package buf holds the bytes on their way through the house: blocks of one
// fixed size, each with an owner count, lent out by a pool that has a limit.
//
// A pool and its blocks belong to one loop and are used from its thread only;
// nothing here locks. Memory exists when bytes exist, not when a connection
// exists: whoever needs a block takes it at the last moment, and whoever finds
// the pool empty has met backpressure. No block, no read.
package buf

import (
	"fmt"
	"net/netip"
)

// regionBlocks is how many blocks are mapped at a time. Mapping in regions keeps
// the number of mappings small, and pages that were never touched cost nothing.
const regionBlocks = 64

// colour is the distance between two blocks, in bytes. Blocks whose addresses
// differ by a power of two would all compete for the same few lines of the
// processor's caches with their first bytes, which are the ones that are used.
const colour = 5 * 64

// inputShare is the part of the blocks that input leaves for output: one in so many.
const inputShare = 8

// Memory supplies n bytes that stay where they are for ever. The kernel is given
// addresses inside it, so event-loop pools pass a supplier outside the Go heap.
type Memory func(n int) ([]byte, error)

// Heap is the Memory of pools whose blocks are never seen by the kernel after a
// call has returned.
func Heap(n int) ([]byte, error) { return make([]byte, n), nil }

// Block is a fixed-size piece of memory. Its holder count starts at one.
type Block struct {
	data  []byte
	pool  *Pool
	next  *Block // in the free list
	holds int32

	// Peer is the source of the datagram in the block, when a RecvFrom filled it: zero if it has no name, and of a Unix
	// socket what package conn calls UnixPeer. Home is the address that it was sent to; zero if the socket has but one.
	Peer netip.AddrPort
	Home netip.Addr
}

// Bytes is the whole block.
func (b *Block) Bytes() []byte { return b.data }

// Size is the number of bytes in the block.
func (b *Block) Size() int { return len(b.data) }

// Hold adds a holder; each holder calls Release once.
func (b *Block) Hold() { b.holds++ }

// Shared reports that there is more than one holder, so that the bytes must not change.
func (b *Block) Shared() bool { return b.holds > 1 }

// Release gives one hold back; the last one returns the block to its pool.
func (b *Block) Release() {
	b.holds--
	if b.holds > 0 {
		return
	}
	if b.holds < 0 {
		panic("buf: block released more often than held")
	}
	p := b.pool
	b.next, p.free = p.free, b
	p.lent--
}

// Pool lends blocks of one size, up to a limit. The last one returned is lent
// first, because it is the one that is warm in the cache.
type Pool struct {
	free   *Block
	memory Memory
	size   int
	limit  int
	made   int
	lent   int

	regions [][]byte
}

// NewPool makes a pool of blocks of size bytes, at most limit of them. Memory
// comes in regions when it is first needed. Both numbers must be positive.
func NewPool(size, limit int, memory Memory) (*Pool, error) {
	if size <= 0 || limit <= 0 {
		return nil, fmt.Errorf("buf: a pool of %d blocks of %d bytes is not possible; both must be positive", limit, size)
	}
	return &Pool{memory: memory, size: size, limit: limit}, nil
}

// BlockSize is the size of every block of the pool, in bytes.
func (p *Pool) BlockSize() int { return p.size }

// Lent is the number of blocks that are out, and Limit how many may be.
func (p *Pool) Lent() int { return p.lent }

// Limit is the largest number of blocks that may be out at one time.
func (p *Pool) Limit() int { return p.limit }

// Take lends a block, or returns nil when the limit is reached or memory ends.
// The block's content is whatever its last user left there.
func (p *Pool) Take() *Block {
	b := p.free
	if b == nil {
		if b = p.grow(); b == nil {
			return nil
		}
	}
	p.free, b.next = b.next, nil
	b.holds = 1
	p.lent++
	return b
}

// Left is how many blocks can still be lent.
func (p *Pool) Left() int { return p.limit - p.lent }

// TakesInput reports that TakeInput would lend a block, as far as the limit goes.
func (p *Pool) TakesInput() bool { return p.Left() > p.limit/inputShare }

// TakeInput lends a block for bytes that are still in the kernel. It leaves the last eighth of the blocks alone: input
// can wait where it is, and what was received already must find blocks for what is said to it.
func (p *Pool) TakeInput() *Block {
	if !p.TakesInput() {
		return nil
	}
	return p.Take()
}

// Free gives the pool's memory back through give, the counterpart of its Memory.
// No block may be lent, and the pool lends none any more.
func (p *Pool) Free(give func([]byte) error) error {
	if p.lent > 0 {
		return fmt.Errorf("buf: %d blocks are still lent", p.lent)
	}
	p.free, p.limit, p.made = nil, 0, 0
	var failed error
	for _, region := range p.regions {
		if err := give(region); err != nil {
			failed = err
		}
	}
	p.regions = nil
	return failed
}

// grow maps one more region and puts its blocks into the free list.
func (p *Pool) grow() *Block {
	n := min(regionBlocks, p.limit-p.made)
	if n <= 0 {
		return nil
	}
	stride := p.size + colour
	region, err := p.memory(n * stride)
	if err != nil {
		return nil
	}
	p.regions = append(p.regions, region)
	blocks := make([]Block, n)
	for i := n - 1; i >= 0; i-- {
		from := i * stride
		blocks[i] = Block{data: region[from : from+p.size : from+p.size], pool: p, next: p.free}
		p.free = &blocks[i]
	}
	p.made += n
	return p.free
}
