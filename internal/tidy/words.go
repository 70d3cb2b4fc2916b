package tidy

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// drawers are names that say nothing about what is inside.
var drawers = []string{"util", "utils", "common", "helper", "helpers", "misc", "pkg"}

func checkNames(t *Tree, report *reporter) {
	for _, p := range t.packages {
		first := p.files[0]
		for part := range strings.SplitSeq(p.dir, "/") {
			if slices.Contains(drawers, part) {
				report.add(first.path, 0, "a folder called %s", part)
			}
		}
		if slices.Contains(drawers, p.name) && path.Base(p.dir) != p.name {
			report.add(first.path, t.line(first.code.Package), "a package called %s", p.name)
		}
		for _, f := range p.files {
			stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
			if slices.Contains(drawers, stem) {
				report.add(f.path, 0, "a file called %s", path.Base(f.path))
			}
		}
	}
}

// marker is written in pieces so that this file does not report itself.
var marker = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`)

// checkMarkers looks at the comments of Go files, whose strings may say anything, and at the whole of other files.
func checkMarkers(t *Tree, report *reporter) {
	for _, f := range t.files {
		if f.code == nil {
			for i, line := range f.lines {
				if found := marker.FindString(line); found != "" {
					report.add(f.path, i+1, "%s is left over", found)
				}
			}
			continue
		}
		for _, group := range f.code.Comments {
			for _, comment := range group.List {
				for i, line := range strings.Split(comment.Text, "\n") {
					if found := marker.FindString(line); found != "" {
						report.add(f.path, t.line(comment.Pos())+i, "%s is left over", found)
					}
				}
			}
		}
	}
}

// private lists what only one person's machine has. Written in pieces for the same reason as marker.
var private = []string{"/wo" + "rk/"}

func checkPrivatePaths(t *Tree, report *reporter) {
	for _, f := range t.files {
		for i, line := range f.lines {
			for _, word := range private {
				if strings.Contains(line, word) {
					report.add(f.path, i+1, "the path %s", word)
				}
			}
		}
	}
}

// sleepers are the tests that may sleep, each with its reason.
var sleepers = map[string]string{}

func checkSleep(t *Tree, report *reporter) {
	slept := map[string]bool{}
	for f := range t.goFiles {
		if !f.testing() {
			continue
		}
		eachSelector(f, f.importName("time"), func(sel *ast.SelectorExpr) {
			if sel.Sel.Name != "Sleep" {
				return
			}
			slept[f.path] = true
			if sleepers[f.path] == "" {
				report.add(f.path, t.line(sel.Pos()), "a test sleeps")
			}
		})
	}
	for name := range sleepers {
		if !slept[name] && t.holds(name) {
			report.add(name, 0, "the file is among sleepers and does not sleep: take it out")
		}
	}
}

func (t *Tree) holds(name string) bool {
	return slices.ContainsFunc(t.files, func(f *file) bool { return f.path == name })
}

// shortestReason is how many words make a reason: two name a thing that is missing.
const shortestReason = 2

func checkSkip(t *Tree, report *reporter) {
	for f := range t.goFiles {
		if !f.testing() {
			continue
		}
		ast.Inspect(f.code, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !isTestingValue(sel.X) {
				return true
			}
			switch sel.Sel.Name {
			case "SkipNow":
				report.add(f.path, t.line(call.Pos()), "SkipNow gives no reason")
			case "Skip", "Skipf":
				if !hasReason(call.Args) {
					report.add(f.path, t.line(call.Pos()), "%s gives no reason", sel.Sel.Name)
				}
			}
			return true
		})
	}
}

// isTestingValue goes by the names that everyone gives a *testing.T, as the parser knows no types.
func isTestingValue(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	return slices.Contains([]string{"t", "b", "f", "tb", "T", "TB"}, name)
}

func hasReason(args []ast.Expr) bool {
	if len(args) == 0 {
		return false
	}
	literal, ok := args[0].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING || len(args) > 1 {
		return true // computed: an error, or a format with what it is about
	}
	return len(strings.Fields(literal.Value)) >= shortestReason
}
