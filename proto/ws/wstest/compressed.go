package wstest

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
)

// materials are what group 12 sends: like a file of JSON, a picture, prose, a page of HTML, and a file that is
// compressed already. They are made up, from a fixed seed.
var materials = []struct {
	name   string
	opcode byte
	make   func() []byte
}{
	{"JSON", text, sync.OnceValue(func() []byte {
		return written(`{"id":%d,"name":"%s","tags":["%s","%s"],"on":true},`)
	})},
	{"a picture", binaryData, sync.OnceValue(picture)},
	{"prose", binaryData, sync.OnceValue(func() []byte { return written("%[2]s %[3]s, %[4]s und %[2]s. ") })},
	{"HTML", binaryData, sync.OnceValue(func() []byte {
		return written(`<tr class="row"><td>%d</td><td><a href="/%s">%s</a> %s</td></tr>` + "\n")
	})},
	{"a compressed file", binaryData, sync.OnceValue(noise)},
}

// materialBytes is the size of each of them; messages go round in it.
const materialBytes = 200_000

// written is text after a pattern.
func written(pattern string) []byte {
	words := strings.Fields("habe nun ach Philosophie Juristerei und Medizin und leider auch Theologie durchaus " +
		"studiert mit heissem Bemuehn da steh ich nun ich armer Tor und bin so klug als wie zuvor")
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string { return words[random.IntN(len(words))] }
	var b []byte
	for len(b) < materialBytes {
		line := fmt.Sprintf(pattern, random.IntN(1e6), word(), word(), word())
		line, _, _ = strings.Cut(line, "%!(EXTRA") // a pattern need not use all
		b = append(b, line...)
	}
	return b
}

// picture is grey that changes slowly, with some grain.
func picture() []byte {
	random := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, materialBytes)
	for i := range b {
		b[i] = byte((i%512)/4 + (i/512)/4 + random.IntN(3))
	}
	return b
}

// noise cannot be compressed.
func noise() []byte {
	random := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, materialBytes)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// lengths are the sizes of messages and of their fragments, the same in each group.
var lengths = []struct{ message, fragment int }{
	{16, 0},
	{64, 0},
	{256, 0},
	{1024, 0},
	{4096, 0},
	{8192, 0},
	{16384, 0},
	{32768, 0},
	{65536, 0},
	{131072, 0},
	{8192, 256},
	{16384, 256},
	{32768, 256},
	{65536, 256},
	{131072, 256},
	{131072, 1024},
	{131072, 4096},
	{131072, 32768},
}

// usual is what clients offer: that they can forget, and limit their window.
const usual = "permessage-deflate; client_no_context_takeover; client_max_window_bits"

// compressed is groups 12 and 13.
func compressed(budget int) (list []Case) {
	for i, m := range materials {
		list = append(list, deflated(fmt.Sprintf("12.%d", i+1), m.name, usual, 0, budget, m.opcode, m.make)...)
	}
	const forget = "; server_no_context_takeover"
	const narrow, wide = "; server_max_window_bits=9", "; server_max_window_bits=15"
	for i, o := range []struct {
		what, offer string
		bits        int
	}{
		{"nothing asked of the server", usual, 0},
		{"the server is to forget", usual + forget, 0},
		{"the server's window is to be 512 bytes", usual + narrow, 9},
		{"the server's window is to be 32 KiB", usual + wide, 15},
		{"the server is to forget, with a window of 512 bytes", usual + forget + narrow, 9},
		{"the server is to forget, with a window of 32 KiB", usual + forget + wide, 15},
		{"three offers", usual + forget + narrow + ", " + usual + forget + ", " + usual, 9},
	} {
		m := materials[0]
		list = append(list, deflated(fmt.Sprintf("13.%d", i+1), o.what, o.offer, o.bits, budget, m.opcode, m.make)...)
	}
	return list
}

// deflated is a group of compressed messages.
func deflated(group, what, offer string, bits, budget int, opcode byte, give func() []byte) (list []Case) {
	for i, n := range lengths {
		count := min(max(budget/n.message, 3), 1000)
		c := Case{Number: fmt.Sprintf("%s.%d", group, i+1), Offer: offer, Bits: bits, Bytes: count * n.message}
		c.What = fmt.Sprintf("%s: %d messages of %d bytes", what, count, n.message)
		if n.fragment > 0 {
			c.What += fmt.Sprintf(" in fragments of %d", n.fragment)
		}
		c.build = func(s *Script) {
			material, at := give(), 0
			for range count {
				p := bytes.Clone(material[at:min(at+n.message, len(material))])
				p = append(p, material[:n.message-len(p)]...)
				at = (at + n.message) % len(material)
				size := n.fragment
				payload := deflate(p)
				if size == 0 {
					size = len(payload)
				}
				s.fragments(opcode, 0x40, payload, size)
				s.wants(opcode, p)
				s.wait()
			}
			s.leaves()
		}
		list = append(list, c)
	}
	return list
}

// compressors are kept, because making one costs far more than a message.
var compressors = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.DefaultCompression)
	if err != nil {
		panic(err)
	}
	return w
}}

// decompressors are kept for the same reason.
var decompressors = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// deflate compresses a message by itself.
func deflate(p []byte) []byte {
	var out bytes.Buffer
	w := compressors.Get().(*flate.Writer)
	defer compressors.Put(w)
	w.Reset(&out)
	if _, err := w.Write(p); err != nil {
		panic(err)
	}
	if err := w.Flush(); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{0, 0, 0xFF, 0xFF})
}

// inflate decompresses a message of a server that keeps nothing between two of them. If bits is set it must not refer
// to what lies further back than 1<<bits bytes.
func inflate(payload []byte, bits int) ([]byte, error) {
	whole := append(bytes.Clone(payload), 0, 0, 0xFF, 0xFF)
	r := decompressors.Get().(io.Reader)
	defer decompressors.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(whole), nil); err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if bits == 0 {
		return plain, nil
	}
	reach, err := reachOf(whole)
	if err == nil && reach > 1<<bits {
		err = fmt.Errorf("compressed data refers to %d bytes back; the window has %d bits", reach, bits)
	}
	return plain, err
}
