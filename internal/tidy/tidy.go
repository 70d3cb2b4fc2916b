// Package tidy reads the source tree and reports where it breaks the house rules of docs/STYLE.md: who may import whom,
// how long things may be, what must be documented, and which words and names stay out.
//
// It is an ordinary library so that every rule is itself tested on small trees in testdata; the package's own test runs
// the rules over this repository. Everything is read with go/parser, never with the build system, so that files of
// every platform and build tag are looked at, also those that the current machine would not compile.
package tidy

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// A Problem is one place that breaks one rule.
type Problem struct {
	Path string // from the root of the tree, with slashes
	Line int    // from 1; 0 when the problem is the file's absence or its name
	Rule string // the rule's name, as in Rules
	What string // what is wrong here
	Do   string // what to do instead
}

// String gives the problem on one line, in the form that editors can jump to.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s: %s; %s", p.Path, p.Line, p.Rule, p.What, p.Do)
}

// A rule looks at the whole tree and says what breaks it. The sentence in do goes with each of its problems.
type rule struct {
	name  string
	do    string
	check func(*Tree, *reporter)
}

// rules is the one list of what is enforced: a new rule is a function, a row here and an archive in testdata.
var rules = []rule{
	{"parse", "make the file valid Go", checkParse},
	{"room", "give the package a row in internal/tidy/rooms.go and a line in docs/ARCHITECTURE.md", checkRooms},
	{"rank", "import lower ranks only: move the shared part down or pass it in as a value", checkRanks},
	{"system", "put the call into internal/sys and give it a Go signature there", checkSystem},
	{"engine", "keep the engine on the standard library and golang.org/x/sys", checkEngine},
	{"standard", "let internal/standard name it in its list, and look it up there", checkStandard},
	{"function-length", "split it where it changes its subject", checkFunctionLength},
	{"file-length", "split the file by subject", checkFileLength},
	{"line-length", "break the line", checkLineLength},
	{"package-doc", "begin the package comment with \"Package name\" (a command: \"Command name\")", checkPackageDoc},
	{"exported-doc", "say what it does in a comment that begins with its name", checkExportedDoc},
	{"name", "name it after what it is about", checkNames},
	{"marker", "do it now, or open an issue and say in a plain sentence what is so", checkMarkers},
	{"sleep", "wait for the event, or for a condition with a deadline; " +
		"if time itself is what is tested, add the file to sleepers with the reason", checkSleep},
	{"skip", "say in the call what is missing and how to get it", checkSkip},
	{"private-path", "name a path that exists on every machine, or take it from a flag", checkPrivatePaths},
	{"adr", "number decisions without gaps from 0000: docs/adr/NNNN-short-title.md, headed \"# N. Title\"", checkADR},
	{"link", "point it at a file and a heading that exist", checkLinks},
}

// Rules gives the names of all rules, in the order in which they are checked.
func Rules() []string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.name
	}
	return names
}

// Check applies every rule to the tree below root and gives what is wrong, by path and line. The error says that the
// tree could not be read or is not a Go module; a file that does not parse is a Problem, not an error.
func Check(root fs.FS) ([]Problem, error) {
	tree, err := load(root)
	if err != nil {
		return nil, fmt.Errorf("tidy: %w", err)
	}
	if len(tree.packages) == 0 {
		return nil, errors.New("tidy: no Go package below the root")
	}
	var found []Problem
	for _, r := range rules {
		r.check(tree, &reporter{rule: r, found: &found})
	}
	slices.SortStableFunc(found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	return found, nil
}

// reporter collects what one rule finds.
type reporter struct {
	rule  rule
	found *[]Problem
}

func (r *reporter) add(path string, line int, format string, args ...any) {
	*r.found = append(*r.found, Problem{
		Path: path, Line: line, Rule: r.rule.name, What: fmt.Sprintf(format, args...), Do: r.rule.do,
	})
}
