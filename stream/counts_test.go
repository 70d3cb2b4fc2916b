package stream

import "testing"

// TestEnds has a counter of its own for each cause, and a name and a sentence for each counter.
func TestEnds(t *testing.T) {
	of := map[Counter]Cause{}
	for cause, counter := range ends {
		if before, taken := of[counter]; taken || counter <= Open {
			t.Errorf("%q is counted as %q, as is %q", Cause(cause), counter, before)
		}
		of[counter] = Cause(cause)
	}
	names := map[string]bool{}
	for c := range counters {
		if names[c.String()] || c.String() == "" || c.Help() == "" {
			t.Errorf("counter %d is %q: %q", c, c, c.Help())
		}
		names[c.String()] = true
	}
}
