package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/internal/meter"
)

func TestMain(m *testing.M) {
	// The library of the bus keeps a goroutine of its own for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.init.0.func1"))
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

var discarding = slog.New(slog.DiscardHandler)

// running is a server under test.
type running struct {
	*App
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

// start serves the default configuration, changed by lines, on a free port. The server is stopped at the end of the
// test, and must then have given back every descriptor.
func start(t *testing.T, lines ...string) *running {
	t.Helper()
	return serving(t, testPlan(t, lines...))
}

// testPlan is the plan of a server for tests, with its configuration changed by lines as --set takes them.
func testPlan(t *testing.T, lines ...string) *Plan {
	t.Helper()
	host, err := Examine()
	if err != nil {
		t.Fatal(err)
	}
	settled := []string{"listeners[0].address=127.0.0.1:0", "timeouts.drain=5s"}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "engine.model=") }) {
		settled = append(settled, "engine.loops=2")
	}
	return planned(t, host, append(settled, lines...)...)
}

// serving starts a server of a plan.
func serving(t *testing.T, p *Plan) *running {
	t.Helper()
	before := descriptors(t)
	ready := make(chan struct{})
	a, err := New(p, Options{
		Version: "1.2.3", Log: discarding, Ready: func(*App) { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{App: a, t: t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- a.Serve(ctx, nil) }()
	select {
	case <-ready:
	case err := <-r.done:
		cancel()
		t.Fatalf("the server does not start: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.done:
			if err != nil {
				t.Errorf("the server ended with: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("the server does not end")
		}
		if after := descriptors(t); len(after) > len(before) {
			t.Errorf("descriptors before: %v; after: %v", before, after)
		}
	})
	return r
}

// descriptors is what the process has open, but for the runtime's own.
func descriptors(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]string{}
	for _, entry := range entries {
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err == nil && !strings.HasPrefix(target, "anon_inode:[event") && !strings.HasPrefix(target, "/proc/") {
			open[entry.Name()] = target
		}
	}
	return open
}

// get asks over a connection of its own.
func (r *running) get(path string) (status int, body string, header http.Header) {
	r.t.Helper()
	network, address, _ := strings.Cut(r.URLs()[0], "://")
	if strings.HasPrefix(network, "unix:") {
		network, address = "unix", strings.TrimPrefix(r.URLs()[0], "unix:")
	}
	c := dial(r.t, strings.Replace(network, "http", "tcp", 1), address)
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", path)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = response.Body.Close()
	_ = c.Close()
	return response.StatusCode, string(text), response.Header
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryEngineServes(t *testing.T) {
	known := Known()
	var engines [][]string
	for _, name := range known.Drivers {
		engines = append(engines, []string{"engine.driver=" + name})
	}
	for _, name := range known.Models {
		engines = append(engines, []string{"engine.model=" + name})
	}
	engines = append(engines, []string{"engine.accept=acceptor"}, []string{"engine.loops=1"})
	for _, lines := range engines {
		t.Run(strings.Join(lines, " "), func(t *testing.T) {
			r := start(t, lines...)
			for range 3 {
				status, body, header := r.get("/")
				if status != 200 || body != "hello" || header.Get("Server") != "myriad" {
					t.Errorf("the answer is %d %q by %q", status, body, header.Get("Server"))
				}
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "page.html"), []byte("<p>page"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, fmt.Sprintf(`routes=[
		{path: /text, respond: {status: 201, body: text, type: a/b, headers: {X-One: "1"}}, headers: {X-Two: "2"}},
		{path: /away, redirect: {to: /text, status: 307}},
		{path: /post, methods: [POST], respond: {body: posted}},
		{prefix: /cut/, files: {root: %[1]q, strip: true}},
		{path: /form.html, methods: [POST], respond: {body: posted}},
		{suffix: .html, files: {root: %[1]q}}]`, dir))
	for _, test := range []struct {
		path   string
		status int
		body   string
		field  string
		value  string
	}{
		{"/text", 201, "text", "X-One", "1"},
		{"/text", 201, "text", "X-Two", "2"},
		{"/text", 201, "text", "Content-Type", "a/b"},
		{"/away", 307, "", "Location", "/text"},
		{"/post", 405, "", "Allow", "POST"},
		{"/page.html", 200, "<p>page", "Content-Type", "text/html; charset=utf-8"},
		{"/cut/page.html", 200, "<p>page", "Content-Type", "text/html; charset=utf-8"},
		{"/cut/cut/page.html", 404, "", "Server", "myriad"},
		{"/form.html", 405, "", "Allow", "POST"},
		{"/none.html", 404, "", "Server", "myriad"},
		{"/none", 404, "", "Server", "myriad"},
	} {
		status, body, header := r.get(test.path)
		if status != test.status || test.body != "" && body != test.body || header.Get(test.field) != test.value {
			t.Errorf("%s answers %d %q, %s: %q; want %d %q, %q", test.path, status, body, test.field,
				header.Get(test.field), test.status, test.body, test.value)
		}
	}
}

func TestStatus(t *testing.T) {
	r := start(t, `routes=[{path: /status, status: {}}, {respond: {body: hello}}]`, "engine.driver=epoll")
	const asked = 5
	for range asked {
		r.get("/")
	}
	// What happened in turns that are over is counted; the turn that answers is not over, nor need that of another loop.
	await(t, "a count of all", func() bool { return r.counters.Total()[meter.Responses2xx] >= asked })
	status, body, header := r.get("/status")
	if status != 200 || header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("the answer is %d %v", status, header)
	}
	var s Status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if s.Name != "myriad" || s.Version != "1.2.3" || s.PID != os.Getpid() || s.Driver != "epoll" || s.Model != "reactor" ||
		s.Loops != 2 || len(s.OpenPerWorker) != 2 || s.ResidentBytes == 0 || s.Listeners[0] != r.URLs()[0] {
		t.Errorf("the document is %s", body)
	}
	if s.Requests < asked || s.Responses.Success < asked {
		t.Errorf("%d requests, %d answers in %s", s.Requests, s.Responses.Success, body)
	}
	await(t, "its own connection is counted", func() bool { return r.counters.Total()[meter.Accepted] == asked+1 })
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	r := start(t, "listeners=[{address: 'unix:"+path+"', mode: 0600}]")
	if status, body, _ := r.get("/"); status != 200 || body != "hello" {
		t.Errorf("the answer is %d %q", status, body)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's file: %v %v", info, err)
	}
}

func TestAccessLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	t.Run("serve", func(t *testing.T) {
		r := start(t, "access_log.format=combined", "access_log.path="+path, "engine.driver=epoll")
		r.get("/one?a=b")
		r.get("/two")
	})
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"GET /one?a=b HTTP/1.1" 200 5 "-" "-"`, `"GET /two HTTP/1.1" 200 5 "-" "-"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the log holds %q, want %s in it", text, want)
		}
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	running, err := os.Executable() // a program that runs is a file, and nobody may write to it: ETXTBSY
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	for name, lines := range map[string][]string{
		"access log": {"access_log.format=json", "access_log.path=" + running, "routes=[{files: {root: .}}]"},
	} {
		if a, err := New(planned(t, roomy(), lines...), Options{Log: discarding}); err == nil {
			t.Errorf("%s: opened as %v", name, a)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	if after := descriptors(t); len(after) > len(before) {
		t.Errorf("descriptors before: %v; after: %v", before, after)
	}
}

func TestPortInUse(t *testing.T) {
	first := start(t)
	address := strings.TrimPrefix(first.URLs()[0], "http://")
	host, err := Examine()
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(planned(t, host, "listeners[0].address="+address, "engine.loops=2"), Options{Log: discarding})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Serve(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second server on one address: %v", err)
	}
	if status, _, _ := first.get("/"); status != 200 {
		t.Errorf("the first server answers %d", status)
	}
}

func TestPortIsSharedWhenAsked(t *testing.T) {
	first := start(t, "listeners[0].reuseport=true")
	address := strings.TrimPrefix(first.URLs()[0], "http://")
	second := start(t, "listeners[0].reuseport=true", "listeners[0].address="+address)
	if first.URLs()[0] != second.URLs()[0] {
		t.Errorf("%s and %s", first.URLs()[0], second.URLs()[0])
	}
}
