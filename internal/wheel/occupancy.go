package wheel

import "math/bits"

// occupancy tells which buckets are not empty: a bit for each, and above them a bit for each word of 64, so that
// finding the next of 65,536 buckets reads at most 18 words.
type occupancy struct {
	words   []uint64
	summary []uint64
}

// newOccupancy returns an occupancy of count empty buckets; count is a power of two and at least 64.
func newOccupancy(count uint32) occupancy {
	words := count / 64
	return occupancy{
		words:   make([]uint64, words),
		summary: make([]uint64, (words+63)/64),
	}
}

func (o *occupancy) set(bucket uint32) {
	word := bucket / 64
	o.words[word] |= 1 << (bucket % 64)
	o.summary[word/64] |= 1 << (word % 64)
}

func (o *occupancy) clear(bucket uint32) {
	word := bucket / 64
	o.words[word] &^= 1 << (bucket % 64)
	if o.words[word] == 0 {
		o.summary[word/64] &^= 1 << (word % 64)
	}
}

// next returns the first occupied bucket at or after from, going round past the last one; none when all are empty.
func (o *occupancy) next(from uint32) uint32 {
	word := from / 64
	if rest := o.words[word] &^ (1<<(from%64) - 1); rest != 0 {
		return word*64 + uint32(bits.TrailingZeros64(rest))
	}
	after := word + 1
	index := int(after / 64)
	if index < len(o.summary) {
		if rest := o.summary[index] &^ (1<<(after%64) - 1); rest != 0 {
			return o.first(index, rest)
		}
		index++
	}
	for ; index < len(o.summary); index++ {
		if o.summary[index] != 0 {
			return o.first(index, o.summary[index])
		}
	}
	// Past the end: whatever comes first from the beginning, at the latest the part of from's word before from.
	for index, rest := range o.summary {
		if rest != 0 {
			return o.first(index, rest)
		}
	}
	return none
}

// first returns the lowest bucket of the lowest occupied word among those that rest names in a word of the summary.
func (o *occupancy) first(index int, rest uint64) uint32 {
	word := uint32(index*64 + bits.TrailingZeros64(rest))
	return word*64 + uint32(bits.TrailingZeros64(o.words[word]))
}
