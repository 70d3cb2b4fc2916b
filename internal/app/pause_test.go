package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
)

// TestPauseNamesTheWall fills a server up to its limit: the log says which wall the limit comes from, and not to raise
// a number that nobody wrote.
func TestPauseNamesTheWall(t *testing.T) {
	for _, test := range []struct {
		name, key, want string
	}{
		{"descriptors", "limits.connections=auto", `wall=descriptors why="RLIMIT_NOFILE is 30, of which `},
		{"configuration", "limits.connections=1", `wall=configuration why="limits.connections is 1" mend="raise it"`},
	} {
		for _, model := range []string{"reactor", "thread"} {
			t.Run(test.name+"/"+model, func(t *testing.T) {
				host := roomy()
				host.Descriptors, host.Processors = 30, 1
				log := new(journal)
				ready := make(chan struct{})
				p := planned(t, host, "listeners[0].address=127.0.0.1:0", "engine.model="+model, "engine.driver=auto",
					"engine.direct=never", "timeouts.drain=0s", test.key)
				a, err := New(p, Options{Log: slog.New(slog.NewTextHandler(log, nil)), Ready: func(*App) { close(ready) }})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- a.Serve(ctx, nil) }()
				<-ready
				for range p.Capacity.Limit + 1 { // one that is over the limit waits in the kernel
					c, err := net.Dial("tcp", strings.TrimPrefix(a.URLs()[0], "http://"))
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = c.Close() }()
					if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err != nil {
						t.Fatal(err)
					}
				}
				await(t, "a pause in the log", func() bool { return log.line("accepting is paused") != "" })
				line := log.line("accepting is paused")
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if !strings.Contains(line, test.want) || strings.Count(line, "mend=") != 1 {
					t.Errorf("the log has no %q:\n%s", test.want, line)
				}
				if strings.Contains(line, "raise limits.connections") {
					t.Errorf("the derived number is to be raised:\n%s", line)
				}
			})
		}
	}
}

// line is the first line of a log with a text; empty: there is none.
func (j *journal) line(text string) string {
	for line := range strings.Lines(j.String()) {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}
