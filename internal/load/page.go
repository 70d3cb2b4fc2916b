package load

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"short":     short,
	"thousands": thousands,
	"size":      func(n uint64) string { return size(float64(n)) },
	"bytes":     bytesOf,
	"percent":   func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) },
	"digits":    func(v *float64) string { return digits(*v) },
	"own":       digits,
}).Parse(pageText))

// HTML writes the report as a page of its own, figures inside, that opens without a network.
func (r *Report) HTML(w io.Writer) error {
	return page.Execute(w, struct {
		*Report
		Causes            []string
		Curve, Rate, Over template.HTML
	}{
		r, r.causes(), template.HTML(r.curveChart()), template.HTML(r.rateChart()), template.HTML(r.timeChart()),
	})
}

// curveChart shows the latency below which a share of the answers is; the share goes towards 1 by nines.
func (r *Report) curveChart() string {
	l := &r.Latency
	if l.Count == 0 {
		return ""
	}
	c := chart{title: "latency by percentile"}
	c.across = decades("percentile", 1, math.Max(10, float64(l.Count)), func(v float64) string {
		switch v {
		case 1:
			return "0"
		case 10:
			return "90"
		}
		return fmt.Sprintf("%.*f", int(math.Round(math.Log10(v)))-2, 100*(1-1/v))
	})
	c.up = decades("", float64(max(l.Shortest, 1)), float64(max(l.Longest, 2)), shortTick)
	line := curve{name: "latency", class: "a"}
	for _, p := range l.Curve {
		beyond := 1 - p.Quantile
		if p.Quantile == 1 {
			beyond = 1 / float64(l.Count)
		}
		line.x, line.y = append(line.x, 1/beyond), append(line.y, float64(p.Latency))
	}
	c.lines = []curve{line}
	return c.svg()
}

// shortTick is a time without the digits that a tick does not need.
func shortTick(v float64) string {
	return strings.NewReplacer(".00 ", " ", ".0 ", " ").Replace(short(time.Duration(v)))
}

func (r *Report) timeAxis() axis {
	return linear("seconds", r.Duration.Seconds(), func(v float64) string { return fmt.Sprintf("%.4g", v) })
}

// rateChart shows how many answers came when.
func (r *Report) rateChart() string {
	if len(r.Intervals) == 0 {
		return ""
	}
	good, failed := curve{name: "good", class: "a"}, curve{name: "failed", class: "c"}
	most, length := 0.0, r.Duration.Seconds()
	for i, v := range r.Intervals {
		next := length
		if i+1 < len(r.Intervals) {
			next = r.Intervals[i+1].At
		}
		lost := float64(v.Failed) / max(next-v.At, 1e-9)
		good.x, good.y = append(good.x, v.At), append(good.y, v.PerSecond)
		failed.x, failed.y = append(failed.x, v.At), append(failed.y, lost)
		most = max(most, v.PerSecond, lost)
	}
	for _, line := range []*curve{&good, &failed} {
		line.x, line.y = append(line.x, length), append(line.y, line.y[len(line.y)-1])
	}
	c := chart{title: "answers a second over time", across: r.timeAxis(), up: linear("", most, thousandsTick)}
	c.lines, c.stepped = []curve{good}, true
	if r.Requests.Failed > 0 {
		c.lines = append(c.lines, failed)
	}
	return c.svg()
}

func thousandsTick(v float64) string { return strings.TrimSuffix(thousands(v), ".0") }

// timeChart shows the latencies of the answers that came in each interval.
func (r *Report) timeChart() string {
	lines := []curve{{name: "p50", class: "a"}, {name: "p99", class: "b"}, {name: "max", class: "c"}}
	least, most := math.Inf(1), 0.0
	for _, v := range r.Intervals {
		if v.Longest == 0 {
			continue // no answer
		}
		for i, d := range []time.Duration{v.P50, v.P99, v.Longest} {
			lines[i].x, lines[i].y = append(lines[i].x, v.At), append(lines[i].y, float64(max(d, 1)))
		}
		least, most = min(least, float64(max(v.P50, 1))), max(most, float64(v.Longest))
	}
	if most == 0 {
		return ""
	}
	c := chart{title: "latency over time", across: r.timeAxis(), up: decades("", least, most, shortTick), lines: lines}
	return c.svg()
}

// bytesOf is a size that may be unknown.
func bytesOf(v any) string {
	if p, ok := v.(*float64); ok {
		return size(*p)
	}
	n, _ := v.(float64)
	return size(n)
}
