package ws

import "encoding/binary"

// text checks that bytes which come in pieces are UTF-8. Its zero value is at the beginning of a character.
type text struct {
	need      uint8 // bytes that the character still lacks
	low, high uint8 // between which the next of them must be
}

// add takes the next piece. It reports false with the first byte that no text can go on with.
func (t *text) add(p []byte) bool {
	const ascii = 0x8080808080808080
	need, low, high := t.need, t.low, t.high
	for i := 0; i < len(p); i++ {
		if need > 0 {
			if p[i] < low || p[i] > high {
				return false
			}
			need, low, high = need-1, 0x80, 0xBF
			continue
		}
		for len(p)-i >= 8 && binary.LittleEndian.Uint64(p[i:])&ascii == 0 {
			i += 8
		}
		if i == len(p) {
			break
		}
		low, high = 0x80, 0xBF
		// The first byte says how long the character is; the second is bounded further, so that there is one way to
		// write each character, no half of a pair and nothing above U+10FFFF (Unicode, table 3-7).
		switch c := p[i]; {
		case c < 0x80:
		case c < 0xC2 || c > 0xF4:
			return false
		case c < 0xE0:
			need = 1
		case c < 0xF0:
			need = 2
			if c == 0xE0 {
				low = 0xA0
			} else if c == 0xED {
				high = 0x9F
			}
		default:
			need = 3
			if c == 0xF0 {
				low = 0x90
			} else if c == 0xF4 {
				high = 0x8F
			}
		}
	}
	t.need, t.low, t.high = need, low, high
	return true
}

// whole says that no character is incomplete.
func (t *text) whole() bool { return t.need == 0 }
