package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Columns is the width that text output keeps to; commands are not broken.
const Columns = 80

// colours of the harms, as terminals number them.
var colours = [...]string{Info: "36", Warning: "33", Hurting: "31", Outage: "1;31"}

// JSON writes the report as the package comment describes it.
func (r *Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// Line writes the report as JSON in one line, for a stream of reports.
func (r *Report) Line(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// Changes writes what has come and what has gone since an earlier report; all of it if that is nil. Without a change it
// writes nothing. A finding that only changed its numbers is the same one.
func (r *Report) Changes(w io.Writer, since *Report, colour bool) error {
	if since == nil {
		return r.Text(w, colour)
	}
	var b strings.Builder
	clock := r.Time.Format("15:04:05")
	for _, f := range r.Findings {
		if !since.has(f) {
			fmt.Fprintf(&b, "%s  new:\n", clock)
			f.text(&b, colour)
		}
	}
	for _, f := range since.Findings {
		if !r.has(f) {
			wrap(&b, clock+"  gone: ", f.Title+" ("+f.Check+")")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) has(f Finding) bool {
	return slices.ContainsFunc(r.Findings, func(other Finding) bool {
		return other.Check == f.Check && other.Harm == f.Harm && shape(other.Title) == shape(f.Title)
	})
}

// shape is a title without its numbers.
func shape(title string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, title)
}

// Text writes the report for people, with colours if asked.
func (r *Report) Text(w io.Writer, colour bool) error {
	var b strings.Builder
	for _, f := range r.Findings {
		f.text(&b, colour)
		b.WriteByte('\n')
	}
	if len(r.Notes) > 0 {
		b.WriteString("Could not tell:\n")
		for _, n := range r.Notes {
			wrap(&b, "  "+n.Check+": ", n.Why)
		}
		b.WriteByte('\n')
	}
	if len(r.Well) > 0 {
		wrap(&b, "Well: ", strings.Join(r.Well, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Text is the finding on its own, as in the report.
func (f *Finding) Text(w io.Writer, colour bool) error {
	var b strings.Builder
	f.text(&b, colour)
	_, err := io.WriteString(w, b.String())
	return err
}

func (f *Finding) text(b *strings.Builder, colour bool) {
	label := strings.ToUpper(f.Harm.String())
	var title strings.Builder
	wrap(&title, label+"  ", f.Title)
	text := title.String()
	if colour {
		text = "\x1b[" + colours[f.Harm] + "m" + label + "\x1b[0m" + text[len(label):]
	}
	b.WriteString(text)
	for _, line := range f.Evidence {
		wrap(b, "  seen     ", line)
	}
	wrap(b, "  cause    ", f.Cause)
	command(b, "  fix      ", f.Fix)
	wrap(b, "  better   ", f.Better)
	command(b, "  recheck  ", f.Recheck)
	fmt.Fprintf(b, "  check    %s\n", f.Check)
}

// command writes what is to be copied: it is left in one piece, whatever its length.
func command(b *strings.Builder, label, text string) {
	if text != "" {
		fmt.Fprintf(b, "%s%s\n", label, text)
	}
}

// wrap writes words behind a label, in lines of at most Columns, the later ones indented as far as the label.
func wrap(b *strings.Builder, label, text string) {
	if text == "" {
		return
	}
	indent := utf8.RuneCountInString(label)
	b.WriteString(label)
	column := indent
	for i, word := range strings.Fields(text) {
		size := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+size > Columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += size
	}
	b.WriteByte('\n')
}
