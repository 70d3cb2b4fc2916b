package tidy

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of size. They are round numbers that a reader can hold: a function on a screen, a file in one sitting.
const (
	maxFunctionLines = 70
	maxFileLines     = 600
	maxLineColumns   = 120
)

func checkFunctionLength(t *Tree, report *reporter) {
	measure := func(f *file, name string, n ast.Node) {
		first, last := t.line(n.Pos()), t.line(n.End())
		if lines := last - first + 1; lines > maxFunctionLines {
			report.add(f.path, first, "%s has %d lines, the limit is %d", name, lines, maxFunctionLines)
		}
	}
	for f := range t.goFiles {
		if generated(f) {
			continue
		}
		for _, decl := range f.code.Decls {
			if function, ok := decl.(*ast.FuncDecl); ok {
				measure(f, function.Name.Name, function)
				continue
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if literal, ok := n.(*ast.FuncLit); ok {
					measure(f, "the function", literal)
				}
				return true
			})
		}
	}
}

func checkFileLength(t *Tree, report *reporter) {
	for f := range t.goFiles {
		if n := len(f.lines); n > maxFileLines && !generated(f) {
			report.add(f.path, maxFileLines+1, "the file has %d lines, the limit is %d", n, maxFileLines)
		}
	}
}

// checkLineLength counts characters, a tab as one, in what is edited as text. Links cannot be broken, nor rows of a
// table, nor directives.
func checkLineLength(t *Tree, report *reporter) {
	for _, f := range t.files {
		switch path.Ext(f.path) {
		case ".mod", ".html", ".css", ".js":
			continue
		}
		if generated(f) {
			continue
		}
		for i, line := range f.lines {
			columns := utf8.RuneCountInString(line)
			if columns <= maxLineColumns || unbreakable(f.path, line) {
				continue
			}
			report.add(f.path, i+1, "the line has %d columns, the limit is %d", columns, maxLineColumns)
		}
	}
}

// generated tells whether a program wrote the file: Go says so in a comment of a fixed form, a document in a sentence.
func generated(f *file) bool {
	if f.code != nil {
		return ast.IsGenerated(f.code)
	}
	return path.Ext(f.path) == ".md" && strings.Contains(f.text, "\nThis file is written by `")
}

func unbreakable(name, line string) bool {
	if strings.Contains(line, "://") || strings.HasPrefix(line, "//go:") {
		return true
	}
	return path.Ext(name) == ".md" && strings.HasPrefix(strings.TrimSpace(line), "|")
}

func checkPackageDoc(t *Tree, report *reporter) {
	for _, p := range t.packages {
		begin := "Package " + p.name + " "
		if p.name == "main" {
			begin = "Command " + path.Base(t.importPath(p.dir))
		}
		sources, documented := 0, false
		for _, f := range p.files {
			if f.isTest() {
				continue
			}
			sources++
			documented = documented || strings.HasPrefix(f.code.Doc.Text(), begin)
		}
		if sources > 0 && !documented {
			first := p.files[slices.IndexFunc(p.files, func(f *file) bool { return !f.isTest() })]
			report.add(first.path, t.line(first.code.Package), "no package comment begins with %q", begin)
		}
	}
}

// checkExportedDoc looks at what other packages can name: not at tests, and not at commands.
func checkExportedDoc(t *Tree, report *reporter) {
	for _, p := range t.packages {
		if p.name == "main" {
			continue
		}
		for _, f := range p.files {
			if f.isTest() {
				continue
			}
			for _, decl := range f.code.Decls {
				for _, name := range undocumented(decl) {
					report.add(f.path, t.line(name.Pos()), "no comment of its own for %s", name.Name)
				}
			}
		}
	}
}

func undocumented(decl ast.Decl) (names []*ast.Ident) {
	if function, ok := decl.(*ast.FuncDecl); ok {
		if function.Name.IsExported() && receiverExported(function) && !begins(function.Doc, function.Name.Name) {
			names = append(names, function.Name)
		}
		return names
	}
	group, ok := decl.(*ast.GenDecl)
	if !ok || group.Tok == token.IMPORT {
		return nil
	}
	for _, spec := range group.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			doc := spec.Doc
			if doc == nil && !group.Lparen.IsValid() {
				doc = group.Doc
			}
			if spec.Name.IsExported() && !begins(doc, spec.Name.Name) {
				names = append(names, spec.Name)
			}
		case *ast.ValueSpec:
			names = append(names, undocumentedValues(group, spec)...)
		}
	}
	return names
}

// undocumentedValues takes the comment of a constant or variable from above it, from the end of its line, or, for an
// enumeration in brackets whose names say it all, from above the group.
func undocumentedValues(group *ast.GenDecl, spec *ast.ValueSpec) (names []*ast.Ident) {
	if spec.Comment.Text() != "" || group.Lparen.IsValid() && group.Doc.Text() != "" {
		return nil
	}
	doc := spec.Doc
	if !group.Lparen.IsValid() {
		doc = group.Doc
	}
	for i, name := range spec.Names {
		if !name.IsExported() {
			continue
		}
		// Several names in one spec share the comment that begins with the first.
		if i == 0 && begins(doc, name.Name) || i > 0 && strings.Contains(doc.Text(), name.Name) {
			continue
		}
		names = append(names, name)
	}
	return names
}

func receiverExported(function *ast.FuncDecl) bool {
	if function.Recv == nil || len(function.Recv.List) == 0 {
		return true
	}
	of := function.Recv.List[0].Type
	for {
		switch x := of.(type) {
		case *ast.StarExpr:
			of = x.X
		case *ast.IndexExpr:
			of = x.X
		case *ast.IndexListExpr:
			of = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// begins tells whether the comment starts with the name, after an article at most.
func begins(doc *ast.CommentGroup, name string) bool {
	text := doc.Text()
	for _, article := range []string{"", "A ", "An ", "The "} {
		rest, ok := strings.CutPrefix(text, article+name)
		if !ok {
			continue
		}
		next, _ := utf8.DecodeRuneInString(rest)
		return next != '_' && (next < '0' || next > '9') && (next < 'A' || next > 'Z') && (next < 'a' || next > 'z')
	}
	return false
}
