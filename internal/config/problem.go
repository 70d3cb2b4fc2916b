package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a configuration, or, as a warning, one that is probably not meant.
type Problem struct {
	// File, Line and Column say where; both count from 1, columns in characters. File is empty and Line 0 when the
	// value came from a flag or from code.
	File   string
	Line   int
	Column int
	// Flag is the flag that said the value, as it was typed, or empty.
	Flag string
	// Path is the key, such as listeners[0].backlog.
	Path string
	// Message says what is wrong, Mend what to write instead (it may be empty).
	Message string
	Mend    string
	// Excerpt is the line and a caret under the place, without a final newline; empty without a line.
	Excerpt string
}

// Where is the flag, or the file, line and column, that said the value; empty when nobody did.
func (p Problem) Where() string {
	switch {
	case p.Flag != "":
		return p.Flag
	case p.Line > 0:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	return p.File
}

// Error is where, what, the excerpt and the mend, on several lines.
func (p Problem) Error() string {
	var text strings.Builder
	if where := p.Where(); where != "" {
		text.WriteString(where + ": ")
	}
	if p.Path != "" {
		text.WriteString(p.Path + ": ")
	}
	text.WriteString(p.Message)
	if p.Excerpt != "" {
		text.WriteString("\n" + p.Excerpt)
	}
	if p.Mend != "" {
		text.WriteString("\n    " + p.Mend)
	}
	return text.String()
}

// Problems is every problem of a configuration, in the order of the file; those of flags come last.
type Problems []Problem

// Error is all of them, with an empty line between two.
func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i, problem := range p {
		texts[i] = problem.Error()
	}
	return strings.Join(texts, "\n\n")
}

// err is nil without problems, so that an empty list never becomes an error that is not nil.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		if (a.Line == 0) != (b.Line == 0) {
			return b.Line - a.Line
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// place is where a key or value stands: line and column from 1, width in characters.
type place struct{ line, column, width int }

// source remembers where each key was said. Only the paths that a file or a flag said are in it.
type source struct {
	name   string
	lines  []string
	places map[string]place // of values; of keys where the value is a collection
	names  map[string]place // of the keys of mappings from names to values
	flags  map[string]string
}

func newSource(name string, text string) *source {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, "\r")
	}
	return &source{
		name:   name,
		lines:  lines,
		places: make(map[string]place),
		names:  make(map[string]place),
		flags:  make(map[string]string),
	}
}

// override forgets what the file said at and below path, because a flag has said something else.
func (s *source) override(path, flag string) {
	for said := range s.places {
		if within(path, said) {
			delete(s.places, said)
		}
	}
	for said := range s.names {
		if within(path, said) {
			delete(s.names, said)
		}
	}
	for said := range s.flags {
		if within(path, said) {
			delete(s.flags, said)
		}
	}
	s.flags[path] = flag
}

// said reports whether a file or a flag has said exactly this key.
func (s *source) said(path string) bool {
	_, file := s.places[path]
	_, flag := s.flags[path]
	return file || flag
}

// locate completes a problem that knows only its path: the nearest key at or above it that was said.
func (s *source) locate(problem Problem) Problem {
	for path := problem.Path; path != ""; path = parent(path) {
		if flag, ok := s.flags[path]; ok {
			problem.Flag = flag
			return problem
		}
		if at, ok := s.places[path]; ok {
			return s.point(problem, at)
		}
	}
	problem.File = s.name
	return problem
}

// point completes a problem with a place.
func (s *source) point(problem Problem, at place) Problem {
	at.line = min(max(at.line, 1), len(s.lines))
	line := strings.ToValidUTF8(s.lines[at.line-1], "\uFFFD")
	length := utf8.RuneCountInString(line)
	at.column = min(max(at.column, 1), length+1)
	at.width = max(min(at.width, length+1-at.column), 1)
	problem.File, problem.Line, problem.Column = s.name, at.line, at.column
	problem.Excerpt = excerpt(line, at)
	return problem
}

// widestExcerpt is how much of a line is shown, in characters: enough to know the place by.
const widestExcerpt = 120

func excerpt(line string, at place) string {
	runes := []rune(line)
	column := at.column - 1
	if start := column - widestExcerpt/2; len(runes) > widestExcerpt && start > 0 {
		runes, column = runes[start:], column-start
	}
	runes = runes[:min(len(runes), widestExcerpt)]
	indent := make([]rune, 0, column)
	for i, r := range runes {
		if r < ' ' && r != '\t' || r == 0x7f {
			runes[i], r = utf8.RuneError, utf8.RuneError
		}
		if i >= column {
			continue
		}
		if r != '\t' {
			r = ' '
		}
		indent = append(indent, r)
	}
	number := strconv.Itoa(at.line)
	carets := strings.Repeat("^", max(min(at.width, len(runes)-column), 1))
	return fmt.Sprintf("    %s | %s\n    %*s | %s%s", number, string(runes), len(number), "", string(indent), carets)
}
