package wstest

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// kosme is a Greek word whose second letter takes three bytes.
const kosme = "κ\u1f79σμε"

// mixed is a text with letters of one and two bytes.
const mixed = "Hello-µ@ßöäüàá-UTF-8!!"

// Sequences that are no text: half of a pair, and a character beyond the last one.
const (
	half   = "\xed\xa0\x80"
	beyond = "\xf4\x90\x80\x80"
)

// texts is group 6.
func texts() []Case {
	in := func(size int, payload string, code uint16) func(s *Script) {
		return func(s *Script) {
			s.fragments(text, 0, []byte(payload), size)
			if code != 0 {
				s.fails(code)
				return
			}
			s.wants(text, []byte(payload))
			s.leaves()
		}
	}
	threes := func(middle string) func(s *Script) {
		return func(s *Script) {
			s.frame(text, nil)
			s.frame(continuation, []byte(middle))
			s.frame(final, nil)
			s.wants(text, []byte(middle))
			s.leaves()
		}
	}
	at := strings.Index(mixed, "ü")
	list := []Case{
		{Number: "6.1.1", What: "an empty text", build: in(1, "", 0)},
		{Number: "6.1.2", What: "an empty text in three fragments", build: threes("")},
		{Number: "6.1.3", What: "three fragments, of which the middle one is not empty", build: threes("in the middle")},
		{Number: "6.2.1", What: "letters of one and two bytes", build: in(len(mixed), mixed, 0)},
		{Number: "6.2.2", What: "the same in two fragments, cut between letters", build: in(at, mixed, 0)},
		{Number: "6.2.3", What: "the same in fragments of one byte", build: in(1, mixed, 0)},
		{Number: "6.2.4", What: "a Greek word in fragments of one byte", build: in(1, kosme, 0)},
		{Number: "6.3.1", What: "half of a surrogate pair", build: in(100, kosme+half+"edited", badPayload)},
		{Number: "6.3.2", What: "the same in fragments of one byte", build: in(1, kosme+half+"edited", badPayload)},
	}
	return append(append(list, early()...), sequences()...)
}

// early are cases in which a text turns out to be none before it is complete: the rest is never sent.
func early() (list []Case) {
	for i, c := range []struct {
		what   string
		sound  string // what is sent first and is no reason to fail
		reason string // what is
		frames bool
	}{
		{"a character beyond the last one, in the second frame", kosme, beyond, true},
		{"the same, up to the byte that gives it away", kosme + beyond[:1], beyond[1:2], true},
		{"a character beyond the last one, in the second piece of a frame", kosme, beyond, false},
		{"the same, up to the byte that gives it away", kosme + beyond[:1], beyond[1:2], false},
	} {
		list = append(list, Case{
			Number: fmt.Sprintf("6.4.%d", i+1), What: c.what + "; the end is not sent",
			build: func(s *Script) {
				if c.frames {
					s.frame(text, []byte(c.sound))
					s.wait()
					s.frame(continuation, []byte(c.reason))
				} else {
					s.head(final|text, len(kosme+beyond+"edited"))
					s.body([]byte(c.sound), 0)
					s.wait()
					s.body([]byte(c.reason), len(c.sound))
				}
				s.fails(badPayload)
			},
		})
	}
	return list
}

// sequences are the groups from 6.5 on: what is text and what is not, each in one frame. They follow the well-known
// file of Markus Kuhn for testing decoders. Sequences are in hexadecimal; those that begin with "!" are no text.
func sequences() (list []Case) {
	for i, group := range [][]string{
		{
			"68656c6c6f24776f726c64", "68656c6c6fc2a2776f726c64", "68656c6c6fe282ac776f726c64",
			"68656c6c6ff0a4ada2776f726c64", hex.EncodeToString([]byte(kosme)),
		},
		prefixes(kosme),
		{"00", "c280", "e0a080", "f0908080"},
		{"!f888808080", "!fc8480808080"},
		{"7f", "dfbf", "efbfbf", "f48fbfbf"},
		{"!f7bfbfbf", "!fbbfbfbfbf", "!fdbfbfbfbfbf"},
		{"ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "!f4908080"},
		{"!80", "!bf", "!80bf", "!80bf80", "!80bf80bf", "!80bf80bf80", "!80bf80bf80bf", "!" + row(0x80, 0xbf, "")},
		{
			"!" + row(0xc0, 0xdf, "20"), "!" + row(0xe0, 0xef, "20"), "!" + row(0xf0, 0xf7, "20"),
			"!" + row(0xf8, 0xfb, "20"), "!" + row(0xfc, 0xfd, "20"),
		},
		{"!c0", "!e080", "!f08080", "!f8808080", "!fc80808080", "!df", "!efbf", "!f7bfbf", "!fbbfbfbf", "!fdbfbfbfbf"},
		{"!c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"},
		{"!fe", "!ff", "!fefeffff"},
		{"!c0af", "!e080af", "!f08080af", "!f8808080af", "!fc80808080af"},
		{"!c1bf", "!e09fbf", "!f08fbfbf", "!f887bfbfbf", "!fc83bfbfbfbf"},
		{"!c080", "!e08080", "!f0808080", "!f880808080", "!fc8080808080"},
		{"!eda080", "!edadbf", "!edae80", "!edafbf", "!edb080", "!edbe80", "!edbfbf"},
		{
			"!eda080edb080", "!eda080edbfbf", "!edadbfedb080", "!edadbfedbfbf", "!edae80edb080", "!edae80edbfbf",
			"!edafbfedb080", "!edafbfedbfbf",
		},
		nonCharacters(),
		{"efbfb9", "efbfba", "efbfbb", "efbfbc", "efbfbd", "efbfbe", "efbfbf"},
	} {
		for j, sequence := range group {
			number := fmt.Sprintf("6.%d.%d", i+5, j+1)
			digits, wrong := strings.CutPrefix(sequence, "!")
			payload, err := hex.DecodeString(digits)
			if err != nil {
				panic(number + ": " + err.Error())
			}
			if !wrong {
				list = append(list, echoes(number, "text "+digits, text, payload, 0))
				continue
			}
			list = append(list, Case{Number: number, What: "no text: " + digits, build: func(s *Script) {
				s.frame(final|text, payload)
				s.fails(badPayload)
			}})
		}
	}
	return list
}

// prefixes are all beginnings of a word.
func prefixes(word string) (list []string) {
	for i := range len(word) {
		mark := ""
		if !utf8.ValidString(word[:i+1]) {
			mark = "!"
		}
		list = append(list, mark+hex.EncodeToString([]byte(word[:i+1])))
	}
	return list
}

// row is every byte from one up to another, which is left out, each with something behind it.
func row(from, to byte, behind string) string {
	var b strings.Builder
	for c := from; c < to; c++ {
		fmt.Fprintf(&b, "%02x%s", c, behind)
	}
	return b.String()
}

// nonCharacters are the last two of each plane: no characters, and text nevertheless.
func nonCharacters() (list []string) {
	for plane := range rune(17) {
		for _, low := range []rune{0xFFFE, 0xFFFF} {
			list = append(list, hex.EncodeToString([]byte(string(plane<<16|low))))
		}
	}
	return list
}
