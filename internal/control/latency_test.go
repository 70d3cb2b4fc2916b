package control

import (
	"testing"
	"time"
)

// TestPromptAnswers answers requests each within the turn that brings it: they took as long as the turn, not nothing.
func TestPromptAnswers(t *testing.T) {
	s := serve(t, "routes=[{respond: {body: hello}}]")
	const asked = 20
	c := s.dial()
	for range asked {
		if err := exchange(c, 100); err != nil {
			t.Fatal(err)
		}
	}
	deadline, again := time.NewTimer(hang), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer again.Stop()
	for s.Reading().Requests.Count() < asked { // the last is counted when its turn ends
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("%d are counted", s.Reading().Requests.Count())
		}
	}
	if r := s.Reading().Requests; r.Count() != asked || r.Quantile(0) <= 0 {
		t.Errorf("%d are counted, the fastest took %v", r.Count(), r.Quantile(0))
	}
}
