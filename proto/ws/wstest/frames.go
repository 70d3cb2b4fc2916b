package wstest

import (
	"bytes"
	"fmt"
	"slices"
)

// Cases is the whole table, in the order of its numbers. budget is about how many bytes each case of groups 12 and 13
// sends, which sends up to 1000 messages: Autobahn always sends 1000, up to 125 MiB for a case.
func Cases(budget int) []Case {
	return slices.Concat(framing(), pings(), reservedBits(), opcodes(), fragmentation(), texts(), ends(), sizes(),
		compressed(budget))
}

// Small are the cases that send no more than some 64 KiB: those that are quick under the race detector.
func Small(cases []Case) []Case {
	return slices.DeleteFunc(cases, func(c Case) bool { return c.Bytes > 64<<10 })
}

// stars and thorns are payloads of text and of bytes that are no text.
func stars(n int) []byte  { return bytes.Repeat([]byte("*"), n) }
func thorns(n int) []byte { return bytes.Repeat([]byte{0xFE}, n) }

// odd is a short payload that is no text.
var odd = []byte{0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF}

var hello = []byte("Hello, world!")

// echoes is a case in which a message comes back.
func echoes(number, what string, opcode byte, payload []byte, chop int) Case {
	return Case{Number: number, What: what, Chop: chop, build: func(s *Script) {
		s.frame(final|opcode, payload)
		s.wants(opcode, payload)
		s.leaves()
	}}
}

// framing is group 1: lengths around the borders of the three ways to write one.
func framing() (list []Case) {
	for group, kind := range []struct {
		opcode byte
		name   string
		fill   func(n int) []byte
	}{{text, "text", stars}, {binaryData, "binary", thorns}} {
		for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
			chop, what := 0, fmt.Sprintf("a %s message of %d bytes", kind.name, n)
			if i == 7 {
				chop, what = 997, what+", 997 of them at a time"
			}
			list = append(list, echoes(fmt.Sprintf("1.%d.%d", group+1, i+1), what, kind.opcode, kind.fill(n), chop))
		}
	}
	return list
}

// pinged is a case in which pings are answered.
func pinged(number, what string, chop int, payloads ...[]byte) Case {
	return Case{Number: number, What: what, Chop: chop, build: func(s *Script) {
		for _, p := range payloads {
			s.frame(final|ping, p)
			s.wants(pong, p)
		}
		s.leaves()
	}}
}

// pings is group 2.
func pings() []Case {
	ten := make([][]byte, 10)
	for i := range ten {
		ten[i] = fmt.Appendf(nil, "payload-%d", i)
	}
	pongs := func(payload string, pings ...string) func(s *Script) {
		return func(s *Script) {
			s.frame(final|pong, []byte(payload))
			for _, p := range pings {
				s.frame(final|ping, []byte(p))
				s.wants(pong, []byte(p))
			}
			s.leaves()
		}
	}
	return []Case{
		pinged("2.1", "a ping without payload", 0, nil),
		pinged("2.2", "a ping with text", 0, hello),
		pinged("2.3", "a ping with bytes that are no text", 0, odd),
		pinged("2.4", "the longest ping", 0, thorns(125)),
		{Number: "2.5", What: "a ping that is too long", build: func(s *Script) {
			s.frame(final|ping, thorns(126))
			s.fails(protocol)
		}},
		pinged("2.6", "the longest ping, byte by byte", 1, thorns(125)),
		{Number: "2.7", What: "a pong that nobody asked for", build: pongs("")},
		{Number: "2.8", What: "the same with payload", build: pongs("nobody asked")},
		{Number: "2.9", What: "a pong that nobody asked for, then a ping", build: pongs("nobody asked", "a ping")},
		pinged("2.10", "ten pings", 0, ten...),
		pinged("2.11", "ten pings, byte by byte", 1, ten...),
	}
}

// reservedBits is group 3: no extension has been agreed on that gives them a meaning.
func reservedBits() []Case {
	behind := func(reserved byte) func(s *Script) {
		return func(s *Script) {
			s.frame(final|text, hello)
			s.wants(text, hello)
			s.frame(final|reserved<<4|text, hello)
			s.frame(final|ping, nil)
			s.fails(protocol)
		}
	}
	first := func(start byte, payload []byte) func(s *Script) {
		return func(s *Script) {
			s.frame(start, payload)
			s.fails(protocol)
		}
	}
	return []Case{
		{Number: "3.1", What: "RSV3 in a text message", build: first(final|1<<4|text, hello)},
		{Number: "3.2", What: "RSV2 in the second message, then a ping", build: behind(2)},
		{Number: "3.3", What: "RSV2 and RSV3 in the second message, frame by frame", build: behind(3)},
		{Number: "3.4", What: "RSV1 in the second message, byte by byte", Chop: 1, build: behind(4)},
		{Number: "3.5", What: "RSV1 and RSV3 in a binary message", build: first(final|5<<4|binaryData, odd)},
		{Number: "3.6", What: "RSV1 and RSV2 in a ping's place", build: first(final|6<<4|binaryData, hello)},
		{Number: "3.7", What: "all reserved bits in a close frame", build: first(final|7<<4|closing, nil)},
	}
}

// opcodes is group 4: those without a meaning, of messages and of control frames.
func opcodes() (list []Case) {
	for group, first := range []byte{3, 11} {
		for i := range byte(5) {
			opcode, payload, chop := first+i, []byte(nil), 0
			switch i {
			case 1:
				payload = []byte("payload of an unknown opcode")
			case 3, 4:
				payload = hello
			}
			what := fmt.Sprintf("opcode %d with %d bytes", opcode, len(payload))
			if i >= 2 {
				what += ", behind a text message and before a ping"
			}
			if i == 4 {
				chop, what = 1, what+", byte by byte"
			}
			list = append(list, Case{
				Number: fmt.Sprintf("4.%d.%d", group+1, i+1), What: what, Chop: chop,
				build: func(s *Script) {
					if i >= 2 {
						s.frame(final|text, hello)
						s.wants(text, hello)
					}
					s.frame(final|opcode, payload)
					if i >= 2 {
						s.frame(final|ping, nil)
					}
					s.fails(protocol)
				},
			})
		}
	}
	return list
}
