package stream

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/conn"
)

// TestBroken tells who it was that ended without a word, and when it was the server itself.
func TestBroken(t *testing.T) {
	for _, c := range []struct {
		of    way
		why   error
		cause Cause
	}{
		{upward, syscall.ECONNRESET, ClientFailed},
		{downward, syscall.ECONNRESET, UpstreamFailed},
		{upward, conn.ErrStopping, Stopped},
		{downward, fmt.Errorf("wrapped: %w", conn.ErrStopping), Stopped},
		{upward, conn.ErrStalled, Stalled},
		{downward, conn.ErrStalled, Stalled},
	} {
		var s session
		if new(near).broken(&s, c.of, c.why); s.cause != c.cause || s.why != c.why {
			t.Errorf("%v of side %d is %v, %v", c.why, c.of, s.cause, s.why)
		}
	}
}

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
