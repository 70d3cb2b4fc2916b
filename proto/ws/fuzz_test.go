package ws_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/proto/ws/wstest"
)

// fuzzedBytes is the largest message of the fuzz target.
const fuzzedBytes = 600

// thing is what a decoder returned.
type thing struct {
	opcode  byte
	payload string
}

// oracle reads what a peer sent with the simplest code there is: all of it at once, byte by byte, with a copy of
// everything. It returns what is complete, and the code of the refusal; 0: there is none.
type oracle struct {
	client, deflate, keep bool

	things   []thing
	kind     byte
	deflated bool
	message  []byte
	window   []byte
}

func (o *oracle) read(in []byte) uint16 {
	for {
		code, rest := o.frame(in)
		if code != 0 || rest == nil {
			return code
		}
		if n := len(o.things); n > 0 && o.things[n-1].opcode == 8 {
			return 0
		}
		in = rest
	}
}

// frame reads one frame. rest is nil if it is not complete.
func (o *oracle) frame(in []byte) (code uint16, rest []byte) {
	if len(in) == 0 {
		return 0, nil
	}
	final, rsv1, opcode := in[0]&0x80 != 0, in[0]&0x40 != 0, in[0]&0xF
	control := opcode >= 8
	if in[0]&0x30 != 0 || !slices.Contains([]byte{0, 1, 2, 8, 9, 10}, opcode) || control && (rsv1 || !final) {
		return 1002, nil
	}
	if len(in) == 1 {
		return 0, nil
	}
	masked, size, at := in[1]&0x80 != 0, uint64(in[1]&0x7F), 2
	if control && size > 125 {
		return 1002, nil
	}
	if wide := map[uint64]int{126: 2, 127: 8}[size]; wide > 0 {
		if len(in) < 2+wide {
			return 0, nil
		}
		var digits [8]byte
		copy(digits[8-wide:], in[2:2+wide])
		least := map[int]uint64{2: 126, 8: 65536}[wide]
		if size, at = binary.BigEndian.Uint64(digits[:]), 2+wide; size < least || size >= 1<<63 {
			return 1002, nil
		}
	}
	var key []byte
	if masked {
		if len(in) < at+4 {
			return 0, nil
		}
		key, at = in[at:at+4], at+4
	}
	deflated := rsv1 || opcode == 0 && o.deflated
	switch {
	case masked == o.client, opcode == 0 && o.kind == 0, opcode != 0 && !control && o.kind != 0:
		return 1002, nil
	case rsv1 && (opcode == 0 || !o.deflate):
		return 1002, nil
	case control:
	case size > ws.DeflatedMost(fuzzedBytes):
		return 1009, nil
	case !deflated && size+uint64(len(o.message)) > fuzzedBytes,
		deflated && size+uint64(len(o.message)) > ws.DeflatedMost(fuzzedBytes):
		return 1009, nil
	}
	complete := uint64(len(in)-at) >= size
	payload := bytes.Clone(in[at:])
	if complete {
		payload = payload[:size]
	}
	for i := range payload {
		if masked {
			payload[i] ^= key[i%4]
		}
	}
	if control {
		if complete {
			code = o.control(opcode, payload)
		}
	} else {
		code = o.data(opcode, deflated, final && complete, payload)
	}
	if code != 0 || !complete {
		return code, nil
	}
	return 0, in[at+int(size):]
}

func (o *oracle) control(opcode byte, payload []byte) uint16 {
	if opcode == 8 {
		if len(payload) == 1 {
			return 1002
		}
		if len(payload) > 1 {
			code := binary.BigEndian.Uint16(payload)
			ours := slices.Contains([]uint16{
				1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
			}, code)
			if !ours && (code < 3000 || code > 4999) {
				return 1002
			}
			if !utf8.Valid(payload[2:]) {
				return 1007
			}
		}
	}
	o.things = append(o.things, thing{opcode, string(payload)})
	return 0
}

func (o *oracle) data(opcode byte, deflated, done bool, payload []byte) uint16 {
	if opcode != 0 {
		o.kind, o.deflated = opcode, deflated
	}
	o.message = append(o.message, payload...)
	if o.kind == 1 && !o.deflated && !begins(o.message) {
		return 1007
	}
	if !done {
		return 0
	}
	whole := o.message
	if o.deflated {
		// What the sender has left out, and an empty last block, which shows that everything before it was whole.
		end := []byte{0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF}
		from := bytes.NewReader(append(bytes.Clone(whole), end...))
		plain, err := io.ReadAll(io.LimitReader(flate.NewReaderDict(from, o.window), fuzzedBytes+1))
		switch {
		case len(plain) > fuzzedBytes:
			return 1009
		case err != nil:
			return 1007
		case from.Len() >= len(end):
			return 0xFFFF // a stream ends within the message: what follows is beyond the oracle
		}
		whole = plain
		if o.keep {
			o.window = append(o.window, plain...)
		}
	}
	if o.kind == 1 && !utf8.Valid(whole) {
		return 1007
	}
	o.things = append(o.things, thing{o.kind, string(whole)})
	o.kind, o.message = 0, nil
	return 0
}

// begins says that bytes are the beginning of some text.
func begins(p []byte) bool {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			// What is cut short is a beginning if some bytes behind it make it a character.
			return !utf8.FullRune(p)
		}
		p = p[n:]
	}
	return true
}

// decode runs a decoder over bytes that come in pieces.
func decode(d *ws.Decoder, in []byte, cut func(at int) int) (things []thing, code uint16) {
	var rest []byte
	for at := 0; at < len(in); {
		n := min(max(cut(at), 1), len(in)-at)
		rest = append(rest, in[at:at+n]...)
		at += n
		for {
			opcode, payload, used, err := d.Next(rest)
			rest = bytes.Clone(rest[used:])
			if err != nil {
				return things, uint16(err.(*ws.Error).Code)
			}
			if opcode != ws.Continuation {
				things = append(things, thing{byte(opcode), string(payload)})
			} else if used == 0 || len(rest) == 0 {
				break
			}
			if opcode == ws.Close {
				return things, 0
			}
		}
	}
	return things, 0
}

// FuzzDecoder compares the decoder with the oracle, and with itself when the bytes come in pieces.
func FuzzDecoder(f *testing.F) {
	for i, c := range wstest.Cases(1) {
		if race && i%5 > 0 {
			continue // there is one goroutine only
		}
		if s := c.Script(); len(s.Send) < 300 {
			f.Add(s.Send, uint8(len(s.Frames)), c.Offer != "", false, false)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8, deflate, keep, client bool) {
		agreed := ws.Extension{On: deflate, Bits: ws.WindowBits, Kept: deflate && keep}
		rules := ws.NewRules(ws.Limits{MessageBytes: fuzzedBytes}, client)
		var whole, pieces ws.Decoder
		whole.Start(rules, agreed)
		pieces.Start(rules, agreed)
		things, code := decode(&whole, in, func(int) int { return len(in) })
		again, other := decode(&pieces, in, func(at int) int { return 1 + at*int(step)%7 })
		if !slices.Equal(things, again) || code != other {
			t.Fatalf("whole: %q, %d\nin pieces: %q, %d", things, code, again, other)
		}
		o := oracle{client: client, deflate: deflate, keep: keep}
		want := o.read(in)
		if want == 0xFFFF {
			return
		}
		if !slices.Equal(things, o.things) || code != want {
			t.Fatalf("%q, %d\nthe oracle says %q, %d", things, code, o.things, want)
		}
	})
}
