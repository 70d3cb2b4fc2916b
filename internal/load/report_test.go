package load

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestForms writes one report in all forms, and reads them again.
func TestForms(t *testing.T) {
	server := web(t, func(w io.Writer, r *http.Request, n int64) error {
		if n%3 == 0 {
			return say("HTTP/1.1 503 <No>\r\nContent-Length: 0\r\n\r\n", nil)(w, r, n)
		}
		return good(w, r, n)
	})
	p := server.plan(t, "http")
	p.Target.Text += "/<script>"
	r := perform(t, p)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || back.Requests.Begun != r.Requests.Begun ||
		len(back.Intervals) != len(r.Intervals) || len(back.Latency.Curve) != len(r.Latency.Curve) {
		t.Errorf("read again: %v", err)
	}
	var page strings.Builder
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "http-equiv", " src=", "<link", "NaN", "ZgotmplZ", "<no value>"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("%q is in the page", bad)
		}
	}
	if n := strings.Count(page.String(), "<svg"); n != 3 {
		t.Errorf("%d figures", n)
	}
	for _, figure := range []string{r.curveChart(), r.rateChart(), r.timeChart()} {
		decoder := xml.NewDecoder(strings.NewReader(figure))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, figure)
			}
		}
	}
	if !strings.Contains(r.String(), "status 5xx") {
		t.Errorf("%s", r)
	}
}

// TestIntervals adds the intervals up.
func TestIntervals(t *testing.T) {
	server := web(t, good)
	p := server.plan(t, "http")
	p.Duration, p.Threads = 330*time.Millisecond, 2
	r := perform(t, p)
	sum, last := 0.0, r.Duration.Seconds()
	for i, v := range r.Intervals {
		end := last
		if i+1 < len(r.Intervals) {
			end = r.Intervals[i+1].At
		}
		sum += v.PerSecond * (end - v.At)
	}
	if whole := r.Requests.PerSecond * last; sum < whole-1 || sum > whole+1 || len(r.Intervals) != 7 {
		t.Errorf("%d intervals have %.1f answers, the run has %.1f", len(r.Intervals), sum, whole)
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{short(999), "1.00 us"},
		{short(12_345 * time.Microsecond), "12.3 ms"},
		{short(1500 * time.Millisecond), "1.50 s"},
		{short(90 * time.Second), "90.0 s"},
		{size(100), "100 B"},
		{size(1536), "1.50 KiB"},
		{size(-2048), "-2.00 KiB"},
		{thousands(12.34), "12.3"},
		{thousands(1234567.8), "1,234,568"},
		{plural(2, "process"), "processes"},
		{plural(1, "thread"), "thread"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// TestColumns reads the kernel's tables.
func TestColumns(t *testing.T) {
	const text = "Ip: A B\nIp: 1 2\nTcp: RtoAlgorithm RetransSegs\nTcp: 1 42\n"
	if n := column([]byte(text), "Tcp", "RetransSegs"); n != 42 {
		t.Errorf("%d", n)
	}
	if n := column([]byte(text), "Tcp", "Nothing") + column([]byte(text), "Udp", "A"); n != 0 {
		t.Errorf("%d", n)
	}
	if c := counters(); c.Sockets == 0 || c.Slab == 0 {
		t.Errorf("%+v", c)
	}
}

// TestWarnings has a report say what its figures do not.
func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		report Report
		want   string // part of the one warning, or ""
	}{
		"well":      {Report{CPU: CPU{Busiest: 0.8, LagP99: time.Microsecond}}, ""},
		"busy":      {Report{CPU: CPU{Busiest: 0.95, Hindered: 0.04}}, "itself is the bottleneck"},
		"hindered":  {Report{CPU: CPU{Busiest: 0.5, Hindered: 0.45}}, "lacked processors"},
		"behind":    {Report{CPU: CPU{LagP99: 2 * time.Millisecond}}, "fell behind its schedule"},
		"silent":    {Report{Requests: Requests{Begun: 9, Failed: 2}, Latency: Latency{Count: 7}}, "2 requests were cut off"},
		"errors":    {Report{Requests: Requests{Begun: 9, Failed: 2}, Latency: Latency{Count: 9}}, ""},
		"dropped":   {Report{Requests: Requests{Dropped: 3}}, "3 requests found the backlog full"},
		"time wait": {Report{Counters: Counters{TimeWaitOverflows: 4}}, "tcp_max_tw_buckets"},
	} {
		c.report.warn(&Plan{})
		said := strings.Join(c.report.Warnings, "; ")
		if c.want == "" && said != "" || len(c.report.Warnings) > 1 || !strings.Contains(said, c.want) {
			t.Errorf("%s: %q, want %q", name, said, c.want)
		}
	}
}
