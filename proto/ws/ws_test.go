package ws_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/myriad-server/myriad/proto/ws"
)

// maskBytes is what Mask does, one byte after the other.
func maskBytes(p []byte, key [4]byte) {
	for i := range p {
		p[i] ^= key[i&3]
	}
}

// TestMask compares masking with the plain way, at all lengths and offsets of a few words, in one piece and in two.
func TestMask(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	room := make([]byte, 128)
	for from := range 9 {
		for n := range len(room) - from {
			key := [4]byte{byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())}
			if n%17 == 0 {
				key = [4]byte{}
			}
			for i := range room {
				room[i] = byte(random.Uint32())
			}
			want := bytes.Clone(room)
			maskBytes(want[from:from+n], key)
			cut := from + random.IntN(n+1)
			ws.Mask(room[cut:from+n], ws.Mask(room[from:cut], key))
			if !bytes.Equal(room, want) {
				t.Fatalf("%d bytes from %d on, cut at %d, key %x", n, from, cut, key)
			}
		}
	}
}

// TestMasks wants keys that differ, and the same ones for the same seed.
func TestMasks(t *testing.T) {
	one, two := ws.NewMasks([32]byte{1}), ws.NewMasks([32]byte{1})
	seen := map[[4]byte]bool{}
	for range 1000 {
		key := one.Next()
		if seen[key] || key != two.Next() {
			t.Fatalf("key %x comes twice, or not again", key)
		}
		seen[key] = true
	}
}

// TestClose writes close frames and reads them, also with what must not be sent.
func TestClose(t *testing.T) {
	for code := range ws.Code(6000) {
		payload := ws.AppendClose(nil, code, "because")
		got, reason, err := ws.ParseClose(payload)
		switch {
		case code == ws.CodeNone:
			if len(payload) != 0 || got != ws.CodeNone {
				t.Errorf("no code: %x, %d", payload, got)
			}
		case err != nil || string(reason) != "because":
			t.Errorf("code %d: %q, %v", code, reason, err)
		case code.Sendable() && got != code, !code.Sendable() && got != ws.CodeProtocol:
			t.Errorf("code %d becomes %d", code, got)
		}
	}
	for _, letter := range []string{"x", "ß", "€", "𐍈"} {
		for shift := range 4 {
			payload := ws.AppendClose(nil, ws.CodeNormal, strings.Repeat(".", shift)+strings.Repeat(letter, 200))
			_, reason, err := ws.ParseClose(payload)
			if err != nil || len(payload) > ws.ControlBytes || len(reason) <= ws.ReasonBytes-len(letter) {
				t.Errorf("a long reason of %q: %d bytes, %v", letter, len(payload), err)
			}
		}
	}
}

// pair is an encoder and the decoder of its peer.
func pair(client bool, agreed ws.Extension) (ws.Encoder, *ws.Decoder) {
	e := ws.Encoder{Agreed: agreed, Least: 1}
	if client {
		e.Masks = ws.NewMasks([32]byte{7})
	}
	d := new(ws.Decoder)
	d.Start(ws.NewRules(ws.Limits{}, !client), agreed)
	return e, d
}

// TestEncoder sends messages in both directions, with every window, and wants them back, small ones compressed only if
// that makes them smaller.
func TestEncoder(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for bits := uint8(7); bits <= ws.WindowBits; bits++ {
		for _, client := range []bool{false, true} {
			agreed := ws.Extension{On: bits > 7, Bits: bits}
			e, d := pair(client, agreed)
			messages := 40
			if race {
				messages = 8
			}
			for i := range messages {
				p := bytes.Repeat([]byte("some words that come again and again; "), random.IntN(1<<(i%8)))
				if i%3 == 0 {
					p = make([]byte, random.IntN(70_000))
					for i := range p {
						p[i] = byte(random.Uint32())
					}
				}
				b := e.AppendMessage([]byte("before"), ws.Binary, p)
				if len(b) > len("before")+len(p)+ws.HeaderBytes {
					t.Fatalf("%d bytes became %d", len(p), len(b))
				}
				opcode, got, used, err := d.Next(bytes.Clone(b[len("before"):]))
				if err != nil || opcode != ws.Binary || !bytes.Equal(got, p) || used != len(b)-len("before") {
					t.Fatalf("window %d, client %t, message %d of %d bytes: %v, %v, %d", bits, client, i, len(p), err, opcode, used)
				}
			}
			if d.Release(); !d.Between() || d.Holds() {
				t.Error("the decoder holds something between two messages")
			}
		}
	}
}

// TestKept reads messages that refer to earlier ones, far more of them than the window has room for.
func TestKept(t *testing.T) {
	agreed := ws.Extension{On: true, Bits: ws.WindowBits, Kept: true}
	_, d := pair(true, agreed)
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 6)
	if err != nil {
		t.Fatal(err)
	}
	e := ws.Encoder{Masks: ws.NewMasks([32]byte{})}
	random, small := rand.New(rand.NewPCG(3, 3)), 0
	words := make([]byte, 3000)
	for i := range words {
		words[i] = byte(random.Uint32())
	}
	for i := range 300 {
		p := words[random.IntN(1000):][:random.IntN(2000)]
		out.Reset()
		_, _ = w.Write(p)
		_ = w.Flush()
		payload := bytes.TrimSuffix(out.Bytes(), []byte{0, 0, 0xFF, 0xFF})
		if len(payload) < len(p)/4 {
			small++
		}
		frame := e.AppendFrame(nil, ws.Header{Opcode: ws.Binary, Final: true, Deflated: true}, payload)
		if opcode, got, _, err := d.Next(frame); err != nil || opcode != ws.Binary || !bytes.Equal(got, p) {
			t.Fatalf("message %d: %v, %v, %d bytes", i, err, opcode, len(got))
		}
	}
	if small < 200 {
		t.Errorf("only %d messages refer to earlier ones", small)
	}
}

// TestDeflated reads compressed messages that are special.
func TestDeflated(t *testing.T) {
	bomb := ws.AppendDeflated(nil, make([]byte, 8<<20), 9, ws.WindowBits)
	fits := ws.AppendDeflated(nil, make([]byte, 1<<20), 9, ws.WindowBits)
	for _, test := range []struct {
		name    string
		opcode  ws.Opcode
		payload []byte
		want    int
		err     error
	}{
		// The examples of RFC 7692 section 7.2.3.
		{"hello", ws.Text, []byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}, 5, nil},
		{"a stored block", ws.Text, []byte{0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00}, 5, nil},
		{"a last block within", ws.Text, []byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}, 5, nil},
		{"two blocks", ws.Text, []byte{
			0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
		}, 5, nil},
		{"nothing", ws.Text, []byte{0x00}, 0, nil},
		{"as much as may be", ws.Binary, fits, 1 << 20, nil},
		{"a bomb", ws.Binary, bomb, 0, ws.ErrMessageSize},
		{"no text", ws.Text, ws.AppendDeflated(nil, []byte{0xFF}, 1, ws.WindowBits), 0, ws.ErrText},
		{"a block of no kind", ws.Binary, []byte{0xFF, 0xFF}, 0, ws.ErrDeflate},
		{"cut short", ws.Binary, []byte{0xf2, 0x48, 0xcd}, 0, ws.ErrDeflate},
		{"a reference to before the beginning", ws.Binary, []byte{0x4a, 0x04, 0x52, 0x00}, 0, ws.ErrDeflate},
	} {
		e, d := pair(true, ws.Extension{On: true, Bits: ws.WindowBits})
		frame := e.AppendFrame(nil, ws.Header{Opcode: test.opcode, Final: true, Deflated: true}, test.payload)
		_, got, _, err := d.Next(frame)
		if !errors.Is(err, test.err) || len(got) != test.want || test.want == 5 && string(got) != "Hello" {
			t.Errorf("%s: %v, %d bytes", test.name, err, len(got))
		}
		if err != nil && d.Holds() {
			t.Errorf("%s: a decoder that failed holds memory", test.name)
		}
	}
}

// TestLimits wants frames and messages refused by what their headers say, before they come.
func TestLimits(t *testing.T) {
	rules := ws.NewRules(ws.Limits{MessageBytes: 1000, FrameBytes: 600}, false)
	e := ws.Encoder{Masks: ws.NewMasks([32]byte{})}
	part := func(opcode ws.Opcode, final bool, n int) []byte {
		return e.AppendFrame(nil, ws.Header{Opcode: opcode, Final: final}, make([]byte, n))
	}
	head := func(b []byte) []byte { return b[:8] }
	for _, test := range []struct {
		name  string
		sent  [][]byte
		err   error
		count int
	}{
		{"the largest frame", [][]byte{part(ws.Binary, true, 600)}, nil, 1},
		{"one byte more", [][]byte{head(part(ws.Binary, true, 601))}, ws.ErrFrameSize, 0},
		{"the largest message", [][]byte{part(ws.Binary, false, 600), part(0, true, 400)}, nil, 1},
		{"one byte more", [][]byte{part(ws.Binary, false, 600), head(part(0, true, 401))}, ws.ErrMessageSize, 0},
		{"two large ones", [][]byte{
			part(ws.Binary, false, 600), part(0, true, 400), part(ws.Binary, false, 600), part(0, true, 400),
		}, nil, 2},
	} {
		var d ws.Decoder
		d.Start(rules, ws.Extension{})
		count := 0
		in := bytes.Join(test.sent, nil)
		for {
			opcode, _, used, err := d.Next(in)
			in = in[used:]
			if opcode == ws.Binary {
				count++
			}
			if err != nil || opcode == ws.Continuation {
				if !errors.Is(err, test.err) || count != test.count {
					t.Errorf("%s: %v and %d messages", test.name, err, count)
				}
				break
			}
		}
	}
	// What is announced and does not come takes no memory.
	var d ws.Decoder
	d.Start(ws.NewRules(ws.Limits{MessageBytes: 1 << 40}, false), ws.Extension{})
	announced := ws.AppendHeader(nil, ws.Header{Opcode: ws.Binary, Final: true, Masked: true, Length: 1 << 39})
	if _, _, used, err := d.Next(announced); err != nil || used != len(announced) || d.Holds() {
		t.Errorf("%v, %d bytes used; memory: %t", err, used, d.Holds())
	}
}

// TestSides wants masks from clients and none from servers, and an error that stays.
func TestSides(t *testing.T) {
	for _, client := range []bool{true, false} {
		e, d := pair(client, ws.Extension{})
		other, _ := pair(!client, ws.Extension{})
		if opcode, p, _, err := d.Next(e.AppendControl(nil, ws.Ping, []byte("a"))); opcode != ws.Ping || string(p) != "a" {
			t.Errorf("client %t: %v, %v", client, opcode, err)
		}
		want := error(ws.ErrMasked)
		if client {
			want = ws.ErrUnmasked
		}
		_, _, _, err := d.Next(other.AppendControl(nil, ws.Ping, nil))
		_, _, _, again := d.Next(e.AppendControl(nil, ws.Ping, nil))
		if !errors.Is(err, want) || !errors.Is(again, want) {
			t.Errorf("client %t: %v, then %v", client, err, again)
		}
	}
}

// TestInPlace wants a message that comes whole to be returned where it lies, and nothing allocated for it; nor for
// one in fragments, once memory for it was borrowed before.
func TestInPlace(t *testing.T) {
	e, d := pair(true, ws.Extension{})
	p := bytes.Repeat([]byte("où "), 1000)
	frame := e.AppendMessage(nil, ws.Text, p)
	sent := bytes.Clone(frame)
	room := bytes.Clone(frame)
	if _, got, _, _ := d.Next(room); &got[0] != &room[len(room)-len(p)] || !utf8.Valid(got) {
		t.Fatal("a whole message is not returned from where it was received")
	}
	halves := append(e.AppendFrame(nil, ws.Header{Opcode: ws.Text}, p[:100]),
		e.AppendFrame(nil, ws.Header{Final: true}, p[100:])...)
	allocated := testing.AllocsPerRun(100, func() {
		copy(room, sent)
		if opcode, _, _, err := d.Next(room); opcode != ws.Text {
			t.Fatal(err)
		}
	})
	pieces := testing.AllocsPerRun(100, func() {
		in := append(room[:0], halves...)
		if opcode, _, _, err := d.Next(in); opcode != ws.Text {
			t.Fatal(err)
		}
		d.Release()
	})
	if allocated > 0 || pieces > 0 && !race {
		t.Errorf("a message takes %v allocations, one in fragments %v", allocated, pieces)
	}
}
