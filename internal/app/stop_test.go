package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// journal is a log that a test reads while the server writes.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// stopped serves as lines say, has n clients begin a request and none finish it, stops, and returns the log.
func stopped(t *testing.T, n int, killed bool, lines ...string) string {
	t.Helper()
	host, err := Examine()
	if err != nil {
		t.Fatal(err)
	}
	var log journal
	ready := make(chan struct{})
	lines = append([]string{"listeners[0].address=127.0.0.1:0"}, lines...)
	a, err := New(planned(t, host, lines...), Options{
		Log: slog.New(slog.NewTextHandler(&log, nil)), Ready: func(*App) { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	kill, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Serve(ctx, kill) }()
	<-ready
	for range n {
		c, err := net.Dial("tcp", strings.TrimPrefix(a.URLs()[0], "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1<<10)); err != nil { // it is served, and the second request is on its way
			t.Fatal(err)
		}
	}
	stop()
	if killed {
		close(kill)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the server does not end")
	}
	return log.String()
}

func TestStopSaysWhatItCut(t *testing.T) {
	for _, model := range []string{"reactor", "goroutine", "thread"} {
		for _, test := range []struct {
			name, drain, want, cause string
			clients                  int
			killed                   bool
		}{
			{"nobody is there", "1h", `level=INFO msg=drained took=`, "", 0, false},
			{
				"the deadline", "50ms", `level=WARN msg="connections were cut" connections_cut=3 upstream_connections_cut=0 ` +
					`sessions_cut=0 after=`, `cause="timeouts.drain is 50ms"`, 3, false,
			},
			{"a second signal", "1h", "connections_cut=2 ", `cause="a second signal"`, 2, true},
		} {
			t.Run(model+"/"+test.name, func(t *testing.T) {
				log := stopped(t, test.clients, test.killed, "engine.model="+model, "timeouts.drain="+test.drain)
				for _, want := range []string{test.want, test.cause, fmt.Sprint("connections_closed=", test.clients)} {
					if !strings.Contains(log, want) {
						t.Errorf("the log has no %q:\n%s", want, log)
					}
				}
			})
		}
	}
}

// TestStuckAccessLog has the access log go to a pipe that nobody reads: the server ends all the same, and says so.
func TestStuckAccessLog(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fill(t, writer)
	path := fmt.Sprintf("/proc/self/fd/%d", writer.Fd())
	log := stopped(t, 1, true, "access_log.format=json", "access_log.path="+path)
	_ = reader.Close()
	_ = writer.Close()
	if !strings.Contains(log, `level=ERROR msg="lines of the access log are lost"`) {
		t.Errorf("the log says nothing of the lines:\n%s", log)
	}
}

// fill writes to a pipe until it is full.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	if err := pipe.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := pipe.Write(make([]byte, 1<<16)); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
