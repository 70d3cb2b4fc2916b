package load

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestAgain has a report carry a scenario that says the same as what the run was made with.
func TestAgain(t *testing.T) {
	server := web(t, good)
	file, err := parseScenario("a.yaml", "stages: [ 100-400/100ms, 400/100ms ]\narrivals: poisson\nwarmup: 20ms\n"+
		"headers: [ 'A: \"b\": c', \"Authorization: Bearer abc\" ]\nexpect-body: \"hello\"\nreset: true\ntouch: false\n")
	if err != nil {
		t.Fatal(err)
	}
	target, connections, timeout := server.plan(t, "http").Target.Text, 3, 1500*time.Millisecond
	p, err := PlanOf(t.Context(), Settings{Target: &target, Connections: &connections, Timeout: &timeout}, file)
	if err != nil {
		t.Fatal(err)
	}
	r := perform(t, p)
	again, err := parseScenario("again.yaml", r.Scenario)
	if err != nil {
		t.Fatalf("%v in %s", err, r.Scenario)
	}
	want := Settings{Target: &target, Connections: &connections, Timeout: &timeout}.Over(file.Settings)
	want.Headers = []string{`A: "b": c`, "Authorization: " + withheld}
	if diff := cmp.Diff(want, again.Settings); diff != "" {
		t.Error(diff)
	}
	text, err := json.Marshal(r)
	if err != nil || strings.Contains(string(text), "Bearer") {
		t.Errorf("what lets somebody in is in the report: %s, %v", text, err)
	}
	var page strings.Builder
	if err := r.HTML(&page); err != nil || !strings.Contains(page.String(), "arrivals: poisson") {
		t.Errorf("the page does not say how the run is made again: %v", err)
	}
}
