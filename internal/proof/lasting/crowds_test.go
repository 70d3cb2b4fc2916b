package lasting

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/load"
)

// A crowd is a generator of load, which counts for itself.
type crowd struct {
	name    string
	clients int
	good    atomic.Int64 // answers by now; unknown of those that tell only at the end
	silent  bool         // it tells only at the end
	cancel  func()
	ended   chan struct{}
	lost    map[string]int
	made    int64
	failed  error
}

// startCrowds starts all generators.
func startCrowds(s *stand) []*crowd {
	s.t.Helper()
	crowds := []*crowd{
		startLoad(s, "keep-alive", "/own", 32, nil),
		startLoad(s, "one request each", "/own", 8, func(p *load.Plan) {
			p.PerConnect, p.Reset, p.Think = 1, true, 0
			p.Stages = []load.Stage{{From: 200, To: 200, For: time.Hour}}
		}),
		startLoad(s, "proxied", "/app", 16, nil),
	}
	if program, err := exec.LookPath("wrk"); err == nil {
		crowds = append(crowds, startWrk(s, program))
	}
	return crowds
}

// startLoad starts this project's own generator, whose connections pause so that there is time for all others.
func startLoad(s *stand, name, path string, clients int, change func(*load.Plan)) *crowd {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	target, err := load.ParseTarget(ctx, "http://"+s.web+path)
	if err != nil {
		s.t.Fatal(err)
	}
	p := load.Default()
	p.Target, p.Connections, p.Duration, p.Think = target, clients, time.Hour, 10*time.Millisecond
	p.Timeout, p.Driver, p.PID = silence, "epoll", os.Getpid()
	p.Request.Status = 200
	if change != nil {
		change(&p)
	}
	c := &crowd{name: name, clients: clients, cancel: cancel, ended: make(chan struct{}), lost: map[string]int{}}
	s.group.Go(func() {
		defer close(c.ended)
		r, err := load.Run(ctx, p, func(l load.Live) { c.good.Store(l.Good) })
		if err != nil {
			c.failed = err
			return
		}
		c.good.Store(int64(r.Requests.Good))
		c.made = int64(r.Connections.Made)
		failed := 0
		for cause, n := range r.Errors {
			c.lost[cause] += int(n)
			failed += int(n)
		}
		// A connection that was closed between two requests is no error of any request.
		if n := int(r.Connections.ClosedByIt) - failed; n > 0 && p.PerConnect == 0 {
			c.lost["connections closed by the server"] = n
		}
	})
	return c
}

// wrkScript has each connection of wrk pause between two requests, for as many milliseconds.
const wrkScript = "function delay() return 10 end\n"

// startWrk starts wrk, which tells what it has seen when it is interrupted.
func startWrk(s *stand, program string) *crowd {
	s.t.Helper()
	script := filepath.Join(s.t.TempDir(), "wrk.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		s.t.Fatal(err)
	}
	const clients = 16
	command := exec.CommandContext(context.Background(), program, "-t1", "-c"+strconv.Itoa(clients), "-d3600s",
		"--timeout", "20s", "-s", script, "http://"+s.web+"/own")
	out := new(bytes.Buffer)
	command.Stdout, command.Stderr = out, out
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	c := &crowd{
		name: "wrk", clients: clients, silent: true, made: clients, ended: make(chan struct{}), lost: map[string]int{},
		cancel: func() { _ = command.Process.Signal(syscall.SIGINT) },
	}
	s.t.Cleanup(func() { _ = command.Process.Kill() })
	s.group.Go(func() {
		defer close(c.ended)
		if err := command.Wait(); err != nil {
			c.failed = fmt.Errorf("wrk: %w\n%s", err, out)
			return
		}
		c.readWrk(out.String())
	})
	return c
}

var (
	wrkAnswers = regexp.MustCompile(`(\d+) requests in`)
	wrkStatus  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	wrkErrors  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// readWrk reads what wrk says at its end.
func (c *crowd) readWrk(text string) {
	answers := wrkAnswers.FindStringSubmatch(text)
	if answers == nil {
		c.failed = fmt.Errorf("wrk says nothing:\n%s", text)
		return
	}
	good, _ := strconv.Atoi(answers[1])
	c.good.Store(int64(good))
	if m := wrkStatus.FindStringSubmatch(text); m != nil {
		c.lost["another status"], _ = strconv.Atoi(m[1])
	}
	if m := wrkErrors.FindStringSubmatch(text); m != nil {
		for i, cause := range []string{"connect", "read", "write", "timeout"} {
			if n, _ := strconv.Atoi(m[1+i]); n > 0 {
				c.lost[cause] = n
			}
		}
	}
}

// awaitMore waits until the server has answered once more.
func (c *crowd) awaitMore(t testing.TB) {
	t.Helper()
	if c.silent {
		return
	}
	before := c.good.Load()
	await(t, func() bool { return c.good.Load() > before || c.over() },
		func() string { return c.name + ": nothing is answered any more" })
	if c.over() {
		t.Fatalf("%s has ended: %v", c.name, c.failed)
	}
}

func (c *crowd) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// finish ends the generator and takes what it has counted.
func (c *crowd) finish(s *stand) {
	s.t.Helper()
	c.cancel()
	select {
	case <-c.ended:
	case <-time.After(patience):
		s.t.Fatalf("%s does not end", c.name)
	}
	if c.failed != nil {
		s.t.Fatalf("%s: %v", c.name, c.failed)
	}
}
