package app

import (
	"testing"
	"time"
)

// await waits until a condition holds, which is looked at every millisecond; what is said when it never does.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, again := time.NewTimer(patience), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
