package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/load"
)

// sample is a result with two rounds and a figure of each kind.
func sample() *Result {
	e := Experiment{
		Name: "dispatch", Title: "A & B?", Seeds: []string{"000", "003"}, Claim: "<claim>", Varied: "x", Method: "m",
	}
	r := newResult(e, &Stand{Quick: true, Rounds: 2, Seed: 7, Machine: Machine{Kernel: "Linux 0"}})
	t := r.table("t", []string{"who", "n"}, Column{"rate", "1/s"}, Column{"time", "ms"})
	for round := range 2 {
		for i, who := range []string{"a", "b"} {
			t.add([]string{who, "1"}, float64(10+round+i), 0.5)
			t.add([]string{who, "1000"}, float64(100+round), 1.5)
		}
	}
	r.draw(Figure{Title: "lines", Table: "t", Column: "rate", Line: "who", Over: "n", LogX: true})
	r.draw(Figure{Title: "bars", Table: "t", Column: "time", Over: "who", Names: true, Only: map[string]string{"n": "1"}})
	r.note("a note")
	r.finish()
	r.Verdict = Verdict{Holds, "because"}
	return r
}

func TestMedianAndRange(t *testing.T) {
	r := sample()
	if got := r.find("t").row("a", "1").Cells[0]; got.Median != 10.5 || got.Least != 10 || got.Most != 11 {
		t.Errorf("%+v", got)
	}
	if err := r.failures(); err != nil {
		t.Error(err)
	}
	r.find("t").row("a", "1").Cells[0].Samples[0] = r.find("t").median("no such column", "a", "1")
	r.finish()
	if err := r.failures(); err == nil || !strings.Contains(err.Error(), `table "t"`) {
		t.Errorf("a cell without a number passes: %v", err)
	}
}

func TestFigures(t *testing.T) {
	r := sample()
	lines, bars := r.drawing(r.Figures[0]), r.drawing(r.Figures[1])
	if len(lines.Series) != 2 || len(lines.Series[0].Points) != 2 || lines.Series[0].Points[1].X != 1000 {
		t.Errorf("lines: %+v", lines.Series)
	}
	if len(bars.Names) != 2 || len(bars.Series) != 1 || len(bars.Series[0].Points) != 2 {
		t.Errorf("bars: %v %+v", bars.Names, bars.Series)
	}
}

// TestStrains has a result tell how often the generator was the bottleneck, and say nothing when it never was.
func TestStrains(t *testing.T) {
	var n strains
	r := sample()
	before := len(r.Notes)
	n.heed(&load.CPU{Busiest: 0.5})
	if n.confess(r); len(r.Notes) != before {
		t.Errorf("a generator that kept up: %q", r.Notes)
	}
	n.heed(&load.CPU{Busiest: 0.95})
	n.heed(&load.CPU{Busiest: 0.95, LagP99: time.Second})
	n.confess(r)
	if said := strings.Join(r.Notes[before:], "\n"); len(r.Notes) != before+2 ||
		!strings.Contains(said, "2 of 3 loads: its busiest") || !strings.Contains(said, "1 of 3 loads: it sent") {
		t.Error(said)
	}
}

// TestReport wants one page that names nothing outside itself.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	if err := sample().Save(dir); err != nil {
		t.Fatal(err)
	}
	results, err := Load(dir)
	if err != nil || len(results) != 1 {
		t.Fatalf("%d results: %v", len(results), err)
	}
	if err := Report(results, dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, ReportName))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{
		"&lt;claim&gt;", "not judged", "&ldquo;holds today&rdquo;", "because", "A &amp; B?", "seed 7", "Linux 0",
		"A quick run",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the report has no %q", want)
		}
	}
	if n := strings.Count(page, "<svg "); n != 2 {
		t.Errorf("the report has %d figures", n)
	}
	for _, outside := range []string{"src=", "@import", "url(", "<link", "<script"} {
		if strings.Contains(page, outside) {
			t.Errorf("the report has %q, and must open without a network", outside)
		}
	}
	var read map[string]any
	text, _ = os.ReadFile(filepath.Join(dir, "dispatch.json"))
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"machine", "seed", "date", "rounds", "quick", "verdict"} {
		if read[key] == nil {
			t.Errorf("the result has no %s", key)
		}
	}
}

// TestDraw draws figures in place of older ones, and leaves those of others alone.
func TestDraw(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"dispatch-1.svg", "dispatch-12.svg", "dispatch-more-1.svg"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := sample().Draw(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"dispatch-1.svg": "<svg ", "dispatch-2.svg": "<svg ", "dispatch-12.svg": "", "dispatch-more-1.svg": "old",
	} {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		if !strings.HasPrefix(string(text), want) || want == "" && text != nil {
			t.Errorf("%s: %.20q, want %q", name, text, want)
		}
	}
}

// TestExperiments looks at what every experiment must say, and at the time that all may take in small.
func TestExperiments(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range All() {
		for what, text := range map[string]string{
			"name": e.Name, "title": e.Title, "claim": e.Claim, "varied": e.Varied, "method": e.Method,
		} {
			if text == "" {
				t.Errorf("%s has no %s", e.Name, what)
			}
		}
		if seen[e.Name] || len(e.Seeds) == 0 || e.measure == nil || e.judge == nil {
			t.Errorf("%s is incomplete, or there twice", e.Name)
		}
		if e.Quick <= 0 || e.Quick > 2*time.Minute || e.Takes <= 0 || e.Full < e.Takes {
			t.Errorf("%s takes %v in full, at most %v, and %v in small", e.Name, e.Takes, e.Full, e.Quick)
		}
		seen[e.Name] = true
		if found, err := Find(e.Name); err != nil || found.Name != e.Name {
			t.Errorf("%s is not found: %v", e.Name, err)
		}
	}
	if _, err := Find("none"); err == nil {
		t.Error("an experiment that does not exist was found")
	}
}

func TestRotated(t *testing.T) {
	for round, want := range [][]int{{0, 1, 2}, {1, 2, 0}, {2, 0, 1}, {0, 1, 2}} {
		got := rotated(3, round)
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("round %d: %v, want %v", round, got, want)
			}
		}
	}
}
