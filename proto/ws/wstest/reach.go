package wstest

import "errors"

// This file reads compressed data (RFC 1951) only to see how far back it refers: the standard library does not tell,
// and takes more than a peer with a small window could.

// errCompressed is compressed data that cannot be read.
var errCompressed = errors.New("malformed compressed data")

// tableOf is a canonical code: how many codes there are of each length, and their symbols in order.
type tableOf struct {
	count   [16]int
	symbols []int
}

// newTable makes the code in which symbol i has lengths[i] bits. (RFC 1951 section 3.2.2)
func newTable(lengths []int) (t tableOf) {
	for want := 1; want < len(t.count); want++ {
		for symbol, n := range lengths {
			if n == want {
				t.count[n]++
				t.symbols = append(t.symbols, symbol)
			}
		}
	}
	return t
}

// bitReader reads bits, the lowest first.
type bitReader struct {
	in  []byte
	at  int // in bits
	end bool
}

func (b *bitReader) bits(n int) (v int) {
	for i := range n {
		if b.at>>3 >= len(b.in) {
			b.end = true
			return 0
		}
		v |= int(b.in[b.at>>3]>>(b.at&7)&1) << i
		b.at++
	}
	return v
}

// symbol reads a symbol of a code.
func (b *bitReader) symbol(t *tableOf) int {
	code, first, index := 0, 0, 0
	for n := 1; n < len(t.count); n++ {
		code |= b.bits(1)
		if code-t.count[n] < first {
			return t.symbols[index+code-first]
		}
		index, first, code = index+t.count[n], (first+t.count[n])<<1, code<<1
	}
	b.end = true
	return -1
}

// reachOf is how far back compressed data refers at most. The data ends where it ends, within a block or not.
func reachOf(in []byte) (reach int, err error) {
	b := &bitReader{in: in}
	for !b.end && b.at < 8*len(in) {
		b.bits(1)
		switch b.bits(2) {
		case 0:
			b.at = (b.at + 7) &^ 7
			n := b.bits(16)
			b.bits(16)
			b.at += 8 * n
		case 1:
			lengths := make([]int, 288)
			for i := range lengths {
				lengths[i] = 8
				if i >= 144 && i < 256 {
					lengths[i] = 9
				} else if i >= 256 && i < 280 {
					lengths[i] = 7
				}
			}
			distances := make([]int, 30)
			for i := range distances {
				distances[i] = 5
			}
			reach = max(reach, b.block(newTable(lengths), newTable(distances)))
		case 2:
			reach = max(reach, b.block(b.tables()))
		default:
			return reach, errCompressed
		}
	}
	if b.end {
		return reach, errCompressed
	}
	return reach, nil
}

// tables reads the codes of a block. (RFC 1951 section 3.2.7)
func (b *bitReader) tables() (literals, distances tableOf) {
	order := [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	long, far, codes := b.bits(5)+257, b.bits(5)+1, b.bits(4)+4
	of := make([]int, len(order))
	for _, symbol := range order[:codes] {
		of[symbol] = b.bits(3)
	}
	t, lengths := newTable(of), make([]int, 0, long+far)
	for len(lengths) < long+far && !b.end {
		symbol, again, value := b.symbol(&t), 1, 0
		switch symbol {
		case 16:
			again = b.bits(2) + 3
			if len(lengths) > 0 {
				value = lengths[len(lengths)-1]
			}
		case 17:
			again = b.bits(3) + 3
		case 18:
			again = b.bits(7) + 11
		default:
			value = symbol
		}
		for range again {
			lengths = append(lengths, value)
		}
	}
	if len(lengths) != long+far {
		b.end = true
		return tableOf{}, tableOf{}
	}
	return newTable(lengths[:long]), newTable(lengths[long:])
}

// block reads symbols to the end of a block, and returns the largest distance.
func (b *bitReader) block(literals, distances tableOf) (reach int) {
	for !b.end {
		symbol := b.symbol(&literals)
		switch {
		case symbol == 256:
			return reach
		case symbol < 256:
			continue
		case symbol >= 265 && symbol < 285:
			b.bits((symbol - 261) >> 2)
		}
		code := b.symbol(&distances)
		distance := code + 1
		if code >= 4 {
			extra := code>>1 - 1
			distance = (2+code&1)<<extra + b.bits(extra) + 1
		}
		reach = max(reach, distance)
	}
	return reach
}
