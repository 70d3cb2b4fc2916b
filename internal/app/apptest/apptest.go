// Package apptest runs the server within a test, as the program does.
package apptest

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
)

// hang is how long the server may take to start, and to end.
const hang = 30 * time.Second

// Server is a server that runs until the test ends.
type Server struct {
	*app.App
	t       testing.TB
	cancel  context.CancelFunc
	done    chan error
	stopped bool
}

// Plan is how overrides and lines, in this order, are served on top of the default configuration.
func Plan(t testing.TB, overrides []config.Override, lines ...string) *app.Plan {
	t.Helper()
	for _, line := range lines {
		overrides = append(overrides, config.SetFlag(line))
	}
	c, _, err := app.Known().Load("", overrides)
	if err != nil {
		t.Fatal(err)
	}
	host, err := app.Examine()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := app.NewPlan(c, host)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// Start serves what overrides and lines, in this order, make of the default configuration, and returns when it is
// ready. What it says goes to log. The server is stopped at the end of the test, and must end without an error.
func Start(t testing.TB, log *slog.Logger, overrides []config.Override, lines ...string) *Server {
	t.Helper()
	plan := Plan(t, overrides, lines...)
	s := &Server{t: t, done: make(chan error, 1)}
	ready := make(chan struct{})
	var err error
	s.App, err = app.New(plan, app.Options{Version: "1.2.3", Log: log, Ready: func(*app.App) { close(ready) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.done <- s.Serve(ctx, nil) }()
	t.Cleanup(s.Stop)
	select {
	case <-ready:
	case err := <-s.done:
		s.stopped = true
		t.Fatalf("the server does not start: %v", err)
	case <-time.After(hang):
		t.Fatal("the server does not become ready")
	}
	return s
}

// Address is where the first listener listens, without its scheme.
func (s *Server) Address() string {
	url := s.URLs()[0]
	if _, address, found := strings.Cut(url, "://"); found {
		return address
	}
	return url
}

// Stop ends the server, once.
func (s *Server) Stop() {
	s.t.Helper()
	if s.stopped {
		return
	}
	s.stopped = true
	s.cancel()
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Errorf("the server ended with: %v", err)
		}
	case <-time.After(hang):
		stacks := make([]byte, 1<<20)
		s.t.Fatalf("the server does not end\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}
