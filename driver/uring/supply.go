package uring

import (
	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	supplyEntries = 4096 // of the buffer ring of an ordinary ring
	supplyFirst   = 64   // blocks on offer at first
	supplyReview  = 1024 // turns after which the offer is matched to what was used
	leastShare    = 16   // of a small pool, one block in so many is on offer at least: what is scarce is not to lie there
)

// supply offers the pool's blocks to the kernel, which picks one when bytes have arrived.
//
// The kernel picks the block that was offered first, so a large offer would walk through much memory for little
// traffic and find all of it cold. The offer is therefore small, doubles when the kernel ran out while the pool had
// more, and shrinks to what the busiest turn of the last ones used.
type supply struct {
	ring    *sys.BufferRing
	pool    *buf.Pool
	blocks  []*buf.Block // by number; nil when not on offer
	spare   []uint16     // numbers that are not on offer
	want    int          // blocks to have on offer
	least   int
	most    int
	offered int
	peak    int // most blocks picked in one turn since the last review
	turns   int
	wanted  bool // something receives
	shares  *shares
}

// shares keeps the offers of all rings to half of the pool, so that there are blocks left to answer with. A ring that
// offers nothing may have one block beyond.
type shares struct {
	offered, most int
	reclaim       func() // takes back what idle rings offer beyond their least
}

func openSupply(r *sys.Ring, pool *buf.Pool, all *shares, entries, first int) (supply, error) {
	b, err := r.OpenBufferRing(0, entries)
	if err != nil {
		return supply{}, err
	}
	most := min(entries, max(pool.Limit()/4, 1))
	least := min(first, most, max(pool.Limit()/leastShare, 1))
	s := supply{
		ring: b, shares: all, pool: pool, blocks: make([]*buf.Block, entries), spare: make([]uint16, 0, entries),
		want: least, least: least, most: most,
	}
	for i := entries - 1; i >= 0; i-- {
		s.spare = append(s.spare, uint16(i))
	}
	return s, nil
}

// pick takes the block of a number out of the offer.
func (s *supply) pick(number uint16) *buf.Block {
	b := s.blocks[number]
	s.blocks[number] = nil
	s.spare = append(s.spare, number)
	s.offered--
	s.shares.offered--
	return b
}

// fill brings the offer up to what is wanted, as far as the pool can, just before the kernel is entered: the blocks
// that the turn gave back last are then the first on top of the pool.
func (s *supply) fill() {
	if s.offered >= s.want || !s.wanted {
		return
	}
	used := s.want - s.offered
	s.peak = max(s.peak, used)
	if s.turns++; s.turns >= supplyReview {
		s.review()
	}
	added := false
	for s.offered < s.want {
		if s.offered > 0 && s.shares.offered >= s.shares.most {
			break
		}
		if s.offered >= s.least && s.pool.Left() <= s.pool.Limit()/2 {
			break // what is on offer is no use to anybody else
		}
		b := s.pool.TakeInput()
		if b == nil {
			break
		}
		number := s.spare[len(s.spare)-1]
		s.spare = s.spare[:len(s.spare)-1]
		s.blocks[number] = b
		s.ring.Add(number, b.Bytes())
		s.offered++
		s.shares.offered++
		added = true
	}
	if added {
		s.ring.Publish()
	}
}

// withdraw takes back what is on offer beyond the least. All outcomes of the ring must have been collected: the kernel
// then has used none of it, because it looks at the offer only inside an enter.
func (s *supply) withdraw() {
	if s.want = s.least; s.offered <= s.want {
		return
	}
	for s.offered > s.want {
		number := s.ring.Withdraw()
		s.pick(number).Release()
	}
	s.ring.Publish()
}

func (s *supply) review() {
	for s.want > s.least && s.want >= 4*s.peak {
		s.want /= 2
	}
	s.turns, s.peak = 0, 0
}

// exhausted is told that the kernel found no block. It reports whether it is worth trying again.
func (s *supply) exhausted() bool {
	if s.offered == 0 || s.offered < s.want/2 {
		s.want = min(2*s.want, s.most)
		if s.shares.offered >= s.shares.most {
			s.shares.reclaim()
		}
	}
	s.fill()
	return s.offered > 0
}

// close takes the offer back.
func (s *supply) close() {
	if s.ring == nil {
		return
	}
	s.ring.Close()
	for _, b := range s.blocks {
		if b != nil {
			b.Release()
			s.shares.offered--
		}
	}
	s.blocks, s.ring = nil, nil
}
