package poll

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// watched is a poller of n eventfds.
func watched(t *testing.T, n int) (p *poller, fds []int) {
	t.Helper()
	for range n + 1 {
		fd, err := sys.Eventfd()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := sys.Close(fd); err != nil {
				t.Error(err)
			}
		})
		fds = append(fds, fd)
	}
	p = &poller{wake: fds[0], entries: []sys.PollEntry{{Fd: int32(fds[0]), Events: sys.PollIn}}}
	for _, fd := range fds[1:] {
		if err := p.Set(fd, 0, emulate.Readable); err != nil {
			t.Fatal(err)
		}
	}
	return p, fds[1:]
}

// TestTooMany lowers the limit below what is watched: the error must say what to do.
func TestTooMany(t *testing.T) {
	p, _ := watched(t, 40)
	soft, hard, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.SetLimit(sys.LimitDescriptors, 20, hard); err != nil {
		t.Fatal(err)
	}
	_, _, err = p.Poll(make([]emulate.Hint, 4), 0)
	if err := sys.SetLimit(sys.LimitDescriptors, soft, hard); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("too many descriptors: %v", err)
	}
}

// TestRotation gives everybody a turn though there is room for one hint.
func TestRotation(t *testing.T) {
	p, fds := watched(t, 5)
	left := map[int]bool{}
	for _, fd := range fds {
		if err := sys.Notify(fd); err != nil {
			t.Fatal(err)
		}
		left[fd] = true
	}
	for range 2 * len(fds) {
		var hint [1]emulate.Hint
		n, _, err := p.Poll(hint[:], 0)
		if n != 1 || err != nil {
			t.Fatalf("%d hints: %v", n, err)
		}
		delete(left, hint[0].FD)
	}
	if len(left) > 0 {
		t.Errorf("no hint for %v", left)
	}
}

// TestRemoval takes descriptors out of the middle, the front and the end.
func TestRemoval(t *testing.T) {
	p, fds := watched(t, 5)
	for i, gone := range []int{2, 0, 4, 1, 3} {
		p.Gone(fds[gone])
		p.Gone(fds[gone]) // again: nothing
		if len(p.entries) != len(fds)-i {
			t.Fatalf("%d entries after %d removals", len(p.entries), i+1)
		}
		for at, entry := range p.entries[1:] {
			if p.places[entry.Fd] != uint32(at+1) {
				t.Fatalf("descriptor %d is at %d, not at %d", entry.Fd, at+1, p.places[entry.Fd])
			}
		}
	}
	if n, _, err := p.Poll(make([]emulate.Hint, 4), 0); n != 0 || err != nil {
		t.Errorf("nothing is watched, %d hints: %v", n, err)
	}
}
