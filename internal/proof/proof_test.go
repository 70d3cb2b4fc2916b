// Package proof shows the proxy at work between real clients and real upstreams: what it passes on is what the upstream
// says, whatever the upstream does wrong is told and leaks nothing, and one request behind it was one before it.
//
// The upstreams are those that people run (nginx, Python's http.server, Flask under gunicorn, Go's net/http) and one
// that misbehaves on command, package faults. The proxy is the ordinary server, made from a configuration.
//
// The environment makes the tests longer than a check of every change can be, or repeats one:
//
//	DRIVER=epoll        runs the proxy with another driver
//	REQUESTS=1000000    requests over connections that go stale (TestStaleConnections)
//	DIFFERENTIAL=2000   requests to each server (TestDifferential), SEED=n those of a run before
//	BULK=1073741824     bytes of a download that is read slowly for SLOW=60 seconds (TestSlowReader)
//	TUNNELS=15000       idle tunnels (TestIdleTunnels), after which SETTLE=50 tenths of a second are waited for memory to
//	                    come to rest, and TALK=2000 milliseconds each measurement takes
//	REDIS=100000        requests of redis-benchmark of each kind (TestRedis)
//	CHAOS=40000         visits of clients to a chaos (TestChaos), SEED=n those of a run before
package proof

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/faults"
)

// patience is how long anything may take that is going to happen.
const patience = 30 * time.Second

// A proxy is one under test.
type proxy struct {
	*apptest.Server
	t       testing.TB
	address string // of the first listener
	logPath string
	errors  *bytes.Buffer // what the server says about itself; to be read when it has ended
	before  footprint
	stopped bool
}

// start starts a proxy to endpoints, with a configuration changed by lines. It is stopped at the end of the test, and
// must have given back by then whatever it took.
func start(t testing.TB, to []string, lines ...string) *proxy {
	t.Helper()
	return startWith(t, []config.Override{
		{Flag: "test", Path: "upstreams.u", Value: config.UpstreamTo(to...)},
		{Flag: "test", Path: "routes", Value: []config.Route{config.ProxyRoute("u")}},
	}, append([]string{"listeners[0].address=127.0.0.1:0"}, lines...)...)
}

// startWith starts a proxy of a configuration.
func startWith(t testing.TB, overrides []config.Override, lines ...string) *proxy {
	t.Helper()
	p := &proxy{t: t, before: measure(t), logPath: filepath.Join(t.TempDir(), "access.log"), errors: new(bytes.Buffer)}
	settled := []string{
		"access_log.format=json", "access_log.path=" + p.logPath, "engine.loops=2", "timeouts.drain=5s",
	}
	if name := os.Getenv("DRIVER"); name != "" {
		settled = append(settled, "engine.driver="+name)
	}
	log := slog.New(slog.NewTextHandler(p.errors, nil))
	p.Server = apptest.Start(t, log, overrides, append(settled, lines...)...)
	p.address = p.Address()
	t.Cleanup(p.stop)
	return p
}

// addressOf is what package net wants of a URL.
func addressOf(url string) string {
	_, address, found := strings.Cut(url, "://")
	if !found {
		return url
	}
	return address
}

// stop ends the proxy, which must leave nothing behind. Its clients must have gone.
func (p *proxy) stop() {
	if p.stopped {
		return
	}
	p.end()
	p.before.checkGone(p.t)
}

// end ends the proxy.
func (p *proxy) end() {
	p.t.Helper()
	p.stopped = true
	p.Stop()
}

// record is a line of the access log.
type record struct {
	Method   string
	Target   string
	Status   int
	Upstream string
	Attempts int
	Cause    string
}

// logged are the lines of the access log of a proxy that has ended.
func (p *proxy) logged() (records []record) {
	p.t.Helper()
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			p.t.Fatalf("a line of the access log: %v in %q", err, line)
		}
		records = append(records, r)
	}
	return records
}

// await waits until something is true.
func await(t testing.TB, is func() bool, what func() string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("did not come: %s", what())
		}
	}
}

// dial connects a client.
func (p *proxy) dial() *client {
	p.t.Helper()
	return dial(p.t, p.address)
}

// A client speaks to a server in bytes.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	network := "tcp"
	if name, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", name
	}
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, Conn: c, r: bufio.NewReader(c)}
}

// send sends all of a text.
func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// An answer is what a client got.
type answer struct {
	*http.Response
	content string
	broken  error // why the content is not whole
}

// answer reads one answer to the method.
func (c *client) answer(method string) (*answer, error) {
	response, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	return &answer{response, string(content), err}, nil
}

// must reads one answer that is whole.
func (c *client) must(method string) *answer {
	c.t.Helper()
	a, err := c.answer(method)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	if a.broken != nil {
		c.t.Fatalf("an answer that is not whole: %v", a.broken)
	}
	return a
}

// ended fails if the connection is still open, or anything more comes.
func (c *client) ended() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil && !isReset(err) {
		c.t.Errorf("after the end: %q, %v", rest, err)
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "connection reset") }

// upstreamOf starts a server that misbehaves.
func upstreamOf(t testing.TB, o faults.Options) *faults.Server {
	t.Helper()
	s, err := faults.Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A footprint is what a process holds.
type footprint struct{ descriptors, goroutines int }

func measure(t testing.TB) footprint {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return footprint{len(entries), runtime.NumGoroutine()}
}

// descriptors is what the process has open.
func descriptors(t testing.TB) (open []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			open = append(open, target)
		}
	}
	return open
}

// checkGone fails if there is more than there was. What has done its work may take a moment to end.
func (f footprint) checkGone(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		now := measure(t)
		if now.descriptors <= f.descriptors && now.goroutines <= f.goroutines {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Errorf("left behind: %+v, there were %+v before\n%s\n%s", now, f, descriptors(t),
				stacks[:runtime.Stack(stacks, true)])
			return
		}
	}
}
