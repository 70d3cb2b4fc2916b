package figure

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// elements parses a drawing and counts its elements by name.
func elements(t *testing.T, svg []byte) map[string]int {
	t.Helper()
	counts := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return counts
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		if start, ok := token.(xml.StartElement); ok {
			counts[start.Name.Local]++
		}
	}
}

func TestLines(t *testing.T) {
	f := Figure{
		Title: "a < b & c", LogX: true, LogY: true,
		Series: []Series{
			{Name: "one", Points: []Point{{1, 2, 1, 3}, {1000, 20, 10, 30}, {10, 0, 0, 0}}},
			{Name: "two", Points: []Point{{5, math.NaN(), 0, 0}, {6, 7, 7, 7}}},
		},
	}
	if got := elements(t, f.SVG()); got["circle"] != 3 || got["polyline"] != 2 {
		t.Errorf("%v; want the 3 points that a logarithm takes, in 2 lines", got)
	}
}

func TestBars(t *testing.T) {
	f := Figure{Names: []string{"x", "y"}, Series: []Series{{Name: "s", Points: []Point{{0, 1, 1, 1}, {1, 4, 3, 5}}}}}
	if got := elements(t, f.SVG()); got["rect"] != 1+2 { // ground and bars; one series has no legend
		t.Errorf("%v", got)
	}
}

// TestTicks has a logarithmic axis of few decades tell more than their ends.
func TestTicks(t *testing.T) {
	for _, c := range []struct {
		least, most float64
		want        int
	}{{10, 100, 4}, {10, 1000, 7}, {1, 10_000, 5}} {
		if got := newAxis([]float64{c.least, c.most}, true).ticks(); len(got) != c.want || got[0] != c.least {
			t.Errorf("%v to %v: %v", c.least, c.most, got)
		}
	}
}

// TestColours wants a colour for light and for dark paper, and none that only one of them has.
func TestColours(t *testing.T) {
	svg := string((&Figure{Series: []Series{{Name: "s", Points: []Point{{1, 1, 1, 1}}}, {Name: "t"}}}).SVG())
	before, dark, found := strings.Cut(svg, "@media (prefers-color-scheme:dark)")
	if !found {
		t.Fatal("there is one colour scheme")
	}
	dark, drawing, _ := strings.Cut(dark, "</style>")
	for _, class := range []string{".paper{", "text{", ".soft{", ".grid{", ".axis{", ".s0{", ".s8{"} {
		if !strings.Contains(before, class) || !strings.Contains(dark, class) {
			t.Errorf("%s is not in both schemes", class)
		}
	}
	if strings.Contains(drawing, `fill="#`) || strings.Contains(drawing, `stroke="#`) {
		t.Errorf("a colour does not change: %s", drawing)
	}
}

func TestEmpty(t *testing.T) {
	for _, f := range []Figure{{}, {LogX: true, LogY: true}, {Names: []string{"none"}}} {
		if got := elements(t, f.SVG()); got["svg"] != 1 {
			t.Errorf("%v", got)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 7: "7", 0.123456: "0.123", 12.34: "12.3", 1234567: "1,234,567", -1500: "-1,500", 999.6: "1,000",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
