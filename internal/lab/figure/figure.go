// Package figure draws measured values as SVG: lines over a number, or bars beside names. It is made by hand because
// that is all the lab needs; a plotting library would bring a dozen modules and fonts into the server's binary.
package figure

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Point is one measured value with its range. Least and Most are equal to Y where there was one measurement.
type Point struct {
	X, Y, Least, Most float64
}

// Series is one line, or one colour of bars.
type Series struct {
	Name   string
	Points []Point
}

// Figure is one drawing. Bars are drawn if Names is set: then the X of a point is the index of its name.
type Figure struct {
	Title, XLabel, YLabel string
	Legend                string // what the names of the series are
	LogX, LogY            bool
	Names                 []string
	Series                []Series
}

const (
	width, height           = 760, 380
	left, right, top, below = 78, 170, 34, 70
	innerH                  = height - top - below
	ticks                   = 5
	mostValues              = 14 // bars that have their value written on them
)

// colours are those of the series, on light paper and on dark.
var colours = [][2]string{
	{"#1f5fa8", "#6ea8ff"},
	{"#c4451c", "#ff8a65"},
	{"#2e7d32", "#7bc67e"},
	{"#7b1fa2", "#ce93d8"},
	{"#a07800", "#ffca28"},
	{"#00838f", "#4dd0e1"},
	{"#ad1457", "#f48fb1"},
	{"#546e7a", "#b0bec5"},
	{"#5d4037", "#bcaaa4"},
}

// style colours a figure, by itself or within a page, as whoever looks at it prefers. A series is a group whose colour
// its parts take; what a viewer that knows no media queries shows is the light one.
var style = sync.OnceValue(func() string {
	var light, dark strings.Builder
	for i, c := range colours {
		fmt.Fprintf(&light, ".fig .s%d{color:%s}", i, c[0])
		fmt.Fprintf(&dark, ".fig .s%d{color:%s}", i, c[1])
	}
	return "<style>.fig .paper{fill:#fff}.fig text{fill:#1c1c1c}.fig .soft{fill:#555}.fig .grid{stroke:#e2e2e2}" +
		".fig .axis{stroke:#444}" + light.String() + "@media (prefers-color-scheme:dark){.fig .paper{fill:#1d2024}" +
		".fig text{fill:#e6e6e6}.fig .soft{fill:#aaa}.fig .grid{stroke:#383d43}.fig .axis{stroke:#aaa}" + dark.String() +
		"}</style>"
})

// axis maps values to a length of the drawing.
type axis struct {
	least, most float64
	log         bool
}

func newAxis(values []float64, log bool) axis {
	if len(values) == 0 {
		return axis{0, 1, false}
	}
	a := axis{slices.Min(values), slices.Max(values), log}
	if !log {
		a.least = min(0, a.least)
		if a.most == a.least {
			a.most = a.least + 1
		}
		step := a.step()
		a.most = math.Ceil(a.most/step-1e-9) * step
		return a
	}
	a.least, a.most = math.Floor(math.Log10(a.least)+1e-9), math.Ceil(math.Log10(a.most)-1e-9)
	if a.most <= a.least {
		a.most = a.least + 1
	}
	return a
}

// share is where a value lies between the ends, 0 to 1. On a logarithmic axis zero lies at the lower end.
func (a axis) share(v float64) float64 {
	if a.log {
		if v <= 0 {
			return 0
		}
		v = math.Log10(v)
	}
	return min(max((v-a.least)/(a.most-a.least), 0), 1)
}

// ticks are the values with a number beside them.
func (a axis) ticks() (list []float64) {
	if a.log {
		between := []float64{1}
		if a.most-a.least <= 2 {
			between = []float64{1, 2, 5}
		}
		for e := a.least; e <= a.most; e++ {
			for _, f := range between {
				if v := f * math.Pow(10, e); math.Log10(v) <= a.most+1e-9 {
					list = append(list, v)
				}
			}
		}
		return list
	}
	step := a.step()
	for v := math.Ceil(a.least/step) * step; v <= a.most*1.0001; v += step {
		list = append(list, v)
	}
	return list
}

// step is the round distance between two numbers of a linear axis.
func (a axis) step() float64 {
	rough := (a.most - a.least) / ticks
	step := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, f := range []float64{1, 2, 5, 10} {
		if step*f >= rough*0.999 {
			return step * f
		}
	}
	return step * 10
}

// Number is a value as people read it: three digits, thousands apart.
func Number(v float64) string {
	size := math.Abs(v)
	switch {
	case size >= 1e15:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case size >= 100:
		return thousands(int64(math.Round(v)))
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return sign + text
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace

// SVG draws the figure. Values that are not finite are left out, and so are those that a logarithm does not take.
func (f *Figure) SVG() []byte {
	var xs, ys []float64
	for _, s := range f.Series {
		for _, p := range s.Points {
			if f.drawable(p) {
				if !f.LogX || p.X > 0 {
					xs = append(xs, p.X)
				}
				for _, y := range []float64{p.Y, p.Least, p.Most} {
					if !f.LogY || y > 0 {
						ys = append(ys, y)
					}
				}
			}
		}
	}
	d := &drawing{Figure: f, x: newAxis(xs, f.LogX), y: newAxis(ys, f.LogY), innerW: width - left - right}
	if len(f.Series) < 2 {
		d.innerW = width - left - 24 // what is drawn is said by the axis, and there is no legend
	}
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" font-family="sans-serif" `+
		`font-size="12" class="fig"><title>%s</title>%s<rect width="%d" height="%d" class="paper"/>`+
		`<text x="%d" y="20" font-size="14" font-weight="bold">%s</text>`,
		width, height, escape(f.Title), style(), width, height, left, escape(f.Title))
	d.frame()
	if len(f.Names) > 0 {
		d.bars()
	} else {
		d.lines()
	}
	d.legend()
	d.printf("</svg>\n")
	return []byte(d.String())
}

func (f *Figure) drawable(p Point) bool {
	for _, v := range []float64{p.X, p.Y, p.Least, p.Most} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return !f.LogY || p.Y > 0
}

type drawing struct {
	*Figure
	strings.Builder
	x, y   axis
	innerW int
}

func (d *drawing) printf(format string, v ...any) { fmt.Fprintf(&d.Builder, format, v...) }

func (d *drawing) atX(v float64) float64 { return left + float64(d.innerW)*d.x.share(v) }
func (d *drawing) atY(v float64) float64 { return top + innerH*(1-d.y.share(v)) }

// frame draws the axes with their numbers and names.
func (d *drawing) frame() {
	for _, v := range d.y.ticks() {
		y := d.atY(v)
		d.printf(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="grid"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			left, left+d.innerW, y, y, left-6, y+4, Number(v))
	}
	if len(d.Names) == 0 {
		for _, v := range d.x.ticks() {
			x := d.atX(v)
			d.printf(`<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" class="grid"/>`+
				`<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x, x, top, top+innerH, x, top+innerH+18, Number(v))
		}
	}
	d.printf(`<path d="M%d %dV%dH%d" fill="none" class="axis"/>`, left, top, top+innerH, left+d.innerW)
	d.printf(`<text x="%d" y="%d" text-anchor="middle">%s</text>`, left+d.innerW/2, height-10, escape(d.XLabel))
	d.printf(`<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`,
		top+innerH/2, escape(d.YLabel))
}

func (d *drawing) lines() {
	for i, s := range d.Series {
		d.begin(i)
		points := slices.Clone(s.Points)
		slices.SortStableFunc(points, func(a, b Point) int {
			if a.X < b.X {
				return -1
			}
			return 1
		})
		var path []string
		for _, p := range points {
			if !d.drawable(p) {
				continue
			}
			x, y := d.atX(p.X), d.atY(p.Y)
			path = append(path, fmt.Sprintf("%.1f,%.1f", x, y))
			d.printf(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="currentColor" stroke-opacity=".45"/>`,
				x, x, d.atY(p.Least), d.atY(p.Most))
			d.printf(`<circle cx="%.1f" cy="%.1f" r="3" fill="currentColor"/>`, x, y)
		}
		d.printf(`<polyline points="%s" fill="none" stroke="currentColor" stroke-width="1.6"/></g>`,
			strings.Join(path, " "))
	}
}

func (d *drawing) bars() {
	slot := float64(d.innerW) / float64(len(d.Names))
	bar := slot * 0.8 / float64(max(1, len(d.Series)))
	for n, name := range d.Names {
		x := left + slot*(float64(n)+0.5)
		if len(d.Names) > 6 {
			d.printf(`<text transform="translate(%.1f %d) rotate(-20)" text-anchor="end" font-size="10">%s</text>`, x+12,
				top+innerH+14, escape(name))
			continue
		}
		d.printf(`<text x="%.1f" y="%d" text-anchor="middle" font-size="11">%s</text>`, x, top+innerH+18, escape(name))
	}
	for i, s := range d.Series {
		d.begin(i)
		for _, p := range s.Points {
			if !d.drawable(p) {
				continue
			}
			x := left + slot*(p.X+0.1) + bar*float64(i)
			y := d.atY(p.Y)
			d.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="currentColor"/>`, x, y,
				bar*0.92, max(0, top+innerH-y))
			d.printf(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="axis"/>`, x+bar*0.46, x+bar*0.46,
				d.atY(p.Least), d.atY(p.Most))
			if len(d.Names)*len(d.Series) <= mostValues {
				d.printf(`<text x="%.1f" y="%.1f" text-anchor="middle" font-size="10">%s</text>`, x+bar*0.46,
					d.atY(p.Most)-4, Number(p.Y))
			}
		}
		d.printf("</g>")
	}
}

// begin begins what is drawn in the colour of a series.
func (d *drawing) begin(i int) {
	i %= len(colours)
	d.printf(`<g class="s%d" color="%s">`, i, colours[i][0])
}

func (d *drawing) legend() {
	if len(d.Series) < 2 {
		return
	}
	d.printf(`<text x="%d" y="%d" class="soft">%s</text>`, left+d.innerW+14, top+6, escape(d.Legend))
	for i, s := range d.Series {
		y := top + 16 + i*18
		d.begin(i)
		d.printf(`<rect x="%d" y="%d" width="12" height="12" fill="currentColor"/><text x="%d" y="%d">%s</text></g>`,
			left+d.innerW+14, y, left+d.innerW+32, y+10, escape(s.Name))
	}
}
