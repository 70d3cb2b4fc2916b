package doctor

import (
	"encoding/json"
	"fmt"
	"io"
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
