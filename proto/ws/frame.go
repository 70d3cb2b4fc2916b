package ws

import (
	"encoding/binary"
	"unicode/utf8"
)

// HeaderBytes is the longest header of a frame.
const HeaderBytes = 14

const (
	finalBit    = 0x80
	deflatedBit = 0x40 // RSV1
	otherBits   = 0x30 // RSV2 and RSV3, which no extension here gives a meaning
	maskBit     = 0x80

	length16 = 126 // two bytes of length follow
	length64 = 127 // eight bytes of length follow
)

// Header is what stands before the payload of a frame. (RFC 6455 section 5.2)
type Header struct {
	// Length is the size of the payload in bytes.
	Length int64
	Mask   [4]byte
	Opcode Opcode
	// Final says that it is the last frame of its message, Deflated that RSV1 is set, and Masked that there is a Mask.
	Final, Deflated, Masked bool
}

// ParseHeader reads a header. It returns how many bytes it takes; zero without an error means that more must come. What
// is wrong is found with the first byte that makes it wrong, whatever pieces the header comes in.
func ParseHeader(in []byte) (h Header, n int, err error) {
	if len(in) == 0 {
		return h, 0, nil
	}
	h.Opcode = Opcode(in[0] & 0xF)
	h.Final, h.Deflated = in[0]&finalBit != 0, in[0]&deflatedBit != 0
	switch {
	case in[0]&otherBits != 0:
		return h, 0, ErrReserved
	case !h.Opcode.defined():
		return h, 0, ErrOpcode
	case h.Opcode.control() && h.Deflated:
		return h, 0, ErrReserved
	case h.Opcode.control() && !h.Final:
		return h, 0, ErrControlPart
	case len(in) == 1:
		return h, 0, nil
	}
	h.Masked, h.Length = in[1]&maskBit != 0, int64(in[1]&^maskBit)
	if h.Opcode.control() && h.Length > ControlBytes {
		return h, 0, ErrControlSize
	}
	n = 2
	switch h.Length {
	case length16:
		if len(in) < 4 {
			return h, 0, nil
		}
		if h.Length, n = int64(binary.BigEndian.Uint16(in[2:])), 4; h.Length < length16 {
			return h, 0, ErrLength
		}
	case length64:
		if len(in) < 10 {
			return h, 0, nil
		}
		// The highest bit must not be set: such a length is negative here.
		if h.Length, n = int64(binary.BigEndian.Uint64(in[2:])), 10; h.Length < 1<<16 {
			return h, 0, ErrLength
		}
	}
	if h.Masked {
		if len(in) < n+4 {
			return h, 0, nil
		}
		h.Mask, n = [4]byte(in[n:]), n+4
	}
	return h, n, nil
}

// AppendHeader appends a header, with the length in the fewest bytes.
func AppendHeader(dst []byte, h Header) []byte {
	first, second := byte(h.Opcode), byte(0)
	if h.Final {
		first |= finalBit
	}
	if h.Deflated {
		first |= deflatedBit
	}
	if h.Masked {
		second = maskBit
	}
	switch {
	case h.Length < length16:
		dst = append(dst, first, second|byte(h.Length))
	case h.Length < 1<<16:
		dst = append(dst, first, second|length16)
		dst = binary.BigEndian.AppendUint16(dst, uint16(h.Length))
	default:
		dst = append(dst, first, second|length64)
		dst = binary.BigEndian.AppendUint64(dst, uint64(h.Length))
	}
	if h.Masked {
		dst = append(dst, h.Mask[:]...)
	}
	return dst
}

// ParseClose reads the payload of a close frame: its code, which is CodeNone if it is empty, and its reason, which lies
// in the payload. (RFC 6455 section 5.5.1)
func ParseClose(payload []byte) (code Code, reason []byte, err error) {
	switch len(payload) {
	case 0:
		return CodeNone, nil, nil
	case 1:
		return CodeProtocol, nil, ErrCloseSize
	}
	code, reason = Code(binary.BigEndian.Uint16(payload)), payload[2:]
	switch {
	case !code.Sendable():
		return code, nil, ErrCloseCode
	case !utf8.Valid(reason):
		return code, nil, ErrCloseReason
	}
	return code, reason, nil
}

// AppendClose appends the payload of a close frame. CodeNone gives an empty one; any other code that must not be sent
// becomes CodeProtocol. A reason that is too long is cut between two characters.
func AppendClose(dst []byte, code Code, reason string) []byte {
	if code == CodeNone {
		return dst
	}
	if !code.Sendable() {
		code = CodeProtocol
	}
	if len(reason) > ReasonBytes {
		n := ReasonBytes
		for n > ReasonBytes-utf8.UTFMax && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}
