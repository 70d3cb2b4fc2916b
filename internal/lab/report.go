package lab

import (
	"bytes"
	_ "embed"
	"html/template"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/lab/figure"
)

//go:embed report.html
var page string

// ReportName is the file that Report writes.
const ReportName = "report.html"

// Report writes one page that shows every result, with its figures in it: it needs neither a network nor other files.
func Report(results []*Result, dir string) error {
	functions := template.FuncMap{
		"number": figure.Number,
		"join":   strings.Join,
		"date":   func(t time.Time) string { return t.Format("2006-01-02 15:04 UTC") },
		"took":   func(d Duration) string { return time.Duration(d).Round(time.Second / 10).String() },
		"drawn": func(r *Result, f Figure) template.HTML {
			return template.HTML(r.drawing(f).SVG()) //nolint:gosec // drawn by us, all text in it escaped
		},
		"class": func(a Answer) string { return strings.ReplaceAll(string(a), " ", "-") },
		"failed": func(r *Result) (n int) {
			for _, c := range r.Checks {
				if !c.OK {
					n++
				}
			}
			return n
		},
		"versions": func(m map[string]string) string {
			return strings.Join(slices.Sorted(maps.Values(m)), "; ")
		},
		"gibibytes": func(n int64) string { return figure.Number(float64(n) / (1 << 30)) },
	}
	t, err := template.New("report").Funcs(functions).Parse(page)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, results); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ReportName), out.Bytes(), 0o644)
}
