package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/lab/figure"
)

// Duration is a time that is written as text.
type Duration time.Duration

// MarshalText writes it as time.Duration does, to the millisecond.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).Round(time.Millisecond).String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	*d = Duration(value)
	return err
}

// Answer is what became of a claim.
type Answer string

// The answers.
const (
	Holds     Answer = "holds today"
	Partly    Answer = "holds in part"
	NoLonger  Answer = "no longer"
	NotJudged Answer = "not judged"
)

// Verdict is the answer with its reason.
type Verdict struct {
	Answer Answer `json:"answer"`
	Why    string `json:"why"`
}

// Result is what an experiment has shown, and on what.
type Result struct {
	Name    string    `json:"name"`
	Title   string    `json:"title"`
	Seeds   []string  `json:"seeds"`
	Claim   string    `json:"claim"`
	Varied  string    `json:"varied"`
	Method  string    `json:"method"`
	Date    time.Time `json:"date"`
	Took    Duration  `json:"took"`
	Quick   bool      `json:"quick"`
	Rounds  int       `json:"rounds"`
	Seed    uint64    `json:"seed"`
	Machine Machine   `json:"machine"`
	Tables  []*Table  `json:"tables"`
	Figures []Figure  `json:"figures"`
	Notes   []string  `json:"notes"`
	Checks  []Check   `json:"checks"`
	Verdict Verdict   `json:"verdict"`
}

// Check is one thing that must be so whatever the machine: that figures are there, that sums agree, that what was to
// run ran.
type Check struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
}

// Column is a measured quantity.
type Column struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
}

// Table is rows of measured quantities. A row is found by its key.
type Table struct {
	Name    string   `json:"name"`
	Keys    []string `json:"keys"` // what the parts of a row's key are
	Columns []Column `json:"columns"`
	Rows    []*Row   `json:"rows"`
}

// Row is what was measured of one thing, once in each round.
type Row struct {
	Key   []string `json:"key"`
	Cells []Cell   `json:"cells"`
}

// Cell is one quantity: the median of the rounds, and their range.
type Cell struct {
	Median  float64   `json:"median"`
	Least   float64   `json:"least"`
	Most    float64   `json:"most"`
	Samples []float64 `json:"samples"`
}

// Figure is a drawing of a table: a line for each value of one part of the key over another part, which is a number, or
// over the names of it.
type Figure struct {
	Title  string `json:"title"`
	Table  string `json:"table"`
	Column string `json:"column"`
	Line   string `json:"line,omitempty"` // the part of the key that names a line; none: one line
	Over   string `json:"over"`           // the part of the key along the lower axis
	// Only keeps the rows that have these parts of the key.
	Only  map[string]string `json:"only,omitempty"`
	Names bool              `json:"names"` // what lies along the lower axis are names
	LogX  bool              `json:"log_x"`
	LogY  bool              `json:"log_y"`
}

func newResult(e Experiment, s *Stand) *Result {
	return &Result{
		Name: e.Name, Title: e.Title, Seeds: e.Seeds, Claim: e.Claim, Varied: e.Varied, Method: e.Method,
		Date: time.Now().UTC().Truncate(time.Second), Quick: s.Quick, Rounds: s.Rounds, Seed: s.Seed,
		Machine: s.Machine, Tables: []*Table{}, Figures: []Figure{}, Notes: []string{}, Checks: []Check{},
	}
}

// table begins one. keys are the names of the parts of a row's key.
func (r *Result) table(name string, keys []string, columns ...Column) *Table {
	t := &Table{Name: name, Keys: keys, Columns: columns, Rows: []*Row{}}
	r.Tables = append(r.Tables, t)
	return t
}

// find returns a table that is there.
func (r *Result) find(name string) *Table {
	i := slices.IndexFunc(r.Tables, func(t *Table) bool { return t.Name == name })
	return r.Tables[i]
}

// has reports whether there is a table of that name: not every machine can make every one.
func (r *Result) has(table string) bool {
	return slices.ContainsFunc(r.Tables, func(t *Table) bool { return t.Name == table })
}

func (r *Result) draw(f Figure) { r.Figures = append(r.Figures, f) }

func (r *Result) note(format string, v ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, v...)) }

func (r *Result) check(ok bool, format string, v ...any) {
	r.Checks = append(r.Checks, Check{fmt.Sprintf(format, v...), ok})
}

// Passed reports whether all checks passed.
func (r *Result) Passed() bool { return r.failures() == nil }

// failures is the checks that failed, as an error.
func (r *Result) failures() error {
	var errs []error
	for _, c := range r.Checks {
		if !c.OK {
			errs = append(errs, fmt.Errorf("%s: it is not so: %s", r.Name, c.What))
		}
	}
	return errors.Join(errs...)
}

// add takes one round's values for a key, in the order of the columns.
func (t *Table) add(key []string, values ...float64) {
	row := t.row(key...)
	if row == nil {
		row = &Row{Key: key, Cells: make([]Cell, len(t.Columns))}
		t.Rows = append(t.Rows, row)
	}
	for i := range t.Columns {
		row.Cells[i].Samples = append(row.Cells[i].Samples, values[i])
	}
}

func (t *Table) row(key ...string) *Row {
	for _, row := range t.Rows {
		if slices.Equal(row.Key, key) {
			return row
		}
	}
	return nil
}

// median is that of a column for a key; not a number if it was not measured.
func (t *Table) median(column string, key ...string) float64 {
	row := t.row(key...)
	i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == column })
	if row == nil || i < 0 {
		return math.NaN()
	}
	return row.Cells[i].Median
}

// finish computes medians and ranges, and checks that every cell of every table is a number.
func (r *Result) finish() {
	for _, t := range r.Tables {
		whole := len(t.Rows) > 0
		for _, row := range t.Rows {
			for i := range row.Cells {
				row.Cells[i].compute()
				whole = whole && row.Cells[i].sound()
			}
		}
		r.check(whole, "every cell of the table %q has a number", t.Name)
		units := true
		for _, c := range t.Columns {
			units = units && c.Name != "" && c.Unit != ""
		}
		r.check(units, "every column of the table %q has a unit", t.Name)
	}
}

func (c *Cell) compute() {
	sorted := slices.Sorted(slices.Values(c.Samples))
	n := len(sorted)
	c.Least, c.Most, c.Median = sorted[0], sorted[n-1], sorted[n/2]
	if n%2 == 0 {
		c.Median = (sorted[n/2-1] + sorted[n/2]) / 2
	}
}

func (c *Cell) sound() bool {
	return len(c.Samples) > 0 && !slices.ContainsFunc(c.Samples, func(v float64) bool {
		return math.IsNaN(v) || math.IsInf(v, 0)
	})
}

// drawing makes a figure of its table.
func (r *Result) drawing(f Figure) *figure.Figure {
	t := r.find(f.Table)
	column := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == f.Column })
	line, over := slices.Index(t.Keys, f.Line), slices.Index(t.Keys, f.Over)
	g := &figure.Figure{
		Title: capital(f.Title), XLabel: f.Over, Legend: f.Line, LogX: f.LogX, LogY: f.LogY,
		YLabel: t.Columns[column].Name + " (" + t.Columns[column].Unit + ")",
	}
	for _, row := range t.Rows {
		if !t.chosen(row, f.Only) {
			continue
		}
		name := f.Column
		if line >= 0 {
			name = row.Key[line]
		}
		x := 0.0
		if f.Names {
			at := slices.Index(g.Names, row.Key[over])
			if at < 0 {
				at, g.Names = len(g.Names), append(g.Names, row.Key[over])
			}
			x = float64(at)
		} else {
			_, _ = fmt.Sscan(strings.ReplaceAll(row.Key[over], ",", ""), &x)
		}
		at := slices.IndexFunc(g.Series, func(s figure.Series) bool { return s.Name == name })
		if at < 0 {
			at, g.Series = len(g.Series), append(g.Series, figure.Series{Name: name})
		}
		c := row.Cells[column]
		g.Series[at].Points = append(g.Series[at].Points, figure.Point{X: x, Y: c.Median, Least: c.Least, Most: c.Most})
	}
	return g
}

// capital begins a title as a sentence begins.
func capital(title string) string {
	if title == "" {
		return ""
	}
	return strings.ToUpper(title[:1]) + title[1:]
}

func (t *Table) chosen(row *Row, only map[string]string) bool {
	for part, value := range only {
		if i := slices.Index(t.Keys, part); i < 0 || row.Key[i] != value {
			return false
		}
	}
	return true
}

// Save writes the result to NAME.json in a folder, and its figures to NAME-1.svg and so on.
func (r *Result) Save(dir string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := r.Draw(dir); err != nil {
		return err
	}
	// It is there as a whole or not at all, so that a run that was killed can be resumed.
	name := filepath.Join(dir, r.Name+".json")
	if err := os.WriteFile(name+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// Draw writes the figures to NAME-1.svg and so on, in place of those that are there.
func (r *Result) Draw(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, r.Name+"-[0-9]*.svg"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for i, f := range r.Figures {
		name := filepath.Join(dir, fmt.Sprintf("%s-%d.svg", r.Name, i+1))
		if err := os.WriteFile(name, r.drawing(f).SVG(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Load reads the results in a folder, in the order of the experiments. Experiments without a result are left out.
func Load(dir string) ([]*Result, error) {
	var list []*Result
	for _, e := range All() {
		text, err := os.ReadFile(filepath.Join(dir, e.Name+".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := &Result{}
		if err := json.Unmarshal(text, r); err != nil {
			return nil, fmt.Errorf("%s.json: %w", e.Name, err)
		}
		list = append(list, r)
	}
	return list, nil
}
