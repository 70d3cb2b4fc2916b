package main

import (
	"fmt"
	"math"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/myriad-server/myriad/internal/app"
)

// column is one of a table: figures stand at the right, below each other, and all else at the left.
type column struct {
	name   string
	figure bool
}

// grid sets cells below their heads, two columns apart. The head is the first line.
func grid(columns []column, rows [][]string) []string {
	heads := make([]string, len(columns))
	widths := make([]int, len(columns))
	for i, c := range columns {
		heads[i], widths[i] = c.name, lipgloss.Width(c.name)
		for _, row := range rows {
			widths[i] = max(widths[i], lipgloss.Width(row[i]))
		}
	}
	lines := make([]string, 0, len(rows)+1)
	for _, row := range append([][]string{heads}, rows...) {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-lipgloss.Width(cell))
			if columns[i].figure {
				cell = space + cell
			} else {
				cell += space
			}
			line.WriteString(cell + "  ")
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

// traffic is what went through an upstream's pools, or a listener that passes on sessions, since the look before.
type traffic struct {
	reused float64 // the share of granted connections that had been used before; below 0: none was granted
	begun  float64 // sessions in a second
}

// traffics compares what two looks have counted. Nothing happened before the first look, but that is no rate.
func traffics(before, next *reading) (upstreams, sessions map[string]traffic) {
	upstreams, sessions = map[string]traffic{}, map[string]traffic{}
	was := map[string]map[string]uint64{}
	for _, u := range before.status.Upstreams {
		was[u.Name] = u.Counts
	}
	for _, u := range next.status.Upstreams {
		acquired, reused := u.Counts["acquired"], u.Counts["reused"]
		if old := was[u.Name]; old["acquired"] < acquired { // else the share is that since the start
			acquired, reused = acquired-old["acquired"], reused-old["reused"]
		}
		t := traffic{reused: -1}
		if acquired > 0 && !strings.HasPrefix(u.Name, "listeners[") { // a session has a connection of its own, always
			t.reused = float64(reused) / float64(acquired)
		}
		upstreams[u.Name] = t
	}
	begun := map[string]int64{}
	for _, s := range before.status.Streams {
		begun[s.Listener] = s.Counts["sessions"]
	}
	passed := next.status.UptimeSeconds - before.status.UptimeSeconds
	for _, s := range next.status.Streams {
		if old, known := begun[s.Listener]; known && passed > 0 {
			sessions[s.Listener] = traffic{begun: float64(s.Counts["sessions"]-old) / passed}
		}
	}
	return upstreams, sessions
}

// poolLines shows the pools, how often what they grant had been used before, and how many local ports are left.
func (r *reading) poolLines(v *view) []string {
	if len(r.pools) == 0 {
		return nil
	}
	states := map[string]string{}
	for _, u := range r.status.Upstreams {
		for i := range u.Endpoints {
			states[u.Name+" "+u.Endpoints[i].Address] = plain(u.Endpoints[i].State)
		}
	}
	var rows [][]string
	for i := range r.pools[:min(len(r.pools), mostPools)] {
		p := &r.pools[i]
		name, waiting, reused := plain(p.Upstream), fmt.Sprint(p.Waiting), "-"
		if t, known := r.upstreams[p.Upstream]; known && t.reused >= 0 {
			reused = fmt.Sprintf("%.1f %%", math.Floor(1000*t.reused)/10) // nearly all is not all
		}
		if i > 0 && r.pools[i-1].Upstream == p.Upstream { // these are of all its endpoints together
			name, waiting, reused = "", "", ""
		}
		limit := "-"
		if p.Limit > 0 {
			limit = fmt.Sprint(p.Limit)
		}
		rows = append(rows, []string{
			name, reused, waiting, plain(p.Endpoint), orDash(states[p.Upstream+" "+p.Endpoint]), fmt.Sprint(p.Open), limit,
			fmt.Sprint(p.Leased), fmt.Sprint(p.Idle), fmt.Sprint(p.Failed), portsLeft(p),
		})
	}
	lines := append([]string{""}, v.headed(grid([]column{
		{"POOL", false},
		{"REUSED", true},
		{"WAITING", true},
		{"ENDPOINT", false},
		{"STATE", false},
		{"OPEN", true},
		{"LIMIT", true},
		{"IN USE", true},
		{"IDLE", true},
		{"FAILED", true},
		{"PORTS LEFT", true},
	}, rows))...)
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

// sessionLines shows the listeners that pass on bytes or datagrams: datagrams have no connections to be listed.
func (r *reading) sessionLines(v *view) []string {
	all := r.status.Streams
	if len(all) == 0 {
		return nil
	}
	var rows [][]string
	for _, s := range all[:min(len(all), mostPools)] {
		rate := "-"
		if t, known := r.sessions[s.Listener]; known {
			rate = number(t.begun)
		}
		c := s.Counts
		rows = append(rows, []string{
			plain(s.Listener), fmt.Sprint(c["sessions_open"]), rate, fmt.Sprint(c["sessions"]),
			fmt.Sprint(c["sessions_refused"]), fmt.Sprint(c["sessions_unreached"]), fmt.Sprint(c["datagrams_lost"]),
		})
	}
	lines := append([]string{""}, v.headed(grid([]column{
		{"SESSIONS OF", false},
		{"OPEN", true},
		{"BEGUN/S", true},
		{"BEGUN", true},
		{"REFUSED", true},
		{"UNREACHED", true},
		{"LOST", true},
	}, rows))...)
	if left := len(all) - mostPools; left > 0 {
		lines = append(lines, v.paint(faint, fmt.Sprintf("and %d more listeners", left)))
	}
	return lines
}

// tableColumns are those of connections, each with what it is sorted by.
var tableColumns = []struct {
	column
	sort string
}{
	{column{"STATE", false}, ""},
	{column{"PEER", false}, ""},
	{column{"PROTOCOL", false}, ""},
	{column{"AGE", true}, "age"},
	{column{"QUIET", true}, "idle"},
	{column{"IN", true}, "in"},
	{column{"OUT", true}, "out"},
	{column{"BYTES/S", true}, "bytes"},
	{column{"QUEUED", true}, "queued"},
	{column{"REQUESTS", true}, "requests"},
	{column{"RTT", true}, "rtt"},
	{column{"RESENT", true}, "retransmits"},
	{column{"LEADS TO", false}, ""},
	{column{"ID", true}, "id"},
}

// stateStyles set off what is not the ordinary state of a crowd, which is idle.
var stateStyles = map[string]lipgloss.Style{
	"active": good, "opening": good, "paused": amber, "draining": amber, "closing": red,
}

// table lists connections, and says in its head by what they are sorted.
func (r *reading) table(v *view, rows int) []string {
	columns := make([]column, len(tableColumns))
	for i, c := range tableColumns {
		columns[i] = c.column
		if c.sort == v.sort {
			columns[i].name += map[bool]string{false: "*", true: "*r"}[v.reverse]
		}
	}
	list := r.page.Connections[:min(len(r.page.Connections), max(rows, 0))]
	cells := make([][]string, len(list))
	for i := range list {
		o := &list[i]
		rtt, resent, rate := "-", "-", "-"
		if o.TCP != nil {
			rtt, resent = micros(float64(o.TCP.RTT)), fmt.Sprint(o.TCP.Retransmits)
		}
		if n, known := r.rates[o.ID]; known {
			rate = size(uint64(max(n, 0)))
		}
		cells[i] = []string{
			o.State, orDash(plain(o.Peer)), plain(o.Protocol), age(o.Age), age(o.Quiet), size(o.ReceivedBytes),
			size(o.SentBytes), rate, size(uint64(max(o.QueuedBytes, 0))), fmt.Sprint(o.Requests), rtt, resent,
			orDash(plain(strings.TrimSpace(o.Upstream + " " + o.Endpoint))), o.ID,
		}
	}
	lines := v.headed(grid(columns, cells))
	for i := range list {
		if style, set := stateStyles[list[i].State]; set {
			rest := strings.TrimPrefix(lines[i+1], list[i].State)
			lines[i+1] = v.paint(style, list[i].State) + rest
		}
	}
	if len(r.page.Connections) == 0 {
		lines = append(lines, v.paint(faint, "no connection is open"))
	}
	return lines
}

// headed sets the head of a table off.
func (v *view) headed(lines []string) []string {
	lines[0] = v.paint(bold, lines[0])
	return lines
}
