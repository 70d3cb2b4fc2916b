package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"

	"github.com/myriad-server/myriad/internal/app"
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
	full := int(share*barWidth + 0.5)
	style := good
	switch {
	case share >= 0.95:
		style = red
	case share >= 0.8:
		style = amber
	}
	if !v.colour {
		return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
	}
	return style.Render(strings.Repeat("█", full)) + faint.Render(strings.Repeat("░", barWidth-full))
}

// text draws everything, cut to the screen.
func (r *reading) text(v view) string {
	if v.help {
		return v.cut(helpLines())
	}
	lines := r.summary(&v)
	lines = append(lines, r.loops(&v)...)
	lines = append(lines, r.poolLines(&v)...)
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
		fmt.Sprintf("connections  %s %d of %d, then %s: %s", v.bar(share), f.Open, s.Capacity.Connections, s.Capacity.Wall,
			orDash(strings.Join(states, ", "))),
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

// poolLines shows the pools, and how many local ports are left to each.
func (r *reading) poolLines(v *view) []string {
	if len(r.pools) == 0 {
		return nil
	}
	lines := []string{""}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "POOL\tENDPOINT\tOPEN\tIN USE\tIDLE\tWAITING\tFAILED\tPORTS LEFT")
	for i := range r.pools {
		if i == mostPools {
			break
		}
		p := &r.pools[i]
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", plain(p.Upstream), plain(p.Endpoint), p.Open, p.Leased,
			p.Idle, p.Waiting, p.Failed, portsLeft(p))
	}
	_ = table.Flush() // into memory
	lines = append(lines, v.headed(text.String())...)
	if left := len(r.pools) - mostPools; left > 0 {
		lines = append(lines, v.paint(faint, fmt.Sprintf("and %d more pools", left)))
	}
	return lines
}

// portsLeft are the local ports that are left from the source address that has the fewest.
func portsLeft(p *app.PoolStatus) string {
	text := "-"
	least := 0
	for i, ports := range p.Ports {
		if left := ports.Capacity - ports.Open - ports.Lingering; i == 0 || left < least {
			least, text = left, fmt.Sprint(left)
		}
	}
	return text
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

// table lists connections, and says in its head by what they are sorted.
func (r *reading) table(v *view, rows int) []string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	names := []struct{ name, sort string }{
		{"STATE", ""},
		{"PEER", ""},
		{"PROTOCOL", ""},
		{"AGE", "age"},
		{"QUIET", "idle"},
		{"IN", "in"},
		{"OUT", "out"},
		{"BYTES/S", "bytes"},
		{"QUEUED", "queued"},
		{"REQUESTS", "requests"},
		{"RTT", "rtt"},
		{"RESENT", "retransmits"},
		{"UPSTREAM", ""},
		{"ID", "id"},
	}
	for _, n := range names {
		name := n.name
		if n.sort == v.sort {
			name += map[bool]string{false: "*", true: "*r"}[v.reverse]
		}
		fmt.Fprint(table, name, "\t")
	}
	fmt.Fprintln(table)
	for i := range r.page.Connections {
		if i >= rows {
			break
		}
		o := &r.page.Connections[i]
		rtt, resent, rate := "-", "-", "-"
		if o.TCP != nil {
			rtt, resent = micros(float64(o.TCP.RTT)), fmt.Sprint(o.TCP.Retransmits)
		}
		if n, known := r.rates[o.ID]; known {
			rate = size(uint64(max(n, 0)))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t\n", o.State, orDash(o.Peer),
			plain(o.Protocol), age(o.Age), age(o.Quiet), size(o.ReceivedBytes), size(o.SentBytes), rate,
			size(uint64(max(o.QueuedBytes, 0))), o.Requests, rtt, resent,
			orDash(plain(strings.TrimSpace(o.Upstream+" "+o.Endpoint))), o.ID)
	}
	_ = table.Flush() // into memory
	return v.headed(text.String())
}

// headed makes lines of a table, with its head set off.
func (v *view) headed(text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	lines[0] = v.paint(bold, lines[0])
	return lines
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
