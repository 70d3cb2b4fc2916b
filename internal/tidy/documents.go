package tidy

import (
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

const decisions = "docs/adr"

var (
	decisionName  = regexp.MustCompile(`^(\d{4})-[a-z0-9]+(-[a-z0-9]+)*\.md$`)
	decisionTitle = regexp.MustCompile(`^# (?:ADR )?0*(\d+)[.:] \S`)
)

// checkADR wants the decision records numbered in order, each once, with the number in its heading.
func checkADR(t *Tree, report *reporter) {
	next := 0
	for _, f := range t.files { // in the order of their names
		if path.Dir(f.path) != decisions || path.Base(f.path) == "README.md" {
			continue
		}
		match := decisionName.FindStringSubmatch(path.Base(f.path))
		if match == nil {
			report.add(f.path, 0, "the name has not the form of a decision")
			continue
		}
		number, _ := strconv.Atoi(match[1]) // four digits, says the pattern
		switch {
		case number < next:
			report.add(f.path, 0, "the number %s is taken", match[1])
		case number > next:
			report.add(f.path, 0, "the number before it is missing: %04d was expected", next)
		}
		next = number + 1
		titled := decisionTitle.FindStringSubmatch(f.lines[0])
		if titled == nil || titled[1] != strconv.Itoa(number) {
			report.add(f.path, 1, "the first line is not a heading that begins with %d", number)
		}
	}
}

var (
	inlineCode = regexp.MustCompile("`+[^`]*`+")
	inlineLink = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	definition = regexp.MustCompile(`^\s{0,3}\[[^\]]+\]:\s+<?([^\s>]+)>?`)
	htmlTarget = regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	heading    = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
)

// checkLinks follows every link in Markdown that stays inside the tree, down to the heading. Nothing is fetched.
func checkLinks(t *Tree, report *reporter) {
	anchors := map[string]map[string]bool{}
	for _, f := range t.files {
		if path.Ext(f.path) == ".md" {
			anchors[f.path] = headingsOf(f)
		}
	}
	for _, f := range t.files {
		if path.Ext(f.path) != ".md" {
			continue
		}
		prose(f, func(number int, line string) {
			for _, target := range linksIn(line) {
				if why := t.broken(f, target, anchors); why != "" {
					report.add(f.path, number, "link to %s: %s", target, why)
				}
			}
		})
	}
}

// prose visits the lines that are not inside a fence of code, with inline code blanked.
func prose(f *file, visit func(number int, line string)) {
	fence := ""
	for i, line := range f.lines {
		trimmed := strings.TrimSpace(line)
		if fence != "" {
			if strings.HasPrefix(trimmed, fence) {
				fence = ""
			}
			continue
		}
		if strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~") {
			fence = trimmed[:3]
			continue
		}
		visit(i+1, line)
	}
}

func linksIn(line string) (targets []string) {
	line = inlineCode.ReplaceAllString(line, "")
	for _, pattern := range []*regexp.Regexp{inlineLink, definition, htmlTarget} {
		for _, match := range pattern.FindAllStringSubmatch(line, -1) {
			targets = append(targets, match[1])
		}
	}
	return targets
}

// broken says why a link leads nowhere, or "" when it is good or leads out of the tree.
func (t *Tree) broken(from *file, target string, anchors map[string]map[string]bool) string {
	u, err := url.Parse(target)
	if err != nil {
		return "not a URL"
	}
	if u.Scheme != "" || u.Host != "" {
		return ""
	}
	name := from.path
	if u.Path != "" {
		if strings.HasPrefix(u.Path, "/") {
			return "absolute: a link is relative to its document"
		}
		name = path.Join(path.Dir(from.path), u.Path)
		if !fs.ValidPath(name) {
			return "outside the tree"
		}
		if _, err := fs.Stat(t.root, name); err != nil {
			return "no such file"
		}
	}
	if known := anchors[name]; known != nil && u.Fragment != "" && !known[u.Fragment] {
		return "no such heading"
	}
	return ""
}

// headingsOf gives the anchors of a document's headings, as code hosts make them.
func headingsOf(f *file) map[string]bool {
	found := map[string]bool{}
	prose(f, func(_ int, line string) {
		if match := heading.FindStringSubmatch(line); match != nil {
			found[anchor(match[1])] = true
		}
	})
	return found
}

func anchor(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}
