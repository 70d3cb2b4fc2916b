package load

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, v ...any) { fmt.Fprintf(&b, "  %-12s %s\n", name, fmt.Sprintf(format, v...)) }
	fmt.Fprintf(&b, "%s\n  %s loop: %s\n", r.Target, r.Loop, r.What)
	fmt.Fprintf(&b, "  %v measured, driver %s, %d %s\n\n", r.Duration.Round(time.Millisecond), r.Driver, r.Threads,
		plural(r.Threads, "thread"))
	q := &r.Requests
	line("rate", "%s requests a second, %s in, %s out", thousands(q.PerSecond), size(float64(q.BytesIn)),
		size(float64(q.BytesOut)))
	line("requests", "%d begun = %d good + %d failed", q.Begun, q.Good, q.Failed)
	if r.Loop == "open" {
		line("due", "%d = %d begun + %d dropped + %d left; the longest backlog was %d", q.Due, q.Begun, q.Dropped,
			q.Left, q.LongestBacklog)
	}
	if q.Statuses != nil {
		line("statuses", "2xx %d, 3xx %d, 4xx %d, 5xx %d", q.Statuses[1], q.Statuses[2], q.Statuses[3], q.Statuses[4])
	}
	if q.SlowGood+q.SlowFailed > 0 {
		line("slow", "%d good, %d failed", q.SlowGood, q.SlowFailed)
	}
	if q.Stale > 0 {
		line("stale", "%d datagrams came when nothing waited for them", q.Stale)
	}
	for i, cause := range r.causes() {
		name := ""
		if i == 0 {
			name = "errors"
		}
		line(name, "%d %s", r.Errors[cause], cause)
	}
	l := &r.Latency
	b.WriteString("\n")
	line("latency", "%10s %10s %10s %10s %10s %10s %10s", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max")
	line("", "%10s %10s %10s %10s %10s %10s %10s", short(l.Mean), short(l.P50), short(l.P90), short(l.P99),
		short(l.P999), short(l.P9999), short(l.Longest))
	b.WriteString("\n")
	r.textConnections(line)
	r.textMachine(line)
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "\nWARNING: %s\n", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) textConnections(line func(string, string, ...any)) {
	c := &r.Connections
	line("connections", "%d active, %d idle, %d slow; %d made in all, %d could not be; closed %d by us, %d by the server",
		c.Active, c.Idle, c.Slow, c.Made, c.Unmade, c.ClosedByUs, c.ClosedByIt)
	line("connecting", "%s in all; p50 %s, p99 %s, max %s each", short(r.Connecting.Took), short(r.Connecting.P50),
		short(r.Connecting.P99), short(r.Connecting.Max))
	line("at begin", "%s", r.Begin)
	line("at end", "%s", r.End)
}

// String is the census in a line.
func (c Census) String() string {
	text := fmt.Sprintf("%d open by our account, %d ends of ours and %d of the server's in the kernel's list", c.Own,
		c.Client, c.Server)
	if c.Proven {
		return text + ": proven at both ends"
	}
	return text + ": not proven (" + c.Why + ")"
}

func (r *Report) textMachine(line func(string, string, ...any)) {
	if p := r.CPU.ServerPerRequest; p != nil {
		line("server", "%.2f us of processor time a request, %.0f %% of one processor (%s)", *p,
			100*float64(*r.CPU.Server)/float64(max(1, r.CPU.Length)), pids(r.Server))
	} else if r.NoServer != "" {
		line("server", "unknown: %s", r.NoServer)
	}
	line("generator", "%.2f us of processor time a request, its busiest thread %.0f %%", r.CPU.OwnPerRequest,
		100*r.CPU.Busiest)
	if r.CPU.LagP99 > 0 {
		line("", "sent behind schedule: p50 %s, p99 %s", short(r.CPU.LagP50), short(r.CPU.LagP99))
	}
	if m := &r.Memory; m.Connections > 0 {
		server := "unknown"
		if m.ServerPerConnection != nil {
			server = size(*m.ServerPerConnection)
		}
		line("memory", "a connection: server %s, generator %s, kernel %s", server, size(m.OwnPerConnection),
			size(m.KernelPerConnection))
	}
	k := &r.Counters
	line("kernel", "TIME_WAIT %d before, %d after; %d retransmits, %d listen overflows, %d listen drops",
		r.TimeWaitBefore, k.TimeWait, k.Retransmits, k.ListenOverflows, k.ListenDrops)
}

func pids(list []int) string {
	texts := make([]string, len(list))
	for i, pid := range list {
		texts[i] = fmt.Sprint(pid)
	}
	return plural(len(list), "process") + " " + strings.Join(texts, ", ")
}

func plural(n int, noun string) string {
	switch {
	case n == 1:
		return noun
	case strings.HasSuffix(noun, "s"):
		return noun + "es"
	}
	return noun + "s"
}

// short is a time with three digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= time.Millisecond:
		return digits(float64(d)/1e6) + " ms"
	}
	return digits(float64(d)/1e3) + " us"
}

func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// size is a number of bytes for people.
func size(n float64) string {
	for _, unit := range []struct {
		name string
		size float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.size || n <= -unit.size {
			return digits3(n/unit.size) + " " + unit.name
		}
	}
	return fmt.Sprintf("%.0f B", n)
}

func digits3(v float64) string {
	if v < 0 {
		return "-" + digits(-v)
	}
	return digits(v)
}

// thousands is a rate with its thousands apart.
func thousands(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.1f", v)
	}
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
