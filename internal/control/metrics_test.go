package control

import (
	"os/exec"
	"strings"
	"testing"
)

// TestMetrics scrapes a running server that has answered, and has promtool look at what it got.
func TestMetrics(t *testing.T) {
	s := serve(t, "routes=[{respond: {body: hello}}]")
	c := s.dial()
	if err := exchange(c, 100); err != nil {
		t.Fatal(err)
	}
	s.until("", "an idle connection", func(l *List) bool { return l.States["idle"] == 1 }) // its turn is over
	text := s.ask("GET", "/metrics", "", nil)
	for _, line := range []string{
		`myriad_requests_total{code_class="2xx"} 1`, "myriad_connections_open 1", "myriad_request_duration_seconds_count 1",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s in\n%s", line, text)
		}
	}
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: it comes with Prometheus")
	}
	check := exec.Command(tool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
}
