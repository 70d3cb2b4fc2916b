package http1

import (
	"encoding/binary"
	"math/bits"
)

// The classes of bytes, one bit each, so that one table answers every "may this byte stand here".
const (
	tokenByte   = 1 << iota // tchar, RFC 9110 section 5.6.2
	pathByte                // visible ASCII but '#' and '?'
	queryByte               // visible ASCII but '#'
	valueByte               // HTAB, SP, visible ASCII, obs-text: RFC 9110 section 5.5
	hostByte                // unreserved and sub-delims: RFC 3986 section 2
	quotedByte              // qdtext, RFC 9110 section 5.6.4
	controlByte             // what valueByte is not, and HTAB: where the scan of a value has to look closer
)

var class = classes()

func classes() (table [256]uint8) {
	for i := range table {
		c := byte(i)
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		visible := c > ' ' && c < 0x7f
		if alphanumeric || within(c, "!#$%&'*+-.^_`|~") {
			table[c] |= tokenByte
		}
		if visible && c != '#' {
			table[c] |= queryByte
			if c != '?' {
				table[c] |= pathByte
			}
		}
		if alphanumeric || within(c, "-._~!$&'()*+,;=") {
			table[c] |= hostByte
		}
		if visible || c == ' ' || c == '\t' || c >= 0x80 {
			table[c] |= valueByte
			if c != '"' && c != '\\' {
				table[c] |= quotedByte
			}
		}
		if c < ' ' || c == 0x7f {
			table[c] |= controlByte
		}
	}
	return table
}

func within(c byte, set string) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x8080808080808080
)

// nextControl returns the offset of the first byte at or after i that is a control character (HTAB is one), or
// len(in). Eight bytes are looked at in one step: a subtraction borrows into the high bit of a byte below SP, and of
// a byte that is zero once DEL has been taken from it. A borrow can mark bytes above a true mark, never below, so the
// lowest mark is always true.
func nextControl(in []byte, i int) int {
	for i+8 <= len(in) {
		x := binary.LittleEndian.Uint64(in[i:])
		del := x ^ 0x7f*everyByte
		marks := ((x-' '*everyByte)&^x | (del-everyByte)&^del) & highBits
		if marks != 0 {
			return i + bits.TrailingZeros64(marks)>>3
		}
		i += 8
	}
	for i < len(in) && class[in[i]]&controlByte == 0 {
		i++
	}
	return i
}

// EqualFold reports whether b is lower in any case of its letters. lower is lower-case ASCII.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// TrimSpace cuts optional whitespace (SP and HTAB, RFC 9110 section 5.6.3) from both ends.
func TrimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// isToken reports whether b is one or more tchar.
func isToken[B ~[]byte | ~string](b B) bool {
	for i := range len(b) {
		if class[b[i]]&tokenByte == 0 {
			return false
		}
	}
	return len(b) > 0
}
