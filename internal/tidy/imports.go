package tidy

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

const (
	systemRoom   = "internal/sys"
	standardRoom = "internal/standard"
)

func checkParse(t *Tree, report *reporter) {
	for _, f := range t.files {
		if f.err != nil {
			report.add(f.path, 1, "%v", f.err)
		}
	}
}

// checkRooms wants every package in the import table and in the map that people read.
func checkRooms(t *Tree, report *reporter) {
	const document = "docs/ARCHITECTURE.md"
	var drawn string
	for _, f := range t.files {
		if f.path == document {
			drawn = f.text
		}
	}
	for _, p := range t.packages {
		first := p.files[0]
		rank, known := rankOf(p.dir)
		if !known {
			report.add(first.path, t.line(first.code.Package), "package %s has no rank", p.dir)
			continue
		}
		if rank != outside && p.dir != "." && !strings.Contains(drawn, "`"+p.dir+"`") {
			report.add(first.path, t.line(first.code.Package), "%s does not show `%s`", document, p.dir)
		}
	}
}

func checkRanks(t *Tree, report *reporter) {
	for _, p := range t.packages {
		own, known := rankOf(p.dir)
		if !known || own == outside {
			continue
		}
		for _, f := range p.files {
			for _, spec := range f.code.Imports {
				dir, ok := t.inside(pathOf(spec))
				if !ok || allowed(p.dir, own, dir, f.isTest()) {
					continue
				}
				rank, known := rankOf(dir)
				if !known {
					continue // checkRooms says so
				}
				report.add(f.path, t.line(spec.Pos()), "%s (rank %d) imports %s (rank %d)", p.dir, own, dir, rank)
			}
		}
	}
}

// allowed tells whether a file of the package from, of rank own, may import the package to. Tests may look sideways,
// because a test of one implementation often needs its sibling, and may use every suite.
func allowed(from string, own int, to string, test bool) bool {
	rank, known := rankOf(to)
	if !known {
		return false
	}
	if test {
		return rank <= own || to == from || slices.Contains(suites, to)
	}
	return rank < own
}

// harmless are the names of package syscall that carry no call: error numbers, signals and two interfaces.
var harmless = regexp.MustCompile(`^(Errno|E[A-Z0-9]+|Signal|SIG[A-Z0-9]+|Conn|RawConn)$`)

// checkSystem keeps unsafe, cgo and raw system calls in one room, so that what must be read twice is in one place.
func checkSystem(t *Tree, report *reporter) {
	for _, p := range t.packages {
		if p.dir == systemRoom {
			continue
		}
		for _, f := range p.files {
			for _, spec := range f.code.Imports {
				name := pathOf(spec)
				if name == "unsafe" || name == "C" || name == "golang.org/x/sys" ||
					strings.HasPrefix(name, "golang.org/x/sys/") {
					report.add(f.path, t.line(spec.Pos()), "%s outside %s", name, systemRoom)
				}
			}
			local := f.importName("syscall")
			eachSelector(f, local, func(sel *ast.SelectorExpr) {
				if !harmless.MatchString(sel.Sel.Name) {
					report.add(f.path, t.line(sel.Pos()), "syscall.%s outside %s", sel.Sel.Name, systemRoom)
				}
			})
		}
	}
}

// eachSelector visits each use of an imported package, by the name that the file gave it.
func eachSelector(f *file, local string, visit func(*ast.SelectorExpr)) {
	if local == "" {
		return
	}
	ast.Inspect(f.code, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
				visit(sel)
			}
		}
		return true
	})
}

// checkEngine follows what each engine package imports, through the packages of this module, and reports the place
// where another module comes in. Tests may use what they like.
func checkEngine(t *Tree, report *reporter) {
	reaches := map[string]string{} // package -> the first engine package that needs it
	var queue []string
	for _, p := range t.packages {
		rank, known := rankOf(p.dir)
		if known && public(p.dir) && (rank <= lastEngineRank || p.dir == ".") {
			reaches[p.dir] = p.dir
			queue = append(queue, p.dir)
		}
	}
	byDir := map[string]*pack{}
	for _, p := range t.packages {
		byDir[p.dir] = p
	}
	for len(queue) > 0 {
		dir := queue[0]
		queue = queue[1:]
		p := byDir[dir]
		if p == nil {
			continue
		}
		for _, f := range p.files {
			if f.isTest() {
				continue
			}
			for _, spec := range f.code.Imports {
				name := pathOf(spec)
				if below, ok := t.inside(name); ok {
					if reaches[below] == "" && dir != "." {
						reaches[below] = reaches[dir]
						queue = append(queue, below)
					}
					continue
				}
				if !standardLibrary(name) && !strings.HasPrefix(name, "golang.org/x/sys/") {
					report.add(f.path, t.line(spec.Pos()), "%s comes into %s", name, reaches[dir])
				}
			}
		}
	}
}

// standardLibrary tells by the first part of an import path, which has a dot in every module but the standard one.
func standardLibrary(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// checkStandard wants every driver and every model named in one place and nowhere else, so that a new one is a folder
// and a line there, and what can be chosen is what exists.
func checkStandard(t *Tree, report *reporter) {
	named := map[string]bool{}
	for _, p := range t.packages {
		rank, known := rankOf(p.dir)
		if !known || rank == outside {
			continue
		}
		for _, f := range p.files {
			if f.isTest() {
				continue
			}
			for _, spec := range f.code.Imports {
				dir, ok := t.inside(pathOf(spec))
				if !ok || !chosen(dir) {
					continue
				}
				if p.dir == standardRoom {
					named[dir] = true
					continue
				}
				report.add(f.path, t.line(spec.Pos()), "%s names %s itself", p.dir, dir)
			}
		}
	}
	for _, p := range t.packages {
		if chosen(p.dir) && !named[p.dir] {
			report.add(p.files[0].path, t.line(p.files[0].code.Package), "%s is not in %s", p.dir, standardRoom)
		}
	}
}

// chosen tells whether the package is a driver or a model, which are chosen by name when a server starts.
func chosen(dir string) bool {
	parent, _, below := strings.Cut(dir, "/")
	rank, known := rankOf(dir)
	switch {
	case !known || !below || slices.Contains(suites, dir):
		return false
	case parent == "driver":
		return rank == 3
	case parent == "serve":
		return rank == 4
	}
	return false
}
