package uring

import (
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// sharing are two drivers that accept from one socket, as two processes do.
func sharing(t *testing.T, direct bool) (all [2]*rig, dial func()) {
	t.Helper()
	for i := range all {
		all[i] = newRig(t, driver.Options{Shared: true, Direct: direct}, 16, nil)
	}
	fd := all[0].listen()
	for _, r := range all {
		r.start(driver.Op{Code: driver.Accept, FD: fd, Many: true})
		r.turn(0)
	}
	return all, func() {
		client := all[0].dial()
		t.Cleanup(func() { _ = sys.Close(client) })
	}
}

// accepts turns a driver until nothing comes, so that it waits again, and counts what it has accepted.
func (r *rig) accepts() (n int) {
	for r.turn(time.Millisecond) > 0 {
		for _, c := range r.came {
			r.must(c.Err)
			if c.Code == driver.Accept {
				r.start(driver.Op{Code: driver.Close, FD: c.Result})
				n++
			}
		}
	}
	return n
}

// TestSharedSpread has two drivers accept what comes one by one: they take turns.
func TestSharedSpread(t *testing.T) {
	for name, direct := range map[string]bool{"descriptors": false, "direct": true} {
		t.Run(name, func(t *testing.T) {
			all, dial := sharing(t, direct)
			const clients = 20
			var got [2]int
			for made := range clients {
				dial()
				for got[0]+got[1] <= made {
					for i, r := range all {
						got[i] += r.accepts()
					}
				}
			}
			if got[0] != clients/2 || got[1] != clients/2 {
				t.Errorf("accepted %v of %d", got, clients)
			}
		})
	}
}

// TestSharedStopped has one of two drivers stand still: the other one gets all but one, and that one with the next.
func TestSharedStopped(t *testing.T) {
	for name, direct := range map[string]bool{"descriptors": false, "direct": true} {
		t.Run(name, func(t *testing.T) {
			all, dial := sharing(t, direct)
			dial()
			for got, made := 0, 1; got < 20; {
				dial()
				for made++; got < made; {
					got += all[1].accepts()
				}
			}
		})
	}
}
