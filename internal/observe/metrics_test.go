package observe

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/stream"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web/proxy"
)

// scrape is what a monitoring system gets.
func scrape(t *testing.T, r *Reading) string {
	t.Helper()
	answer := httptest.NewRecorder()
	NewMetrics(func() Reading { return *r }).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// full is a reading in which everything has a number.
func full() *Reading {
	var h meter.Histogram
	h.RecordShared(300 * time.Microsecond)
	h.RecordShared(2 * time.Second)
	r := &Reading{
		Version: "1.2.3", Driver: "epoll", Model: "reactor", Started: time.Unix(1_700_000_000, 0), Limit: 10000,
		Requests: h.Snapshot(), Ends: map[string]int64{"reset": 3}, Failures: map[string]int64{"connect_refused": 2},
		Lost: map[string]int64{"spans": 1, "log_lines": 4}, Spans: 5, Tunnels: proxy.TunnelCounts{9, 1, 0, 2},
		Workers: make([]meter.Counts, 2),
		Streams: []StreamReading{{Listener: "127.0.0.1:53"}, {Listener: "unix:/run/a.sock"}},
	}
	for c := range r.Total.All() {
		r.Total[c] = 7
	}
	r.Workers[1][meter.BusyNanoseconds] = 2.5e9
	r.Streams[1].Counts[stream.Open] = 9
	u := upstream.Snapshot{Name: "app", Waiting: 2}
	u.Counts[upstream.Reused] = 11
	u.Endpoints = []upstream.EndpointSnapshot{{
		Address: "127.0.0.1:9000", State: "up", Open: 10, Idle: 6, Leased: 3, Connected: 12,
		Ports: []upstream.PortsSnapshot{{Open: 10, Lingering: 5, Capacity: 100}},
	}}
	r.Upstreams = []upstream.Snapshot{u}
	return r
}

func TestMetrics(t *testing.T) {
	text := scrape(t, full())
	for _, line := range []string{
		`myriad_info{driver="epoll",model="reactor",version="1.2.3"} 1`,
		`myriad_connections_open 7`,
		`myriad_connections_accepted_total 7`,
		`myriad_requests_total{code_class="2xx"} 7`,
		`myriad_timeouts_total{of="head"} 7`,
		`myriad_loop_busy_seconds_total{loop="1"} 2.5`,
		`myriad_request_duration_seconds_bucket{le="0.00025"} 0`,
		`myriad_request_duration_seconds_bucket{le="0.0005"} 1`,
		`myriad_request_duration_seconds_bucket{le="2.5"} 2`,
		`myriad_request_duration_seconds_count 2`,
		`myriad_connections_failed_total{cause="reset"} 3`,
		`myriad_answers_failed_total{cause="connect_refused"} 2`,
		`myriad_upstream_reused_total{upstream="app"} 11`,
		`myriad_upstream_waiting{upstream="app"} 2`,
		`myriad_upstream_connections{endpoint="127.0.0.1:9000",state="idle",upstream="app"} 6`,
		`myriad_upstream_connections{endpoint="127.0.0.1:9000",state="opening",upstream="app"} 1`,
		`myriad_upstream_endpoints{endpoint="127.0.0.1:9000",state="up",upstream="app"} 1`,
		`myriad_upstream_ports{endpoint="127.0.0.1:9000",source="any",state="free",upstream="app"} 85`,
		`myriad_tunnels_total 9`,
		`myriad_tunnels_open 6`,
		`myriad_tunnels_ended_total{cause="client_failed"} 2`,
		`myriad_stream_sessions_open{listener="unix:/run/a.sock"} 9`,
		`myriad_lost_total{what="spans"} 1`,
		`myriad_spans_exported_total 5`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	for _, name := range []string{"process_open_fds", "process_max_fds", "go_goroutines"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("there is no %s", name)
		}
	}
}

// TestMetricsPromtool has Prometheus itself look at the names and the format.
func TestMetricsPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: it comes with Prometheus")
	}
	check := exec.Command(tool, "check", "metrics")
	check.Stdin = strings.NewReader(scrape(t, full()))
	var said bytes.Buffer
	check.Stdout, check.Stderr = &said, &said
	if err := check.Run(); err != nil || said.Len() > 0 {
		t.Errorf("%v\n%s", err, said.String())
	}
}

// TestMetricsAreBounded has more endpoints than have lines of their own, and an endpoint of each in the sum.
func TestMetricsAreBounded(t *testing.T) {
	r, many := full(), 3*mostEndpoints
	u := &r.Upstreams[0]
	one := u.Endpoints[0]
	u.Endpoints = nil
	for i := range many {
		one.Address = fmt.Sprintf("10.0.%d.%d:80", i/256, i%256)
		u.Endpoints = append(u.Endpoints, one)
	}
	text := scrape(t, r)
	if n := strings.Count(text, "\nmyriad_upstream_endpoint_connected_total{"); n != mostEndpoints+1 {
		t.Errorf("%d lines for %d endpoints", n, many)
	}
	line := fmt.Sprintf(`myriad_upstream_connections{endpoint="others",state="idle",upstream="app"} %d`,
		6*(many-mostEndpoints))
	if !strings.Contains(text, line) {
		t.Errorf("there is no line %s", line)
	}
	var names Tally
	for i := range 10 * mostNames {
		names.Count(fmt.Sprint(i))
	}
	if n := names.Counts(); len(n) != mostNames+1 || n[others] != 9*mostNames {
		t.Errorf("%d names, %d others", len(n), n[others])
	}
}

// TestMetricsOfBadNames has a name of an upstream that is no UTF-8: it costs an answer, and no crash.
func TestMetricsOfBadNames(t *testing.T) {
	r := full()
	r.Upstreams[0].Name = "\xff"
	answer := httptest.NewRecorder()
	NewMetrics(func() Reading { return *r }).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 500 || !strings.Contains(answer.Body.String(), "UTF-8") {
		t.Errorf("%d %.200s", answer.Code, answer.Body)
	}
}

func BenchmarkMetrics(b *testing.B) {
	b.ReportAllocs()
	r := full()
	h := NewMetrics(func() Reading { return *r })
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
	}
}
