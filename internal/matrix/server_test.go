package matrix

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/web"
)

// patience is how long anything may take that is going to happen.
const patience = 60 * time.Second

// A server is one under test: made from a configuration, or around a handler.
type server struct {
	t       *testing.T
	urls    []string
	cancel  context.CancelFunc
	kill    chan struct{}
	ended   chan struct{}
	err     error // of the end, once ended
	before  footprint
	entry   bool // clients have to ask the first listener for one that serves
	stopped bool
}

// start serves the folder and some fixed answers, with a configuration changed by lines.
func (s *suite) start(t *testing.T, lines ...string) *server {
	t.Helper()
	settled := append([]string{
		"listeners[0].address=127.0.0.1:0", s.routes(),
		"engine.loops=2", "engine.sweep=1ms", "engine.blocks=512", fmt.Sprint("timeouts.drain=", drain),
	}, s.column.Lines...)
	settled = append(settled, lines...)
	if s.column.Processes != "" {
		return s.startProcesses(t, settled)
	}
	settled = slices.DeleteFunc(settled, func(line string) bool { // what a model without loops does not want to hear of
		return s.column.Model.Driver() != "" && strings.HasPrefix(line, "engine.loops=")
	})
	v := &server{t: t, before: measure(t)}
	host, err := app.Examine()
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := app.Known().Load("", overrides(settled))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := app.NewPlan(c, host)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	a, err := app.New(plan, app.Options{
		Version: "matrix", Log: slog.New(slog.DiscardHandler),
		Ready: func(*app.App) { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	v.run(ready, a.Serve)
	v.urls = a.URLs()
	return v
}

// serve serves a handler, without a configuration: for what only programs can do.
func (s *suite) serve(t *testing.T, template *web.Server) *server {
	t.Helper()
	if s.column.Processes != "" {
		t.Skip("a handler belongs to a program that serves by itself; several processes are the server's alone")
	}
	v := &server{t: t, before: measure(t)}
	spec, err := listen.Parse("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spec.NoDelay, spec.ReusePort = true, s.column.Accept == serve.ReusePort
	group := listen.NewGroup(spec)
	ready := make(chan struct{})
	site := serve.Site{
		Driver: s.column.Driver, Options: s.column.Options, Accept: s.column.Accept,
		Limits: serve.Limits{
			Loops: 2, Workers: workers, Queue: 1024, Connections: 1000,
			BlockBytes: 16 << 10, Blocks: 512, OutputBytes: 1 << 20, Drain: drain,
		},
		Listeners: []serve.Listener{{
			Name: "test", Network: "tcp", Open: group.Open, Closed: group.Closed,
			Handler: func() conn.Handler { return template.Handler() },
		}},
		Ready: func() { close(ready) },
	}
	site.Options.Sweep = time.Millisecond
	v.run(ready, func(ctx context.Context, kill <-chan struct{}) error {
		site.Kill = kill
		return s.column.Model.Serve(ctx, &site)
	})
	v.urls = []string{"http://" + group.Spec().Address.String()}
	return v
}

// run starts to serve, and returns when everything listens.
func (v *server) run(ready <-chan struct{}, serve func(context.Context, <-chan struct{}) error) {
	v.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel, v.kill, v.ended = cancel, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(v.ended)
		v.err = serve(ctx, v.kill)
	}()
	v.t.Cleanup(v.stop)
	select {
	case <-ready:
	case <-v.ended:
		v.t.Fatalf("the server does not start: %v", v.err)
	case <-time.After(patience):
		v.t.Fatal("the server does not become ready")
	}
}

// drain is how long the end of a server may take, and soonEnough how long it takes when no client is there: a server
// that takes longer did not notice that one has gone.
const (
	drain      = 45 * time.Second
	soonEnough = 20 * time.Second
)

// stop ends the server, which must leave nothing behind. The clients must have gone.
func (v *server) stop() {
	if v.stopped {
		return
	}
	v.stopped = true
	begun := time.Now()
	v.cancel()
	v.awaitEnd()
	if took := time.Since(begun); took > soonEnough {
		v.t.Errorf("without a client the end took %v", took)
	}
	v.before.checkGone(v.t)
}

func (v *server) awaitEnd() {
	v.t.Helper()
	select {
	case <-v.ended:
		if v.err != nil {
			v.t.Errorf("the server ended with: %v", v.err)
		}
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		v.t.Fatalf("the server does not end\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// address is where a listener is, as package net wants it.
func (v *server) address(listener int) (network, address string) {
	url := v.urls[listener]
	if path, ok := strings.CutPrefix(url, "unix:"); ok {
		return "unix", path
	}
	network, address, _ = strings.Cut(url, "://")
	if network == "http" {
		network = "tcp"
	}
	return network, address
}

// reach connects to a listener, or to where that sends its clients; any goroutine.
func (v *server) reach(listener int) (net.Conn, error) {
	network, address := v.address(listener)
	if v.entry && network == "tcp" {
		var err error
		if address, err = worker(address); err != nil {
			return nil, err
		}
	}
	return net.DialTimeout(network, address, patience)
}

// dial connects a client to the first listener.
func (v *server) dial() *client {
	v.t.Helper()
	return v.dialTo(0)
}

func (v *server) dialTo(listener int) *client {
	v.t.Helper()
	c, err := v.reach(listener)
	if err != nil {
		v.t.Fatal(err)
	}
	return newClient(v.t, c)
}

// A footprint is what a process holds.
type footprint struct{ descriptors, goroutines int }

func measure(t *testing.T) footprint {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return footprint{len(entries), runtime.NumGoroutine()}
}

// checkGone fails if there is more than there was. Goroutines that have done their work may take a moment to end.
func (f footprint) checkGone(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Second); ; <-tick.C {
		now := measure(t)
		if now.descriptors <= f.descriptors && now.goroutines <= f.goroutines {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Errorf("left behind: %+v, there were %+v before\n%s", now, f, stacks[:runtime.Stack(stacks, true)])
			return
		}
	}
}
