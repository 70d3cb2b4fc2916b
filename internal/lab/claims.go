package lab

import (
	"bytes"
	_ "embed"
	"errors"
	"math"
	"slices"
	"strings"
	"text/template"

	"github.com/myriad-server/myriad/internal/lab/figure"
)

//go:embed claims.tmpl
var claims string

// unmeasured stands where there is no result.
const unmeasured = "not measured yet"

// Claims is the table of what the texts claim, as Markdown, with the figures of full runs. Where one is missing it says
// so.
func Claims(results []*Result) ([]byte, error) {
	results = slices.DeleteFunc(slices.Clone(results), func(r *Result) bool { return r.Quick })
	if len(results) == 0 {
		return nil, errors.New("there are no results of full runs")
	}
	t, err := template.New("claims").Funcs(claimFunctions(results)).Parse(claims)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, nil)
	return out.Bytes(), err
}

// claimFunctions is what the template of the claims may ask of results.
func claimFunctions(results []*Result) template.FuncMap {
	find := func(experiment string) *Result {
		if i := slices.IndexFunc(results, func(r *Result) bool { return r.Name == experiment }); i >= 0 {
			return results[i]
		}
		return nil
	}
	// value is a median; the parts of a key are apart by bars. It is not a number where there is none.
	value := func(experiment, table, column, key string) float64 {
		r := find(experiment)
		if r == nil || !r.has(table) {
			return math.NaN()
		}
		return r.find(table).median(column, strings.Split(key, "|")...)
	}
	of := func(v float64) string {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "?"
		}
		return figure.Number(v)
	}
	return template.FuncMap{
		"n": value,
		"v": func(experiment, table, column, key string) string { return of(value(experiment, table, column, key)) },
		"x": func(experiment, table, column, key, to string) string {
			return of(value(experiment, table, column, key) / value(experiment, table, column, to))
		},
		"times": func(experiment, table, column, key, to string) float64 {
			return value(experiment, table, column, key) / value(experiment, table, column, to)
		},
		"verdict": func(experiment string) string {
			if r := find(experiment); r != nil {
				return string(r.Verdict.Answer)
			}
			return unmeasured
		},
		// below says one thing if a number is less than a limit, and another if it is not.
		"below": func(number, limit float64, yes, no string) string {
			switch {
			case math.IsNaN(number):
				return unmeasured
			case number < limit:
				return yes
			}
			return no
		},
		"unmeasured": func() string { return unmeasured },
		"runs": func() string {
			var names []string
			for _, r := range results {
				names = append(names, "`"+r.Name+"`")
			}
			if len(names) == len(All()) {
				return "all experiments"
			}
			return strings.Join(names, ", ")
		},
		"days": func() string {
			var days []string
			for _, r := range results {
				days = append(days, r.Date.Format("2006-01-02"))
			}
			slices.Sort(days)
			return strings.Join(slices.Compact(days), ", ")
		},
		"machine": func() string { return results[0].Machine.name() },
	}
}
