package wstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// close has the client send a close frame.
func (s *Script) close(code uint16, reason string) {
	s.frame(final|closing, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

// filler is a text that does not compress to nothing and of which each byte is in another place.
var filler = []byte("BAsd7&jh23")

// filled is a text of n bytes.
func filled(n int) []byte { return bytes.Repeat(filler, n/len(filler)+1)[:n] }

// ends is group 7.
func ends() []Case {
	// behind sends a close frame and then another, which nobody answers.
	behind := func(first byte, payload string) func(s *Script) {
		return func(s *Script) {
			s.leaves()
			s.frame(first, []byte(payload))
		}
	}
	answered := func(code uint16, reason string, want uint16) func(s *Script) {
		return func(s *Script) {
			s.close(code, reason)
			s.fails(want)
		}
	}
	raw := func(payload string, want uint16) func(s *Script) {
		return func(s *Script) {
			s.frame(final|closing, []byte(payload))
			s.fails(want)
		}
	}
	list := []Case{
		echoes("7.1.1", "a text, then a close frame", text, hello, 0),
		{Number: "7.1.2", What: "two close frames", build: behind(final|closing, "")},
		{Number: "7.1.3", What: "a ping behind a close frame", build: behind(final|ping, "")},
		{Number: "7.1.4", What: "a text behind a close frame", build: behind(final|text, string(hello))},
		{Number: "7.1.5", What: "a close frame between two fragments", build: func(s *Script) {
			s.frame(text, []byte(parts[0]))
			s.leaves()
			s.frame(final, []byte(parts[1]))
		}},
		{Number: "7.1.6", What: "256 KiB, a text, a close frame and a ping at once", build: func(s *Script) {
			for _, p := range [][]byte{filled(256 << 10), hello} {
				s.frame(final|text, p)
				s.wants(text, p)
			}
			s.leaves()
			s.frame(final|ping, nil)
		}},
		{Number: "7.3.1", What: "a close frame without a code", build: raw("", normal)},
		{Number: "7.3.2", What: "a close frame of one byte", build: raw("a", protocol)},
		{Number: "7.3.3", What: "a close frame with a code", build: answered(normal, "", normal)},
		{Number: "7.3.4", What: "with a code and a reason", build: answered(normal, string(hello), normal)},
		{Number: "7.3.5", What: "with the longest reason", build: answered(normal, string(stars(123)), normal)},
		{Number: "7.3.6", What: "with a reason that is too long", build: answered(normal, string(stars(124)), protocol)},
		{
			Number: "7.5.1", What: "with a reason that is no text",
			build: answered(normal, kosme+half+"edited", badPayload),
		},
	}
	for i, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		list = append(list, Case{
			Number: fmt.Sprintf("7.7.%d", i+1), What: fmt.Sprintf("code %d, which comes back", code),
			build: answered(code, "", code),
		})
	}
	refused := func(number string, code uint16) {
		what := fmt.Sprintf("code %d, which must not be sent", code)
		list = append(list, Case{Number: number, What: what, build: answered(code, "", protocol)})
	}
	for i, code := range []uint16{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999} {
		refused(fmt.Sprintf("7.9.%d", i+1), code)
	}
	refused("7.13.1", 5000)
	refused("7.13.2", 65535)
	return list
}
