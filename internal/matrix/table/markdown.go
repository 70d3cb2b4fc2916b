package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// write prints everything: models by drivers, behaviours by columns, the reasons of the holes, the failures.
func (t *table) write(to io.Writer) {
	fmt.Fprint(to, "# Behaviours, drivers and models\n\n")
	t.writeModels(to)
	t.writeRows(to)
	if len(t.reasons) > 0 {
		fmt.Fprint(to, "\nA number is the reason why there is nothing to test:\n\n")
	}
	for i, reason := range t.reasons {
		fmt.Fprintf(to, "%d. %s\n", i+1, reason)
	}
	for _, name := range t.failures() {
		fmt.Fprintf(to, "\n## Failed: %s\n\n", spaced(name))
		for _, line := range t.byName[name].output {
			fmt.Fprint(to, "    ", strings.TrimRight(line, "\n"), "\n")
		}
	}
}

// spaced is a name with its spaces, for which Go's tests have underscores.
func spaced(name string) string { return strings.ReplaceAll(name, "_", " ") }

// writeModels prints a row for each model and a column for whatever moves the bytes, variants among them, with how many
// behaviours there are.
func (t *table) writeModels(to io.Writer) {
	var models, movers []string
	for _, c := range t.columns {
		model, mover, _ := strings.Cut(c, "_")
		if !slices.Contains(models, model) {
			models = append(models, model)
		}
		if !slices.Contains(movers, mover) {
			movers = append(movers, mover)
		}
	}
	row(to, "model", []string{spaced(strings.Join(movers, " | "))})
	rule(to, len(movers))
	for _, model := range models {
		var cells []string
		for _, mover := range movers {
			cells = append(cells, t.count(model+"_"+mover))
		}
		row(to, model, cells)
	}
	fmt.Fprintln(to)
}

// count is how many behaviours of a column passed, of how many that were tested; or why there are none.
func (t *table) count(column string) string {
	r := t.byName[test+"/"+column]
	switch {
	case r == nil:
		return ""
	case r.state == skipped:
		return t.number(r.reason())
	}
	good, tried := 0, 0
	for _, row := range t.rows {
		switch s := t.state(column, row); s {
		case passed:
			good++
			tried++
		case failed, begun:
			tried++
		}
	}
	if r.state == passed && good == tried {
		return fmt.Sprint(good, " pass")
	}
	return fmt.Sprintf("**FAIL** %d of %d", tried-good, tried)
}

func (t *table) state(column, row string) state {
	if r := t.byName[test+"/"+column+"/"+row]; r != nil {
		return r.state
	}
	return absent
}

// writeRows prints a row for each behaviour, and a column for each that was tested at all.
func (t *table) writeRows(to io.Writer) {
	var columns, heads []string
	for _, c := range t.columns {
		if t.byName[test+"/"+c].state != skipped {
			columns = append(columns, c)
			heads = append(heads, spaced(c))
		}
	}
	row(to, "behaviour", heads)
	rule(to, len(heads))
	for _, name := range t.rows {
		var cells []string
		for _, c := range columns {
			cells = append(cells, t.cell(c, name))
		}
		suite, behaviour, _ := strings.Cut(name, "/")
		row(to, suite+": "+spaced(behaviour), cells)
	}
}

func (t *table) cell(column, row string) string {
	switch t.state(column, row) {
	case passed:
		return "pass"
	case skipped:
		return t.number(t.byName[test+"/"+column+"/"+row].reason())
	case failed, begun:
		return "**FAIL**"
	}
	return t.number("the column ended before")
}

// number is that of a reason.
func (t *table) number(reason string) string {
	i := slices.Index(t.reasons, reason)
	if i < 0 {
		i = len(t.reasons)
		t.reasons = append(t.reasons, reason)
	}
	return fmt.Sprint(i + 1)
}

func row(to io.Writer, head string, cells []string) {
	fmt.Fprintf(to, "| %s | %s |\n", head, strings.Join(cells, " | "))
}

func rule(to io.Writer, cells int) { fmt.Fprintln(to, "|---|"+strings.Repeat(":-:|", cells)) }
