package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Tree is everything that the rules look at, read once.
type Tree struct {
	root     fs.FS
	module   string
	fset     *token.FileSet
	files    []*file
	packages []*pack
}

// file is one text file of the tree.
type file struct {
	path  string
	text  string
	lines []string
	code  *ast.File // nil unless Go that parses
	err   error     // why a Go file did not parse
}

// pack is the Go files of one folder, its external tests among them.
type pack struct {
	dir   string // from the root; "." is the root itself
	name  string // without the _test of external tests
	files []*file
}

// reads tells by a file's name whether it is text that people write. Everything else (images, archives) is passed over.
func reads(name string) bool {
	switch path.Ext(name) {
	case ".go", ".md", ".mod", ".yaml", ".yml", ".sh", ".html", ".css", ".js", ".service", ".conf":
		return true
	}
	return name == "Makefile" || name == "run"
}

// passedOver tells which folders hold nothing that people of this project wrote as source.
func passedOver(dir string) bool {
	switch name := path.Base(dir); {
	case dir == "bin", dir == "out", name == "testdata", name == "vendor", name == "node_modules":
		return true
	case strings.HasPrefix(name, "."):
		return name != "." && name != ".ci" && name != ".github"
	}
	return false
}

var moduleLine = regexp.MustCompile(`(?m)^module\s+(\S+)`)

func load(root fs.FS) (*Tree, error) {
	text, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return nil, err
	}
	module := moduleLine.FindSubmatch(text)
	if module == nil {
		return nil, fmt.Errorf("go.mod names no module")
	}
	t := &Tree{root: root, module: string(module[1]), fset: token.NewFileSet()}
	if err := fs.WalkDir(root, ".", t.visit); err != nil {
		return nil, err
	}
	t.group()
	return t, nil
}

func (t *Tree) visit(name string, entry fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if entry.IsDir() {
		nested, _ := fs.Stat(t.root, path.Join(name, "go.mod"))
		if passedOver(name) || name != "." && nested != nil {
			return fs.SkipDir
		}
		return nil
	}
	if !entry.Type().IsRegular() || !reads(path.Base(name)) {
		return nil
	}
	text, err := fs.ReadFile(t.root, name)
	if err != nil {
		return err
	}
	f := &file{path: name, text: string(text)}
	f.lines = strings.Split(strings.TrimSuffix(f.text, "\n"), "\n")
	if path.Ext(name) == ".go" {
		f.code, f.err = parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if f.err != nil {
			f.code = nil
		}
	}
	t.files = append(t.files, f)
	return nil
}

func (t *Tree) group() {
	byDir := map[string]*pack{}
	for _, f := range t.files {
		if f.code == nil {
			continue
		}
		dir := path.Dir(f.path)
		p := byDir[dir]
		if p == nil {
			p = &pack{dir: dir}
			byDir[dir] = p
			t.packages = append(t.packages, p)
		}
		p.files = append(p.files, f)
		if name := f.code.Name.Name; p.name == "" || !f.isTest() {
			p.name = strings.TrimSuffix(name, "_test")
		}
	}
	slices.SortFunc(t.packages, func(a, b *pack) int { return strings.Compare(a.dir, b.dir) })
}

// path of the package as an import statement names it.
func (t *Tree) importPath(dir string) string { return path.Join(t.module, dir) }

// inside gives the folder of an import path that belongs to this module.
func (t *Tree) inside(importPath string) (dir string, ok bool) {
	if importPath == t.module {
		return ".", true
	}
	return strings.CutPrefix(importPath, t.module+"/")
}

func (t *Tree) line(at token.Pos) int { return t.fset.Position(at).Line }

func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// testing tells whether the file is part of a test: by its name, or because it is a suite that imports testing.
func (f *file) testing() bool { return f.isTest() || f.importName("testing") != "" }

// importName gives the name by which the file calls the package, or "" when it does not import it.
func (f *file) importName(importPath string) string {
	for _, spec := range f.code.Imports {
		if pathOf(spec) != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

func pathOf(spec *ast.ImportSpec) string {
	unquoted, _ := strconv.Unquote(spec.Path.Value)
	return unquoted
}

// goFiles gives each Go file that parses.
func (t *Tree) goFiles(yield func(*file) bool) {
	for _, f := range t.files {
		if f.code != nil && !yield(f) {
			return
		}
	}
}
