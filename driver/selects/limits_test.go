package selects

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// TestBeyondSetSize watches a descriptor above the 1,023 of the C library.
func TestBeyondSetSize(t *testing.T) {
	keep := func(fd int, err error) int {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := sys.Close(fd); err != nil {
				t.Error(err)
			}
		})
		return fd
	}
	soft, _, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	if soft < 1300 {
		t.Skipf("RLIMIT_NOFILE is %d; to run this, ulimit -n 1300", soft)
	}
	for keep(sys.Eventfd()) < 1200 {
		continue
	}
	near, far, err := sys.SocketPair(sys.Stream)
	keep(near, err)
	keep(far, err)
	p := &poller{wake: keep(sys.Eventfd())}
	for _, fd := range []int{p.wake, near} {
		if err := p.Set(fd, 0, emulate.Readable); err != nil {
			t.Fatal(err)
		}
	}
	var hints [4]emulate.Hint
	if n, _, err := p.Poll(hints[:], 0); n != 0 || err != nil && err != syscall.EINTR {
		t.Fatalf("nothing is ready, %d hints: %v", n, err)
	}
	if _, err := sys.Send(far, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	n, _, err := p.Poll(hints[:], time.Second)
	for err == syscall.EINTR { // by a signal, such as the runtime sends to its threads
		n, _, err = p.Poll(hints[:], time.Second)
	}
	if n != 1 || err != nil || hints[0] != (emulate.Hint{FD: near, What: emulate.Readable}) {
		t.Fatalf("descriptor %d is ready: %+v, %v", near, hints[:n], err)
	}
	p.Gone(near)
	if n, _, err := p.Poll(hints[:], 0); n != 0 || err != nil && err != syscall.EINTR {
		t.Fatalf("it is gone, %d hints: %v", n, err)
	}
}

func TestTooLarge(t *testing.T) {
	p := &poller{}
	err := p.Set(highest+1, 0, emulate.Readable)
	if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "use the driver epoll") {
		t.Errorf("descriptor %d: %v", highest+1, err)
	}
	if err := p.Set(highest, 0, emulate.Writable); err != nil {
		t.Errorf("descriptor %d: %v", highest, err)
	}
	p.Gone(highest)
	if n := len(p.want.read); n != 0 {
		t.Errorf("%d words for an empty set", n)
	}
}

// TestRotation gives everybody a turn though there is room for few: a word's worth,
// and the scan goes on where it stopped.
func TestRotation(t *testing.T) {
	p := &poller{}
	ready := map[int]bool{}
	for i := range 201 {
		fd, err := sys.Eventfd()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sys.Close(fd) })
		if i == 0 {
			p.wake = fd
			err = p.Set(fd, 0, emulate.Readable)
		} else {
			ready[fd] = true
			err = errors.Join(sys.Notify(fd), p.Set(fd, 0, emulate.Readable))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		var hints [64]emulate.Hint
		n, _, err := p.Poll(hints[:], 0)
		if n != len(hints) || err != nil {
			t.Fatalf("%d hints: %v", n, err)
		}
		for _, h := range hints[:n] {
			delete(ready, h.FD)
		}
	}
	if len(ready) > 0 {
		t.Errorf("no hint for %v", ready)
	}
}
