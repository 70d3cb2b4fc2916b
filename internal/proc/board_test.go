package proc

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/myriad-server/myriad/internal/sys"
)

func newBoard(t testing.TB, slots, loops int) *Board {
	t.Helper()
	b, err := NewBoard(slots, loops)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// again maps a board once more, as another process would.
func again(t *testing.T, b *Board) (*Board, error) {
	t.Helper()
	fd, err := sys.Duplicate(b.FD())
	if err != nil {
		t.Fatal(err)
	}
	return OpenBoard(fd)
}

// TestBoardOutlivesItsWorker reads what a worker has written that was killed.
func TestBoardOutlivesItsWorker(t *testing.T) {
	leaksNothing(t)
	b := newBoard(t, 3, 4)
	child := launch(t, command("worker", Named{"board", b.FD()}))
	if err := child.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	if err := child.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitDeath(t, child)
	got, ok := b.Read(1)
	if !ok {
		t.Fatal("nothing stands there")
	}
	now := Now()
	for i := range got.Loops {
		if got.Loops[i].Beat <= 0 || got.Loops[i].Beat > now || got.Beat > got.Loops[i].Beat {
			t.Errorf("loop %d has beaten at %s of %s, the oldest at %s", i, got.Loops[i].Beat, now, got.Beat)
		}
		got.Loops[i].Beat = 0
	}
	got.Beat = 0
	want := Report{
		Identity: Identity{PID: child.PID(), Worker: 9, Generation: 2, Started: time.Unix(5, 6), Loops: 2},
		State:    Serving,
		Loops: []LoopReport{
			{Figures: Figures{Open: 10, Accepted: 100, Requests: 1000, Turns: 3}},
			{Figures: Figures{Open: 11, Accepted: 100, Requests: 1000, Turns: 3}},
		},
		Total: Figures{Open: 21, Accepted: 200, Requests: 2000, Turns: 6},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what stands there (-want +got):\n%s", diff)
	}
	if _, err := b.Claim(1, Identity{PID: 1}); !errors.Is(err, ErrTaken) {
		t.Errorf("the slot of the dead was claimed: %v", err)
	}
	if err := b.Clear(1); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Read(1); ok {
		t.Error("it stands there after it was cleared")
	}
	if _, err := b.Claim(1, Identity{PID: 1, Loops: 4}); err != nil {
		t.Error(err)
	}
	if got, ok := b.Read(1); !ok || got.Total != (Figures{}) || got.Beat != 0 {
		t.Errorf("the next worker begins with %+v", got)
	}
}

func TestBoardLimits(t *testing.T) {
	for _, shape := range [][2]int{{0, 1}, {1, 0}, {MostSlots + 1, 1}, {1, MostSlotLoops + 1}} {
		if b, err := NewBoard(shape[0], shape[1]); err == nil {
			b.Close()
			t.Errorf("a board of %v was made", shape)
		}
	}
	b := newBoard(t, 2, 2)
	for name, claim := range map[string]func() error{
		"no slot":   func() error { _, err := b.Claim(2, Identity{PID: 1}); return err },
		"below":     func() error { _, err := b.Claim(-1, Identity{PID: 1}); return err },
		"no pid":    func() error { _, err := b.Claim(0, Identity{}); return err },
		"loops":     func() error { _, err := b.Claim(0, Identity{PID: 1, Loops: 3}); return err },
		"clear":     func() error { return b.Clear(2) },
		"not there": func() error { _, err := OpenBoard(1 << 20); return err },
	} {
		if claim() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, ok := b.Read(2); ok {
		t.Error("a slot beyond the last can be read")
	}
	if _, ok := b.Read(0); ok {
		t.Error("a slot that nobody has can be read")
	}
}

// TestBoardIsNotBelieved opens what claims to be a board.
func TestBoardIsNotBelieved(t *testing.T) {
	leaksNothing(t)
	tests := map[string]struct {
		word    int
		value   uint64
		version bool
	}{
		"magic":         {headMagic, 1, false},
		"next version":  {headVersion, 2 << 32, true},
		"line":          {headLineWords, 8, true},
		"slots":         {headSlots, 7, false},
		"all slots":     {headSlots, 1 << 63, false},
		"loops":         {headLoops, 0, false},
		"many loops":    {headLoops, 1<<64 - 1, false},
		"minor version": {headVersion, boardMajor<<32 | 9, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBoard(t, 2, 2)
			b.words[test.word].Store(test.value)
			other, err := again(t, b)
			if name == "minor version" {
				if err != nil {
					t.Fatal(err)
				}
				other.Close()
				return
			}
			var version *VersionError
			if err == nil || errors.As(err, &version) != test.version {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a file that can be cut", func(t *testing.T) {
		file, err := os.CreateTemp(t.TempDir(), "board")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if err := file.Truncate(4096); err != nil {
			t.Fatal(err)
		}
		fd, err := sys.Duplicate(int(file.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenBoard(fd); err == nil {
			t.Error("it was opened")
		}
	})
}

// TestBoardWhileWorkersChange reads a slot whose worker changes all the time: a report is of one worker.
func TestBoardWhileWorkersChange(t *testing.T) {
	b := newBoard(t, 1, 1)
	reader, err := again(t, b)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	stop := atomic.Bool{}
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := uint64(1); !stop.Load(); i++ {
			who := Identity{PID: int(i), Worker: i, Generation: i, Started: time.Unix(0, int64(i))}
			if _, err := b.Claim(0, who); err != nil {
				t.Error(err)
				return
			}
			if err := b.Clear(0); err != nil {
				t.Error(err)
				return
			}
		}
	})
	const reads, enough = 20_000, 20
	for seen, i := 0, 0; i < reads || seen < enough; i++ {
		r, ok := reader.Read(0)
		if !ok {
			continue
		}
		seen++
		if r.Worker != uint64(r.PID) || r.Generation != r.Worker || r.Started.UnixNano() != int64(r.Worker) {
			t.Errorf("two workers in one report: %+v", r)
			break
		}
	}
	stop.Store(true)
	writer.Wait()
}

// TestDeadInTheAct reads and clears the slot of a worker that died while it claimed it.
func TestDeadInTheAct(t *testing.T) {
	b := newBoard(t, 1, 1)
	b.own(0)[slotPID].Store(5)
	b.own(0)[slotSequence].Store(7)
	if r, ok := b.Read(0); ok {
		t.Errorf("it was read: %+v", r)
	}
	if err := b.Clear(0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Claim(0, Identity{PID: 6}); err != nil {
		t.Fatal(err)
	}
	if r, ok := b.Read(0); !ok || r.PID != 6 {
		t.Errorf("got %+v, %t", r, ok)
	}
}

// TestPulse beats loops of which one hangs: it gets one post, and the others go on.
func TestPulse(t *testing.T) {
	b := newBoard(t, 1, 3)
	slot, err := b.Claim(0, Identity{PID: 1, Loops: 3})
	if err != nil {
		t.Fatal(err)
	}
	var hung, refused atomic.Int32
	beaten := make(chan struct{}, 1)
	post := []func(func()) bool{
		func(f func()) bool {
			f()
			select {
			case beaten <- struct{}{}:
			default:
			}
			return true
		},
		func(func()) bool { hung.Add(1); return true },
		func(func()) bool { refused.Add(1); return false },
	}
	p := NewPulse(slot, time.Millisecond, post...)
	for range 10 {
		select {
		case <-beaten:
		case <-time.After(patience):
			t.Fatal("it does not beat")
		}
	}
	p.Stop()
	if n := hung.Load(); n != 1 {
		t.Errorf("the loop that hangs has %d posts waiting, want 1", n)
	}
	if n := refused.Load(); n < 2 {
		t.Errorf("the loop that refused was asked %d times", n)
	}
	r, _ := b.Read(0)
	if r.Loops[0].Beat == 0 || r.Loops[1].Beat != 0 || r.Beat != 0 {
		t.Errorf("the beats are %s and %s, the oldest %s", r.Loops[0].Beat, r.Loops[1].Beat, r.Beat)
	}
	defer func() {
		if recover() == nil {
			t.Error("a loop that was not claimed has a place")
		}
	}()
	slot.Loop(3)
}

func BenchmarkShow(b *testing.B) {
	board := newBoard(b, 1, 1)
	slot, err := board.Claim(0, Identity{PID: 1, Loops: 1})
	if err != nil {
		b.Fatal(err)
	}
	cells := slot.Loop(0)
	b.ReportAllocs()
	for i := range b.N {
		cells.Show(Figures{Open: 1, Accepted: uint64(i), Requests: 3, Turns: 4})
	}
}
