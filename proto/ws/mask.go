package ws

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// Mask puts a mask on bytes, or takes it off: each is combined with the byte of the key whose turn it is. It returns
// the key turned so that it goes on with what follows. (RFC 6455 section 5.3)
func Mask(p []byte, key [4]byte) [4]byte {
	word := binary.LittleEndian.Uint32(key[:])
	if word == 0 {
		return key
	}
	long := uint64(word)<<32 | uint64(word)
	// Four words at a time: each step of the loop costs as much as a word.
	for len(p) >= 32 {
		q := p[:32:32]
		binary.LittleEndian.PutUint64(q, binary.LittleEndian.Uint64(q)^long)
		binary.LittleEndian.PutUint64(q[8:], binary.LittleEndian.Uint64(q[8:])^long)
		binary.LittleEndian.PutUint64(q[16:], binary.LittleEndian.Uint64(q[16:])^long)
		binary.LittleEndian.PutUint64(q[24:], binary.LittleEndian.Uint64(q[24:])^long)
		p = p[32:]
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^long)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= byte(word)
		word = bits.RotateLeft32(word, -8)
	}
	binary.LittleEndian.PutUint32(key[:], word)
	return key
}

// Masks makes the keys of a client. They must not be foreseen by whoever chooses what is sent, or proxies in between
// could be made to see requests in it (RFC 6455 section 10.3). It is for one thread of control.
type Masks struct{ source *rand.ChaCha8 }

// NewMasks makes keys out of a seed, which has to come from a source of real randomness. Tests may choose it.
func NewMasks(seed [32]byte) *Masks { return &Masks{rand.NewChaCha8(seed)} }

// Next is a key that has not been used.
func (m *Masks) Next() (key [4]byte) {
	binary.LittleEndian.PutUint32(key[:], uint32(m.source.Uint64()))
	return key
}
