// Package wstest is a table of what a WebSocket server must do, for codecs and servers of any make: what a client
// sends, and what has to come back. Its cases are those of the Autobahn test suite, by the same numbers, so that
// results can be laid side by side. The server under test echoes each message as the kind that it was.
//
// The package writes and reads frames with code of its own, so that a mistake in the codec under test is not made
// twice.
package wstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Case is one row of the table.
type Case struct {
	// Number is that of Autobahn, such as "5.19".
	Number string
	// What says in a few words what is tested.
	What string
	// Offer is the value of Sec-WebSocket-Extensions in the client's request; without one the field is left out. Bits, if
	// set, is the largest window that the client asks the server to use.
	Offer string
	Bits  int
	// Chop is how many bytes the client sends at a time; zero: as many as it can.
	Chop int
	// Bytes is about how much the messages have in all, where that is much.
	Bytes int

	build func(s *Script)
}

// Script is what happens on the connection of a case, behind the handshake.
type Script struct {
	// Send is all that the client sends, and Frames where in it each frame begins.
	Send   []byte
	Frames []int
	// Waits are the places in Send at which the client waits until there have been as many replies.
	Waits []Wait
	// Want are the replies. The last one is a close frame, behind which the server ends the connection.
	Want []Reply

	deflates bool
	keys     uint32
}

// Wait is a place in what the client sends, and how many replies there have to be before it goes on; no more than these
// may have come.
type Wait struct{ At, Replies int }

// Reply is a message or a control frame of the server.
type Reply struct {
	// Opcode is that of RFC 6455 section 5.2.
	Opcode  byte
	Payload []byte
	// Code is that of a close frame; 0 if it has none.
	Code uint16
}

// The opcodes.
const (
	continuation = 0x0
	text         = 0x1
	binaryData   = 0x2
	closing      = 0x8
	ping         = 0x9
	pong         = 0xA

	final = 0x80
)

// normal, protocol and payload are the codes of close frames that the cases want.
const (
	normal      = 1000
	protocol    = 1002
	badPayload  = 1007
	maskedBit   = 0x80
	keyMultiple = 2654435761
)

// Script puts the case together. Large ones take as much memory as they send.
func (c *Case) Script() *Script {
	s := &Script{deflates: c.Offer != "", keys: 1}
	c.build(s)
	return s
}

// frame has the client send a frame. first is its first byte: final, the reserved bits and the opcode.
func (s *Script) frame(first byte, payload []byte) {
	s.head(first, len(payload))
	s.body(payload, 0)
}

// head sends the header of a frame with a new mask.
func (s *Script) head(first byte, n int) {
	s.Frames = append(s.Frames, len(s.Send))
	s.Send = append(s.Send, first)
	switch {
	case n < 126:
		s.Send = append(s.Send, maskedBit|byte(n))
	case n < 65536:
		s.Send = binary.BigEndian.AppendUint16(append(s.Send, maskedBit|126), uint16(n))
	default:
		s.Send = binary.BigEndian.AppendUint64(append(s.Send, maskedBit|127), uint64(n))
	}
	s.keys = s.keys*keyMultiple + 12345
	s.Send = binary.BigEndian.AppendUint32(s.Send, s.keys)
}

// body sends payload of the frame whose header was sent last, of which at bytes have been sent.
func (s *Script) body(payload []byte, at int) {
	var key [4]byte
	binary.BigEndian.PutUint32(key[:], s.keys)
	from := len(s.Send)
	s.Send = append(s.Send, payload...)
	for i := range payload {
		s.Send[from+i] ^= key[(at+i)%4]
	}
}

// wait has the client wait for all replies so far.
func (s *Script) wait() { s.Waits = append(s.Waits, Wait{len(s.Send), len(s.Want)}) }

// wants expects a reply.
func (s *Script) wants(opcode byte, payload []byte) {
	s.Want = append(s.Want, Reply{Opcode: opcode, Payload: payload})
}

// fails expects the server to end the connection with a code.
func (s *Script) fails(code uint16) { s.Want = append(s.Want, Reply{Opcode: closing, Code: code}) }

// leaves has the client close in order, and expects the same of the server.
func (s *Script) leaves() {
	s.frame(final|closing, []byte{normal >> 8, normal & 0xFF})
	s.fails(normal)
}

// fragments sends a message in frames of a size. reserved is set in the first of them.
func (s *Script) fragments(opcode, reserved byte, payload []byte, size int) {
	first := opcode | reserved
	for len(payload) > size {
		s.frame(first, payload[:size])
		first, payload = continuation, payload[size:]
	}
	s.frame(final|first, payload)
}

// Reader reads what a server sends behind its handshake. It is strict about all that a server must not do.
type Reader struct {
	// Replies are those that are complete: messages put together and decompressed.
	Replies []Reply

	script         *Script
	bits           int
	rest, whole    []byte
	kind, reserved byte
}

// Reader makes a reader of the replies to a script of the case.
func (c *Case) Reader(s *Script) *Reader { return &Reader{script: s, bits: c.Bits} }

// Feed takes the next bytes.
func (r *Reader) Feed(sent []byte) error {
	r.rest = append(r.rest, sent...)
	at := r.rest
	for {
		first, payload, n, err := one(at)
		if err != nil {
			return err
		}
		if n == 0 {
			r.rest = r.rest[:copy(r.rest, at)]
			return nil
		}
		if err := r.frame(first, bytes.Clone(payload)); err != nil {
			return err
		}
		at = at[n:]
	}
}

// Rest is how many bytes of an incomplete frame have come.
func (r *Reader) Rest() int { return len(r.rest) }

// frame takes a frame.
func (r *Reader) frame(first byte, payload []byte) (err error) {
	opcode := first & 0xF
	switch {
	case opcode >= closing:
		if first&0xF0 != final || len(payload) > 125 {
			return fmt.Errorf("a control frame begins with %#x and has %d bytes", first, len(payload))
		}
		reply := Reply{Opcode: opcode, Payload: payload}
		if opcode == closing && len(payload) >= 2 {
			reply.Code, reply.Payload = binary.BigEndian.Uint16(payload), nil
		}
		r.Replies = append(r.Replies, reply)
		return nil
	case (opcode == continuation) == (r.kind == 0):
		return fmt.Errorf("opcode %d within a message of kind %d", opcode, r.kind)
	case first&0x30 != 0 || first&0x40 != 0 && (!r.script.deflates || opcode == continuation):
		return fmt.Errorf("a frame begins with %#x", first)
	case opcode != continuation:
		r.kind, r.reserved = opcode, first&0x40
	}
	if r.whole = append(r.whole, payload...); first&final == 0 {
		return nil
	}
	whole := r.whole
	if r.reserved != 0 {
		if whole, err = inflate(whole, r.bits); err != nil {
			return err
		}
	}
	r.Replies = append(r.Replies, Reply{Opcode: r.kind, Payload: whole})
	r.kind, r.whole = 0, nil
	return nil
}

// one reads a frame of a server.
func one(in []byte) (first byte, payload []byte, n int, err error) {
	if len(in) < 2 {
		return 0, nil, 0, nil
	}
	if in[1]&maskedBit != 0 {
		return 0, nil, 0, fmt.Errorf("a frame of the server is masked")
	}
	size, n := uint64(in[1]), 2
	switch size {
	case 126:
		if n = 4; len(in) < n {
			return 0, nil, 0, nil
		}
		size = uint64(binary.BigEndian.Uint16(in[2:]))
	case 127:
		if n = 10; len(in) < n {
			return 0, nil, 0, nil
		}
		size = binary.BigEndian.Uint64(in[2:])
	}
	if n == 4 && size < 126 || n == 10 && size < 65536 {
		return 0, nil, 0, fmt.Errorf("a length of %d takes %d bytes", size, n)
	}
	if uint64(len(in)-n) < size {
		return 0, nil, 0, nil
	}
	return in[0], in[n:][:size], n + int(size), nil
}

// Check compares the replies from the first one on with those that are wanted, as far as they go; all says that there
// will be no more.
func (s *Script) Check(first int, replies []Reply, all bool) error {
	for i := first; i < len(replies); i++ {
		r := replies[i]
		if i >= len(s.Want) {
			return fmt.Errorf("reply %d, %v, is not wanted", i, r)
		}
		w := s.Want[i]
		if r.Opcode != w.Opcode || r.Code != w.Code || r.Opcode != closing && !bytes.Equal(r.Payload, w.Payload) {
			return fmt.Errorf("reply %d is %v, not %v", i, r, w)
		}
	}
	if all && len(replies) < len(s.Want) {
		return fmt.Errorf("%d replies, not %d: %v is missing", len(replies), len(s.Want), s.Want[len(replies)])
	}
	return nil
}

// String shows a reply shortly.
func (r Reply) String() string {
	if r.Opcode == closing {
		return fmt.Sprintf("close %d", r.Code)
	}
	return fmt.Sprintf("opcode %d with %d bytes, %.40q", r.Opcode, len(r.Payload), r.Payload)
}

// Agreed checks the Sec-WebSocket-Extensions field of the server's answer against what the case offers.
func (c *Case) Agreed(answer string) error {
	if c.Offer == "" {
		if answer != "" {
			return fmt.Errorf("an extension that was not offered: %q", answer)
		}
		return nil
	}
	parts := strings.Split(answer, ";")
	if strings.TrimSpace(parts[0]) != "permessage-deflate" {
		return fmt.Errorf("no compression: %q", answer)
	}
	has := map[string]bool{}
	for _, p := range parts[1:] {
		has[strings.TrimSpace(p)] = true
	}
	first, _, _ := strings.Cut(c.Offer, ",")
	if strings.Contains(first, "server_no_context_takeover") && !has["server_no_context_takeover"] {
		return fmt.Errorf("the server keeps its context: %q", answer)
	}
	if c.Bits > 0 && !has[fmt.Sprintf("server_max_window_bits=%d", c.Bits)] {
		return fmt.Errorf("the window is not of %d bits: %q", c.Bits, answer)
	}
	// The cases compress each message by itself, which every server must understand.
	return nil
}
