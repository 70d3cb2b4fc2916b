package rtsig

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
	"github.com/myriad-server/myriad/driver/emulate"
	"github.com/myriad-server/myriad/internal/sys"
)

// queueMark tells a child process that it is one.
const queueMark = "MYRIAD_RTSIG_CHILD"

// inChild runs the test in a process of its own with a queue of so many signals; it
// gives true there.
func inChild(t *testing.T, pattern string, queue uint64) bool {
	t.Helper()
	if os.Getenv(queueMark) == "" {
		child := exec.Command(os.Args[0], "-test.run", pattern, "-test.count=1")
		child.Env = append(os.Environ(), queueMark+"=1")
		if output, err := child.CombinedOutput(); err != nil {
			t.Fatalf("the child process: %v\n%s", err, output)
		}
		return false
	}
	_, hard, err := sys.Limit(sys.LimitSignals)
	if err == nil {
		err = sys.SetLimit(sys.LimitSignals, queue, hard)
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// TestSmallQueue keeps every promise though nearly every signal is lost.
func TestSmallQueue(t *testing.T) {
	if !inChild(t, "^TestSmallQueue$", 4) {
		return
	}
	for name, o := range map[string]driver.Options{"each": {}, "per descriptor": {PerDescriptor: true}} {
		t.Run(name, func(t *testing.T) {
			drivertest.Run(t, Factory, func() driver.Options { return o })
		})
	}
}

// TestOverflow sees that the queue does overflow, that the poller says so, and that
// the queue works again afterwards.
func TestOverflow(t *testing.T) {
	if !inChild(t, "^TestOverflow$", 8) {
		return
	}
	p := bare(t, false)
	defer closed(t, p)
	far := make([]int, 64)
	for i := range far {
		far[i] = arm(t, p)
	}
	var hints [256]emulate.Hint
	if n, lost := collect(t, p, hints[:]); n != len(far) || lost {
		t.Fatalf("%d new descriptors give %d hints (lost: %v)", len(far), n, lost)
	}
	for round := range 3 {
		for _, fd := range far {
			write(t, fd)
		}
		if _, lost := collect(t, p, hints[:]); !lost {
			t.Fatalf("round %d: a queue of 8 signals held %d", round, len(far))
		}
		if n, lost := collect(t, p, hints[:]); n != 0 || lost {
			t.Fatalf("round %d: after the overflow the queue still holds %d (lost: %v)", round, n, lost)
		}
		// The limit counts what all processes of the user have queued, so this one
		// may be lost too.
		write(t, far[round])
		n, lost := collect(t, p, hints[:])
		if !lost && (n != 1 || hints[0].What&emulate.Readable == 0) {
			t.Fatalf("round %d: one signal gives %d hints", round, n)
		}
	}
	if err := p.Wake(); err != nil {
		t.Fatal(err)
	}
	if n, lost, err := p.Poll(hints[:], 10*time.Second); n != 0 || !lost && err != syscall.EINTR {
		t.Fatalf("a wake gives %d hints (lost: %v): %v", n, lost, err)
	}
}

// TestRepeats has several signals of one descriptor in the queue.
func TestRepeats(t *testing.T) {
	var hints [16]emulate.Hint
	for _, once := range []bool{false, true} {
		p := bare(t, once)
		far := arm(t, p)
		collect(t, p, hints[:])
		for range 5 {
			write(t, far)
		}
		want := 5
		if once {
			want = 1
		}
		if n, _ := collect(t, p, hints[:]); n != want {
			t.Errorf("five signals give %d hints, not %d (PerDescriptor: %v)", n, want, once)
		}
		if once && hints[0].What&emulate.Hangup == 0 {
			t.Error("a hint for several signals has no doubt")
		}
		closed(t, p)
	}
}

// TestMask has the thread's mask come back, and no signal afterwards.
func TestMask(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := sys.BlockSignals(0)
	if err != nil {
		t.Fatal(err)
	}
	p := bare(t, false)
	far := arm(t, p)
	during, err := sys.BlockSignals(0)
	if err != nil {
		t.Fatal(err)
	}
	if during&p.set != p.set {
		t.Errorf("mask %x lacks %x", during, p.set)
	}
	write(t, far)
	closed(t, p)
	write(t, far) // signals nobody
	after, err := sys.BlockSignals(p.set)
	if err != nil {
		t.Fatal(err)
	}
	if after != before {
		t.Errorf("the mask was %x and is %x", before, after)
	}
	var info sys.SignalInfo
	if signal, err := sys.SignalWait(p.set, &info, 0); err != syscall.EAGAIN {
		t.Errorf("signal %d comes after Close: %v", signal, err)
	}
	if err := sys.RestoreSignals(before); err != nil {
		t.Fatal(err)
	}
}

// bare is a poller without a driver; the test's thread is locked for it.
func bare(t *testing.T, once bool) *poller {
	t.Helper()
	runtime.LockOSThread()
	p, err := newPoller(once)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runtime.UnlockOSThread)
	return p
}

func closed(t *testing.T, p *poller) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// arm makes a pair, arms one end and gives the other.
func arm(t *testing.T, p *poller) (far int) {
	t.Helper()
	near, far, err := sys.SocketPair(sys.Stream)
	if err == nil {
		err = p.Set(near, 0, emulate.Readable)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sys.Close(near); err != nil {
			t.Error(err)
		}
		if err := sys.Close(far); err != nil {
			t.Error(err)
		}
	})
	return far
}

func write(t *testing.T, fd int) {
	t.Helper()
	if _, err := sys.Send(fd, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
}

// collect polls without waiting. A signal of the runtime may interrupt it.
func collect(t *testing.T, p *poller, hints []emulate.Hint) (n int, lost bool) {
	t.Helper()
	for {
		n, lost, err := p.Poll(hints, 0)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return n, lost
	}
}
