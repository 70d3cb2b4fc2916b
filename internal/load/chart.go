package load

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart is a figure of lines, drawn as SVG that needs nothing else.
type chart struct {
	title   string // for readers of the screen
	across  axis
	up      axis
	lines   []curve
	stepped bool
}

// axis goes from least to most. Each tick is a value and its label.
type axis struct {
	label       string
	least, most float64
	log         bool
	ticks       []tick
}

type tick struct {
	at    float64
	label string
}

// curve is one line. Colours are classes of the page's style.
type curve struct {
	name  string
	class string
	x, y  []float64
}

const (
	chartWidth  = 860.0
	chartHeight = 300.0
	chartLeft   = 76.0
	chartRight  = 30.0
	chartTop    = 14.0
	chartBottom = 46.0
)

// place is where a value is on the axis, from 0 to 1.
func (a axis) place(v float64) float64 {
	least, most := a.least, a.most
	if a.log {
		least, most, v = math.Log10(least), math.Log10(most), math.Log10(max(v, a.least))
	}
	if most <= least {
		return 0
	}
	return min(max((v-least)/(most-least), 0), 1)
}

func (c *chart) x(v float64) float64 {
	return chartLeft + c.across.place(v)*(chartWidth-chartLeft-chartRight)
}

func (c *chart) y(v float64) float64 {
	return chartHeight - chartBottom - c.up.place(v)*(chartHeight-chartTop-chartBottom)
}

// svg draws the chart.
func (c *chart) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`, chartWidth, chartHeight,
		html.EscapeString(c.title))
	bottom, right := chartHeight-chartBottom, chartWidth-chartRight
	for _, t := range c.up.ticks {
		y := c.y(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, chartLeft, right, y, y)
		fmt.Fprintf(&b, `<text class="up" x="%.1f" y="%.1f">%s</text>`, chartLeft-8, y+4, html.EscapeString(t.label))
	}
	for _, t := range c.across.ticks {
		x := c.x(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x, x, chartTop, bottom)
		fmt.Fprintf(&b, `<text class="across" x="%.1f" y="%.1f">%s</text>`, x, bottom+18, html.EscapeString(t.label))
	}
	fmt.Fprintf(&b, `<text class="name" x="%.1f" y="%.1f">%s</text>`, right, chartHeight-6,
		html.EscapeString(c.across.label))
	for _, line := range c.lines {
		if len(line.x) == 0 {
			continue
		}
		fmt.Fprintf(&b, `<polyline class="%s" points="`, line.class)
		for i := range line.x {
			if c.stepped && i > 0 {
				fmt.Fprintf(&b, "%.1f,%.1f ", c.x(line.x[i]), c.y(line.y[i-1]))
			}
			fmt.Fprintf(&b, "%.1f,%.1f ", c.x(line.x[i]), c.y(line.y[i]))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString("</svg>")
	return b.String()
}

// linear is an axis from 0 with some five round ticks.
func linear(label string, most float64, name func(float64) string) axis {
	if most <= 0 {
		most = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(most)))
	for _, part := range []float64{0.1, 0.2, 0.5, 1} {
		if most/(step*part) <= 6 {
			step *= part
			break
		}
	}
	a := axis{label: label, most: math.Ceil(most/step-1e-9) * step}
	for i := 0; float64(i)*step <= a.most*(1+1e-9); i++ {
		a.ticks = append(a.ticks, tick{float64(i) * step, name(float64(i) * step)})
	}
	return a
}

// decades is a logarithmic axis of whole decades.
func decades(label string, least, most float64, name func(float64) string) axis {
	a := axis{label: label, log: true}
	first, last := math.Floor(math.Log10(max(least, 1e-9))+1e-9), math.Ceil(math.Log10(max(most, 1e-9))-1e-9)
	last = max(last, first+1)
	a.least, a.most = math.Pow(10, first), math.Pow(10, last)
	for e := first; e <= last; e++ {
		v := math.Pow(10, e)
		a.ticks = append(a.ticks, tick{v, name(v)})
	}
	return a
}
