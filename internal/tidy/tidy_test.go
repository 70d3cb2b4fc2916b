package tidy

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// TestTree holds this repository to its own rules.
func TestTree(t *testing.T) {
	problems, err := Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "\n%s", p)
	}
	if len(problems) > 0 {
		t.Errorf("%d places break a rule:%s", len(problems), b.String())
	}
}

// TestRules gives each rule a small tree that breaks it, and ways of keeping it that come close. The archive's file
// "want" lists what must be found, as path:line: what.
func TestRules(t *testing.T) {
	for _, rule := range Rules() {
		t.Run(rule, func(t *testing.T) {
			tree, want := fixture(t, filepath.Join("testdata", rule+".txtar"))
			problems, err := Check(tree)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range problems {
				if p.Rule == rule {
					got = append(got, fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.What))
				}
				if p.Do == "" || p.What == "" {
					t.Errorf("%v does not say what to do", p)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what was found (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryFixtureHasARule finds archives that are left behind when a rule is renamed.
func TestEveryFixtureHasARule(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range archives {
		if rule := strings.TrimSuffix(filepath.Base(name), ".txtar"); !slices.Contains(Rules(), rule) {
			t.Errorf("%s belongs to no rule", name)
		}
	}
}

// fixture reads an archive into a tree in memory: a line "-- name --" begins each file. A line REPEAT n text stands for
// n lines of text, so that long files stay short here.
func fixture(t *testing.T, name string) (tree fs.FS, want []string) {
	t.Helper()
	archive, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"go.mod": {Data: []byte("module example.com/m\n")}}
	current := &fstest.MapFile{}
	for line := range strings.Lines(string(archive)) {
		inner, begins := strings.CutPrefix(line, "-- ")
		if file, ends := strings.CutSuffix(inner, " --\n"); begins && ends {
			current = &fstest.MapFile{}
			files[file] = current
			continue
		}
		current.Data = append(current.Data, expand(line)...)
	}
	if files["want"] == nil || len(files["want"].Data) == 0 {
		t.Fatalf("%s wants nothing to be found: it could not fail", name)
	}
	want = strings.Split(strings.TrimSpace(string(files["want"].Data)), "\n")
	delete(files, "want")
	return files, want
}

func expand(line string) string {
	var n int
	if _, err := fmt.Sscanf(line, "REPEAT %d", &n); err != nil {
		return line
	}
	_, repeated, _ := strings.Cut(strings.TrimPrefix(line, "REPEAT "), " ")
	return strings.Repeat(repeated, n)
}

func TestCheckNeedsAModule(t *testing.T) {
	for name, tree := range map[string]fstest.MapFS{
		"no go.mod":         {"buf/buf.go": {Data: []byte("package buf\n")}},
		"go.mod of nothing": {"go.mod": {Data: []byte("go 1.26\n")}},
		"no package":        {"go.mod": {Data: []byte("module example.com/m\n")}},
	} {
		if problems, err := Check(tree); err == nil {
			t.Errorf("%s: %d problems and no error", name, len(problems))
		}
	}
}

func TestRankOf(t *testing.T) {
	tests := []struct {
		dir   string
		rank  int
		known bool
	}{
		{".", 7, true},
		{"buf", 0, true},
		{"driver", 1, true},
		{"driver/emulate", 2, true}, // an exact row before driver/*
		{"driver/epoll", 3, true},
		{"driver/epoll/inner", 0, false}, // * is one name
		{"examples/million", outside, true},
		{"examples/million/client", outside, true},
		{"cmd/myriad", 8, true},
		{"cmd/other", 0, false},
		{"new", 0, false},
	}
	for _, test := range tests {
		if rank, known := rankOf(test.dir); rank != test.rank || known != test.known {
			t.Errorf("rankOf(%q) = %d, %v; want %d, %v", test.dir, rank, known, test.rank, test.known)
		}
	}
}

func TestProblemSaysWhereWhatAndWhatToDo(t *testing.T) {
	p := Problem{Path: "loop/loop.go", Line: 3, Rule: "sleep", What: "a test sleeps", Do: "wait for the event"}
	if got, want := p.String(), "loop/loop.go:3: sleep: a test sleeps; wait for the event"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTableIsTheOneInTheMap compares rooms with the import table of docs/ARCHITECTURE.md, row by row.
func TestTableIsTheOneInTheMap(t *testing.T) {
	text, err := os.ReadFile("../../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string][]string{}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (.*) \|$`)
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		for name := range strings.SplitSeq(match[2], ", ") {
			drawn[match[1]] = append(drawn[match[1]], strings.Trim(name, "`"))
		}
	}
	listed := map[string][]string{}
	for _, r := range rooms {
		if r.rank != outside {
			rank := strconv.Itoa(r.rank)
			listed[rank] = append(listed[rank], r.pattern)
		}
	}
	if diff := cmp.Diff(listed, drawn); diff != "" {
		t.Errorf("rooms.go and docs/ARCHITECTURE.md differ (-rooms +document):\n%s", diff)
	}
}
