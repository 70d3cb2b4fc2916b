package wstest

import "fmt"

// kinds are the two kinds of message, for groups that come once for each.
var kinds = []struct {
	opcode byte
	name   string
	fill   func(n int) []byte
}{{text, "text", filled}, {binaryData, "binary", thorns}}

// LargestMessage is how large a message of the table is at most, in bytes.
const LargestMessage = 16 << 20

// sizes is group 9, and the one case of group 10.
func sizes() (list []Case) {
	for i, k := range kinds {
		for j, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, LargestMessage} {
			c := Case{Number: fmt.Sprintf("9.%d.%d", i+1, j+1), Bytes: n}
			c.What = fmt.Sprintf("a %s message of %d KiB", k.name, n>>10)
			c.build = func(s *Script) {
				p := k.fill(n)
				s.frame(final|k.opcode, p)
				s.wants(k.opcode, p)
				s.leaves()
			}
			list = append(list, c)
		}
	}
	for i, k := range kinds {
		for j := range 9 {
			size := 64 << (2 * j)
			c := Case{Number: fmt.Sprintf("9.%d.%d", i+3, j+1), Bytes: 4 << 20}
			c.What = fmt.Sprintf("a %s message of 4 MiB in fragments of %d bytes", k.name, size)
			c.build = func(s *Script) {
				p := k.fill(4 << 20)
				s.fragments(k.opcode, 0, p, size)
				s.wants(k.opcode, p)
				s.leaves()
			}
			list = append(list, c)
		}
	}
	for i, k := range kinds {
		for j := range 6 {
			chop := 64 << j
			c := Case{Number: fmt.Sprintf("9.%d.%d", i+5, j+1), Chop: chop, Bytes: 1 << 20}
			c.What = fmt.Sprintf("a %s message of 1 MiB, %d bytes at a time", k.name, chop)
			c.build = func(s *Script) {
				p := k.fill(1 << 20)
				s.frame(final|k.opcode, p)
				s.wants(k.opcode, p)
				s.leaves()
			}
			list = append(list, c)
		}
	}
	for i, k := range kinds {
		for j, n := range []int{0, 16, 64, 256, 1024, 4096} {
			c := Case{Number: fmt.Sprintf("9.%d.%d", i+7, j+1), Bytes: 1000 * n}
			c.What = fmt.Sprintf("1000 %s messages of %d bytes, each when the one before has come back", k.name, n)
			c.build = func(s *Script) {
				p := k.fill(n)
				for range 1000 {
					s.frame(final|k.opcode, p)
					s.wants(k.opcode, p)
					s.wait()
				}
				s.leaves()
			}
			list = append(list, c)
		}
	}
	return append(list, Case{
		Number: "10.1.1", What: "a text of 64 KiB in fragments of 1300 bytes",
		build: func(s *Script) {
			p := stars(64 << 10)
			s.fragments(text, 0, p, 1300)
			s.wants(text, p)
			s.leaves()
		},
	})
}
