package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"

	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/doctor"
)

// view is how a reading is looked at.
type view struct {
	sort          string
	reverse       bool
	width, height int // 0: as much as there is
	colour        bool
	paused        bool
	help          bool
}

// plainScreen is a view for what is no screen.
func plainScreen(sort string) view { return view{sort: sort} }

const (
	barWidth   = 24
	mostLoops  = 8
	mostPools  = 6
	mostIll    = 4
	leastTable = 4 // lines
)

var (
	faint = lipgloss.NewStyle().Faint(true)
	bold  = lipgloss.NewStyle().Bold(true)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	amber = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
	red   = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
	// trough is what a bar stands in: a grey that is told from both black and white.
	trough = lipgloss.Color("8")
)

// paint puts a style on a text where there are colours.
func (v *view) paint(style lipgloss.Style, text string) string {
	if !v.colour || text == "" {
		return text
	}
	return style.Render(text)
}

// bar draws a share; the fuller, the more alarming.
func (v *view) bar(share float64) string {
	share = min(max(share, 0), 1)
	style := good
	switch {
	case share >= 0.95:
		style = red
	case share >= 0.8:
		style = amber
	}
	if !v.colour {
		full := int(share*barWidth + 0.5)
		return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
	}
	const eighths = 8
	filled := int(share*barWidth*eighths + 0.5)
	if share > 0 {
		filled = max(filled, 1) // a little is not nothing
	}
	text := strings.Repeat("█", filled/eighths)
	if rest := filled % eighths; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	text += strings.Repeat(" ", barWidth-len([]rune(text)))
	return style.Background(trough).Render(text)
}

// text draws everything, cut to the screen.
func (r *reading) text(v view) string {
	if v.help {
		return v.cut(helpLines())
	}
	lines := r.summary(&v)
	lines = append(lines, r.loops(&v)...)
	lines = append(lines, r.poolLines(&v)...)
	lines = append(lines, r.sessionLines(&v)...)
	lines = append(lines, r.warnings(&v)...)
	rows := len(r.page.Connections)
	footer := ""
	if v.height > 0 {
		footer = v.paint(faint, "q quit  s sort  r reverse  space pause  ? keys")
		if v.paused {
			footer = v.paint(amber, "paused") + "  " + footer
		}
		if len(lines) > v.height-leastTable-2 { // a low screen shows the connections rather than all above them
			lines = lines[:max(v.height-leastTable-2, 0)]
		}
		rows = min(rows, v.height-len(lines)-3)
	}
	lines = append(lines, "")
	lines = append(lines, r.table(&v, rows)...)
	if v.height > 0 {
		for len(lines) < v.height-1 {
			lines = append(lines, "")
		}
		lines = append(lines, footer)
	}
	return v.cut(lines)
}

// cut makes lines a text that is no wider and no higher than the screen.
func (v *view) cut(lines []string) string {
	if v.height <= 0 {
		return strings.Join(lines, "\n") + "\n"
	}
	if len(lines) > v.height {
		lines = lines[:v.height]
	}
	for i, line := range lines {
		if lipgloss.Width(line) > v.width {
			lines[i] = lipgloss.NewStyle().MaxWidth(v.width).Render(line)
		}
	}
	return strings.Join(lines, "\n")
}

// summary are the figures of the whole server.
func (r *reading) summary(v *view) []string {
	s, f := &r.status, &r.figures
	up := age(control.Seconds(s.UptimeSeconds * float64(time.Second)))
	head := fmt.Sprintf("%s %s  process %d  %s on %s  up %s  %s", v.paint(bold, "myriad"), plain(s.Version), s.PID,
		s.Model, s.Driver, up, plain(r.where))
	share := 0.0
	if s.Capacity.Connections > 0 {
		share = float64(f.Open) / float64(s.Capacity.Connections)
	}
	var states []string
	for _, state := range []string{"opening", "active", "idle", "paused", "draining", "closing"} {
		if n := r.page.States[state]; n > 0 {
			states = append(states, fmt.Sprintf("%d %s", n, state))
		}
	}
	lines := []string{
		head,
		fmt.Sprintf("connections  %s %d of %d (first wall: %s): %s", v.bar(share), f.Open, s.Capacity.Connections,
			s.Capacity.Wall, orDash(strings.Join(states, ", "))),
		fmt.Sprintf("a second     %s accepted, %s closed, %s requests, %s 4xx, %s 5xx, %s/s in, %s/s out",
			number(f.Accepted), number(f.Closed), number(f.Requests), number(f.Responses["4xx"]), number(f.Responses["5xx"]),
			size(uint64(f.Received)), size(uint64(f.Sent))),
	}
	if l := &f.Latency; l.Count > 0 {
		lines = append(lines,
			fmt.Sprintf("latency      p50 %s  p99 %s  p99.9 %s", micros(l.P50), micros(l.P99), micros(l.P999)))
	} else {
		lines = append(lines, "latency      nothing was asked")
	}
	p := &f.Process
	if p.DescriptorLimit > 0 {
		lines = append(lines, fmt.Sprintf("descriptors  %s %d of %d; memory %s",
			v.bar(float64(p.Descriptors)/float64(p.DescriptorLimit)), p.Descriptors, p.DescriptorLimit,
			size(uint64(p.ResidentBytes))))
	}
	if r.problem != nil {
		lines = append(lines, v.paint(red, "old figures: "+plain(r.problem.Error())))
	}
	return lines
}

// loops shows how busy each is.
func (r *reading) loops(v *view) []string {
	lines := []string{""}
	for i := range r.figures.Loops {
		l := &r.figures.Loops[i]
		if i == mostLoops {
			lines = append(lines, v.paint(faint, fmt.Sprintf("and %d more loops", len(r.figures.Loops)-i)))
			break
		}
		lines = append(lines, fmt.Sprintf("loop %-3d     %s %5.1f %% busy, %d open, %s turns/s of %s, %.1f events each",
			l.Loop, v.bar(l.Busy), 100*l.Busy, l.Open, number(l.Turns), micros(l.Turn), l.Batch))
	}
	return lines
}

// warnings are the doctor's findings that are more than worth knowing.
func (r *reading) warnings(v *view) []string {
	if r.report == nil {
		return nil
	}
	var lines []string
	for i := range r.report.Findings {
		f := &r.report.Findings[i]
		if f.Harm == doctor.Info {
			continue
		}
		style := amber
		if f.Harm == doctor.Outage {
			style = red
		}
		if len(lines) == mostIll {
			lines = append(lines, v.paint(faint, "more: myriad doctor"))
			break
		}
		lines = append(lines, v.paint(style, fmt.Sprintf("%-12s", f.Harm))+" "+plain(f.Title))
	}
	if len(lines) == 0 {
		return nil
	}
	return append([]string{""}, lines...)
}

func helpLines() []string {
	lines := []string{"myriad top", "", "sort by"}
	for _, order := range control.Orders() {
		for key, sort := range sortKeys {
			if sort == order {
				lines = append(lines, fmt.Sprintf("  %s      %s", key, sort))
			}
		}
	}
	return append(lines, "", "  s      the next one", "  r      the other way round", "  space  pause, go on",
		"  ?      back", "  q      quit", "", "connections are closed with myriad conns close")
}

// number is a rate: small ones with a digit more.
func number(n float64) string {
	if n != 0 && n < 10 {
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

// micros is a time of so many microseconds, in three digits.
func micros(us float64) string {
	d := time.Duration(us * float64(time.Microsecond))
	switch {
	case us > 0 && d < time.Microsecond:
		return "<1µs"
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// plain is a text without what a terminal might act on.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
}
