// Command table makes a Markdown table of the results of the matrix, which it reads from standard input as "go test
// -json" writes them. It ends with status 1 if anything failed, or if there was nothing to make a table of.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

// test is the function whose subtests are the cells.
const test = "TestMatrix"

// event is a line of go test -json, as go doc cmd/test2json describes it.
type event struct{ Action, Test, Output string }

// state is what became of a test. One that began and never ended has failed: the process died under it.
type state uint8

const (
	absent state = iota
	begun
	passed
	skipped
	failed
)

// result is that of one test.
type result struct {
	state  state
	output []string
}

// reason is what a skipped test gave as its reason.
func (r *result) reason() string {
	for _, line := range slices.Backward(r.output) {
		if found := location.FindStringSubmatch(line); found != nil {
			return found[1]
		}
	}
	return "no reason given"
}

var location = regexp.MustCompile(`^\s*\S+\.go:\d+: (.*)`)

// results are those of all tests, by name and in the order in which they began.
type results struct {
	names  []string
	byName map[string]*result
	other  []string // output of no test: of the build, of the package
	broken bool     // the package failed
}

func read(from io.Reader) (*results, error) {
	all := &results{byName: map[string]*result{}}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			all.other = append(all.other, lines.Text()+"\n")
			continue
		}
		all.take(e)
	}
	return all, lines.Err()
}

func (all *results) take(e event) {
	if e.Test == "" {
		if e.Action == "output" || e.Action == "build-output" {
			all.other = append(all.other, e.Output)
		}
		all.broken = all.broken || e.Action == "fail" || e.Action == "build-fail"
		return
	}
	r := all.byName[e.Test]
	if r == nil {
		r = &result{state: begun}
		all.byName[e.Test] = r
		all.names = append(all.names, e.Test)
	}
	switch e.Action {
	case "output":
		r.output = append(r.output, e.Output)
	case "pass":
		r.state = passed
	case "skip":
		r.state = skipped
	case "fail":
		r.state = failed
	}
}

// table is the results in rows and columns.
type table struct {
	*results
	columns []string // as tests name them
	rows    []string // suite and behaviour
	reasons []string // numbered from 1
}

func arrange(all *results) *table {
	t := &table{results: all}
	for _, name := range all.names {
		parts := strings.SplitN(name, "/", 4)
		if parts[0] != test {
			continue
		}
		if len(parts) == 2 {
			t.columns = append(t.columns, parts[1])
		}
		if len(parts) == 4 && !strings.Contains(parts[3], "/") {
			if row := parts[2] + "/" + parts[3]; !slices.Contains(t.rows, row) {
				t.rows = append(t.rows, row)
			}
		}
	}
	return t
}

// run makes the table and returns an error if it is not all right.
func run(from io.Reader, to io.Writer) error {
	all, err := read(from)
	if err != nil {
		return err
	}
	t := arrange(all)
	if len(t.rows) == 0 {
		return fmt.Errorf("no behaviour was tested:\n%s", strings.Join(all.other, ""))
	}
	out := bufio.NewWriter(to)
	t.write(out)
	if err := out.Flush(); err != nil {
		return err
	}
	if n := len(t.failures()); n > 0 {
		return fmt.Errorf("%d failed", n)
	}
	if all.broken {
		return errors.New("the tests failed:\n" + strings.Join(all.other, ""))
	}
	return nil
}

// failures are the names of the tests that failed and of which no part did: those that say why.
func (t *table) failures() (names []string) {
	for _, name := range t.names {
		if s := t.byName[name].state; s != failed && s != begun {
			continue
		}
		part := func(other string) bool {
			s := t.byName[other].state
			return (s == failed || s == begun) && strings.HasPrefix(other, name+"/")
		}
		if !slices.ContainsFunc(t.names, part) {
			names = append(names, name)
		}
	}
	return names
}
