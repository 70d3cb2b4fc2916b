package wstest

import "fmt"

// piece is a frame of a fragmented message.
type piece struct {
	first   byte
	payload string
}

// parts are the two halves of a message.
var parts = [2]string{"fragment1", "fragment2"}

// ways are the three ways in which bytes are cut: at once, frame by frame, byte by byte.
var ways = [3]struct {
	name   string
	chop   int
	frames bool
}{{"at once", 0, false}, {"frame by frame", 0, true}, {"byte by byte", 1, false}}

// fragmentation is group 5.
func fragmentation() (list []Case) {
	add := func(what string, chop int, build func(s *Script)) {
		list = append(list, Case{Number: fmt.Sprintf("5.%d", len(list)+1), What: what, Chop: chop, build: build})
	}
	// wrong sends frames, of which the first heard are answered by one message.
	wrong := func(echoed string, pieces ...piece) func(s *Script) {
		return func(s *Script) {
			for _, p := range pieces {
				s.frame(p.first, []byte(p.payload))
			}
			if echoed != "" {
				s.wants(text, []byte(echoed))
			}
			s.fails(protocol)
		}
	}
	add("a ping in two fragments", 0, wrong("", piece{ping, parts[0]}, piece{final, parts[1]}))
	add("a pong in two fragments", 0, wrong("", piece{pong, parts[0]}, piece{final, parts[1]}))
	for _, way := range ways {
		add("a text in two fragments, "+way.name, way.chop, func(s *Script) { halves(s, way.frames, "") })
	}
	for _, way := range ways {
		add("a ping between two fragments, "+way.name, way.chop, func(s *Script) { halves(s, way.frames, "between") })
	}
	for _, last := range []bool{true, false} {
		for _, way := range ways {
			first := byte(continuation)
			if last {
				first |= final
			}
			add(fmt.Sprintf("a continuation of nothing, the last one %t, then a text, %s", last, way.name), way.chop,
				wrong("", piece{first, "continues nothing"}, piece{final | text, string(hello)}))
		}
	}
	add("a text in two fragments, a continuation of nothing, another text", 0, wrong(parts[0]+parts[1],
		piece{text, parts[0]}, piece{final, parts[1]}, piece{continuation, "fragment3"}, piece{final | text, "fragment4"}))
	for _, first := range []byte{continuation, final | continuation} {
		again := []piece{{first, "fragment1"}, {text, "fragment2"}, {final, "fragment3"}}
		add(fmt.Sprintf("twice: a continuation of nothing, first byte %#x, and a text in two fragments", first), 0,
			wrong("", append(again, again...)...))
	}
	add("a text whose second fragment says that it is a text", 0,
		wrong("", piece{text, parts[0]}, piece{final | text, parts[1]}))
	for _, how := range []string{"", ", frame by frame"} {
		add("five fragments and two pings, the first of which is answered at once"+how, 0, five(how != ""))
	}
	return list
}

// halves sends a text in two fragments, with a ping between them if that has a payload.
func halves(s *Script, frames bool, between string) {
	cut := func() {
		if frames {
			s.wait()
		}
	}
	s.frame(text, []byte(parts[0]))
	cut()
	if between != "" {
		s.frame(final|ping, []byte(between))
		s.wants(pong, []byte(between))
		cut()
	}
	s.frame(final, []byte(parts[1]))
	s.wants(text, []byte(parts[0]+parts[1]))
	cut()
	s.leaves()
}

// five sends a text in five fragments, with pings behind the second and the fourth.
func five(frames bool) func(s *Script) {
	return func(s *Script) {
		whole, first := "", byte(text)
		for i := range 5 {
			part := fmt.Sprintf("fragment%d", i+1)
			whole += part
			if i == 4 {
				first |= final
			}
			s.frame(first, []byte(part))
			first = continuation
			if i == 1 || i == 3 {
				payload := fmt.Appendf(nil, "ping %d", i)
				s.frame(final|ping, payload)
				s.wants(pong, payload)
			}
			if i == 1 || frames && i < 4 {
				s.wait()
			}
		}
		s.wants(text, []byte(whole))
		s.leaves()
	}
}
