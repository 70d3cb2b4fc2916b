package stream

import (
	"math"
	"net/netip"
	"sync"
)

// clientShards is how many locks the clients spread over: a session takes one twice.
const clientShards = 64

// clients counts the sessions of each client address, over all loops. Addresses of IPv6 count by their first 64 bits,
// which is what one subscriber has.
type clients struct {
	most   int
	shards [clientShards]clientShard
}

// limit bounds the sessions of each client address; nil at 0: they may have as many as they like.
func limit(perClient int) *clients {
	if perClient <= 0 {
		return nil
	}
	return &clients{most: perClient}
}

type clientShard struct {
	mu    sync.Mutex
	count map[netip.Addr]int
	_     [40]byte // one shard for each line of memory
}

// client is the address that counts.
func client(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

func (c *clients) shard(a netip.Addr) *clientShard { return &c.shards[keyOf(a)>>32%clientShards] }

// enter counts a session in, and reports false if the client has as many as it may.
func (c *clients) enter(a netip.Addr) bool { return c.admit(a, c.most) }

// reenter counts a session in that was counted in another process before, however many there are.
func (c *clients) reenter(a netip.Addr) { c.admit(a, math.MaxInt) }

func (c *clients) admit(a netip.Addr, most int) bool {
	a = client(a)
	s := c.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.count[a]
	if n >= most {
		return false
	}
	if s.count == nil {
		s.count = map[netip.Addr]int{}
	}
	s.count[a] = n + 1
	return true
}

// leave counts a session out.
func (c *clients) leave(a netip.Addr) {
	a = client(a)
	s := c.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.count[a] - 1; n > 0 {
		s.count[a] = n
	} else {
		delete(s.count, a)
	}
}
