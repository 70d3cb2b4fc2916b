package observe

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

func TestEventsText(t *testing.T) {
	events := []conn.Event{
		conn.MakeEvent(0, conn.Began, 0, 0),
		conn.MakeEvent(1e6, conn.Got, 0, 78),
		conn.MakeEvent(2e6, conn.Asks, 0, 7),
		conn.MakeEvent(3e6, conn.Gave, conn.CodeOf(syscall.EPIPE), 0),
		conn.MakeEvent(4e6, conn.Answered, 502, 16),
		conn.MakeEvent(5e6, conn.Ends, conn.CodeOf(conn.ErrTimeout), 0),
	}
	want := "-5ms began 0 bytes; -4ms received 78 bytes; -3ms asked connection 7; -2ms sent broken pipe; " +
		"-1ms answered 502, 16 bytes; 0s closing timed out"
	if got := EventsText(events); got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
}

// TestRecorderIsBounded fails more than is logged in a second, and ends connections that nobody wants to hear of.
func TestRecorderIsBounded(t *testing.T) {
	var text bytes.Buffer
	r := NewRecorder(slog.New(slog.NewTextHandler(&text, nil)))
	events := []conn.Event{conn.MakeEvent(0, conn.Began, 0, 0)}
	for _, why := range []error{conn.ErrOperator, conn.ErrStopping, conn.ErrPressure, conn.ErrMoved} {
		r.Ended(&conn.Record{Why: why}, events)
	}
	r.Ended(&conn.Record{Why: conn.ErrAborted, Listener: -1}, events)
	r.Ended(&conn.Record{Why: syscall.ECONNRESET}, nil)    // it was idle: there is nothing to tell
	r.Ended(&conn.Record{Why: syscall.ECONNRESET}, events) // clients do that
	r.Ended(&conn.Record{Why: syscall.EPIPE}, events)
	const most = 100_000
	for range most {
		r.Ended(&conn.Record{ID: 7, Why: syscall.ECONNRESET, Listener: -1}, events)
	}
	r.Traced(7, events[0])
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	told, seconds := strings.Count(text.String(), `msg="a connection failed" connection=7 cause=reset`), 60
	if told < recordsPerSecond || told > recordsPerSecond*seconds {
		t.Errorf("%d ends are logged", told)
	}
	if r.Dropped() == 0 {
		t.Log("the writer was as fast as the test")
	}
	if lines := strings.Count(text.String(), "\n"); lines > told+seconds+1 {
		t.Errorf("%d lines:\n%.500s", lines, text.String())
	}
}

// TestRecorderOfClients looks for what clients do.
func TestRecorderOfClients(t *testing.T) {
	var text bytes.Buffer
	r := NewRecorder(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	events := []conn.Event{conn.MakeEvent(0, conn.Began, 0, 0)}
	r.Ended(&conn.Record{ID: 7, Why: syscall.ECONNRESET}, events)
	r.Ended(&conn.Record{ID: 8, Why: conn.ErrTimeout}, events)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`level=DEBUG msg="a connection failed" connection=7 cause=reset`,
		`level=INFO msg="a connection failed" connection=8 cause=timeout`,
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, text.String())
		}
	}
}

// TestRecorderNeverBlocks fills a queue that nobody empties.
func TestRecorderNeverBlocks(t *testing.T) {
	stuck := make(chan struct{})
	r := NewRecorder(slog.New(slog.NewTextHandler(stuckWriter{stuck}, nil)))
	e := conn.MakeEvent(0, conn.Got, 0, 1)
	for range 3 * recordsQueued {
		r.Traced(1, e)
	}
	if dropped := r.Dropped(); dropped < recordsQueued {
		t.Errorf("%d are dropped", dropped)
	}
	close(stuck)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// stuckWriter writes nothing before something is closed.
type stuckWriter struct{ until chan struct{} }

func (w stuckWriter) Write(p []byte) (int, error) {
	select {
	case <-w.until:
	case <-time.After(time.Minute):
	}
	return len(p), nil
}
