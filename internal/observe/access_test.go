package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// gate is an output that takes nothing until it is opened.
type gate struct {
	mu     sync.Mutex
	opened chan struct{}
	called chan struct{}
	text   bytes.Buffer
}

func newGate() *gate { return &gate{opened: make(chan struct{}), called: make(chan struct{}, 1)} }

func (g *gate) Write(p []byte) (int, error) {
	notify(g.called)
	<-g.opened
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

func TestAccessLogWritesEveryLine(t *testing.T) {
	for _, format := range []Format{JSON, Combined} {
		var out bytes.Buffer
		a := NewAccessLog(AccessOptions{Format: format, Output: &out, BufferBytes: 64 << 20})
		const threads, each = 8, 500
		var group sync.WaitGroup
		for i := range threads {
			group.Go(func() {
				r := record()
				r.Connection = uint64(i)
				for range each {
					a.Log(r)
				}
			})
		}
		group.Wait()
		if err := a.Close(patience); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out.Bytes(), []byte("\n")); n != threads*each || a.Dropped() != 0 {
			t.Errorf("%d lines and %d dropped, want %d and none", n, a.Dropped(), threads*each)
		}
		for line := range strings.Lines(out.String()) {
			if format == JSON && !json.Valid([]byte(line)) || format == Combined && !strings.HasSuffix(line, "\"\n") {
				t.Fatalf("a broken line: %q", line)
			}
		}
	}
}

func TestAccessLogWritesWithoutBeingClosed(t *testing.T) {
	out := newGate()
	close(out.opened)
	a := NewAccessLog(AccessOptions{Output: out})
	a.Log(record())
	select {
	case <-out.called:
	case <-time.After(patience):
		t.Error("nothing was written")
	}
	if err := a.Close(patience); err != nil {
		t.Error(err)
	}
}

// TestAccessLogDropsWhenFull fills the memory behind an output that is stuck. Log must come back every time.
func TestAccessLogDropsWhenFull(t *testing.T) {
	out := newGate()
	var complaints bytes.Buffer
	a := NewAccessLog(AccessOptions{
		Output: out, BufferBytes: shards * 3 * longestLine, Log: slog.New(slog.NewTextHandler(&complaints, nil)),
	})
	a.Log(record())
	select {
	case <-out.called: // the writer is stuck now
	case <-time.After(patience):
		t.Fatal("nothing was written")
	}
	const lines = 10_000
	for range lines - 1 {
		a.Log(record())
	}
	dropped := a.Dropped()
	if dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	if err := a.Close(time.Millisecond); !errors.Is(err, ErrStuck) {
		t.Errorf("the end of a stuck log says %v", err)
	}
	close(out.opened)
	if err := a.Close(patience); err != nil {
		t.Fatal(err)
	}
	out.mu.Lock()
	written := int64(strings.Count(out.text.String(), "\n"))
	out.mu.Unlock()
	if written+dropped != lines {
		t.Errorf("%d lines written and %d dropped, want %d in all", written, dropped, lines)
	}
	if !strings.Contains(complaints.String(), "lines_lost_in_all=") {
		t.Errorf("the operator was told: %q", complaints.String())
	}
}

type broken struct{}

var errBroken = errors.New("no space left")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestAccessLogCountsWhatCannotBeWritten(t *testing.T) {
	var complaints bytes.Buffer
	a := NewAccessLog(AccessOptions{Output: broken{}, Log: slog.New(slog.NewTextHandler(&complaints, nil))})
	for range 10 {
		a.Log(record())
	}
	if err := a.Close(patience); !errors.Is(err, errBroken) {
		t.Errorf("Close says %v, want the error of the output", err)
	}
	if a.Dropped() != 10 {
		t.Errorf("%d lines are lost, want 10", a.Dropped())
	}
	if !strings.Contains(complaints.String(), errBroken.Error()) {
		t.Errorf("the operator was told: %q", complaints.String())
	}
}

func TestAccessLogAfterClose(t *testing.T) {
	var out bytes.Buffer
	a := NewAccessLog(AccessOptions{Output: &out})
	if err := a.Close(patience); err != nil {
		t.Fatal(err)
	}
	a.Log(record())
	if out.Len() > 0 || a.Dropped() != 1 {
		t.Errorf("%d bytes written and %d lines dropped, want none and 1", out.Len(), a.Dropped())
	}
}

func TestAccessLogNeedsNoMemory(t *testing.T) {
	a := NewAccessLog(AccessOptions{Output: io.Discard})
	r := record()
	for range 100_000 { // until the buffers have their size
		a.Log(r)
	}
	if n := testing.AllocsPerRun(10_000, func() { a.Log(r) }); n > 0.01 {
		t.Errorf("a line allocates %v times", n)
	}
	if err := a.Close(patience); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkAccessLog(b *testing.B) {
	for name, format := range map[string]Format{"JSON": JSON, "Combined": Combined} {
		b.Run(name, func(b *testing.B) {
			a := NewAccessLog(AccessOptions{Format: format, Output: io.Discard})
			r := record()
			b.ReportAllocs()
			for b.Loop() {
				a.Log(r)
			}
			if err := a.Close(patience); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(a.Dropped())/float64(b.N), "dropped/op")
		})
	}
}
