// Package upgrade has the real program go on in a new process, under connections that must not notice.
package upgrade

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/control"
)

// patience is when a test that waits for an event calls it a hang.
const patience = time.Minute

func TestMain(m *testing.M) {
	code := m.Run()
	apptest.Clean()
	os.Exit(code)
}

// server is the program, with a folder for its sockets.
type server struct {
	*apptest.Program
	folder string
}

func launch(t *testing.T, arguments ...string) *server {
	t.Helper()
	folder := t.TempDir()
	arguments = append(arguments, "--admin", "unix:"+filepath.Join(folder, "admin.sock"))
	s := &server{apptest.Launch(t, folder, arguments...), folder}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !s.Says(ctx, "msg=serving", 1) {
		t.Fatalf("the server does not start\n%s", s.Log)
	}
	return s
}

// ask asks the admin API.
func (s *server) ask(method, path string, query url.Values, v any) error {
	client, err := control.Dial("unix:" + filepath.Join(s.folder, "admin.sock"))
	if err != nil {
		return err
	}
	_, err = client.Ask(context.Background(), method, path, query, v)
	return err
}

func (s *server) upgrade(t *testing.T, binary string) (moved app.Moved) {
	t.Helper()
	if err := s.ask("POST", "/v1/upgrade", url.Values{"binary": {binary}}, &moved); err != nil {
		t.Fatalf("%v\n%s", err, s.Log)
	}
	return moved
}

func (s *server) pid(t *testing.T) int {
	t.Helper()
	var status app.Status
	if err := s.ask("GET", "/v1/status", nil, &status); err != nil {
		t.Fatalf("%v\n%s", err, s.Log)
	}
	return status.PID
}

// client is one connection.
type client struct {
	net.Conn
	t      *testing.T
	answer *bufio.Reader
}

func dial(t *testing.T, at string) *client {
	t.Helper()
	network, address, _ := strings.Cut(at, "://")
	if path, ok := strings.CutPrefix(at, "unix:"); ok {
		network, address = "unix", path
	}
	if network == "http" {
		network = "tcp"
	}
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &client{c, t, bufio.NewReader(c)}
}

const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) hear(want string) {
	c.t.Helper()
	response, err := http.ReadResponse(c.answer, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != want {
		c.t.Fatalf("the answer is %q: %v", body, err)
	}
}

// exchange asks and has an answer.
func (c *client) exchange(want string) {
	c.t.Helper()
	c.say(request)
	c.hear(want)
}

// TestUpgrade has the server go on twice, over TCP and a Unix socket, under the drivers that it is likely to have.
func TestUpgrade(t *testing.T) {
	for _, driver := range []string{"auto", "epoll", "poll"} {
		t.Run(driver, func(t *testing.T) {
			s := launch(t, "serve", "--listen", "127.0.0.1:0", "--listen", "unix:web.sock", "--respond", "hi",
				"--driver", driver, "--loops", "2")
			urls := s.URLs()
			socket := "unix:" + filepath.Join(s.folder, "web.sock")
			idle, half, local := dial(t, urls[0]), dial(t, urls[0]), dial(t, socket)
			for _, c := range []*client{idle, half, local} {
				c.exchange("hi")
			}
			half.say(request[:9])
			first := s.pid(t)
			moved := s.upgrade(t, "")
			s.Await(t, "msg=stopped", 1)
			if moved.Tally.Moved != 3 || moved.Returned != 0 || moved.Left != 0 {
				t.Errorf("%+v\n%s", moved, s.Log)
			}
			second := s.pid(t)
			if second == first || second != moved.PID {
				t.Errorf("process %d serves behind %d, and %d was told", second, first, moved.PID)
			}
			half.say(request[9:])
			half.hear("hi")
			apptest.Tell(syscall.SIGUSR2, second)
			s.Await(t, "msg=stopped", 2)
			for _, c := range []*client{idle, half, local, dial(t, urls[0]), dial(t, socket)} {
				c.exchange("hi")
			}
			third := s.pid(t)
			if third == second {
				t.Error("the signal did nothing")
			}
			apptest.Tell(syscall.SIGTERM, third)
			s.Await(t, "msg=stopped", 3)
			s.Stop(t)
			if left, err := filepath.Glob(filepath.Join(s.folder, "*.sock")); err != nil || len(left) > 0 {
				t.Errorf("%v are left: %v", left, err)
			}
		})
	}
}

// TestBusy has a request under way as the upgrade begins: it ends where it was, and its connection leaves after it.
func TestBusy(t *testing.T) {
	begun, end := make(chan struct{}, 1), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-end
		}
		_, _ = io.WriteString(w, "done")
	}))
	defer slow.Close()
	s := launch(t, "proxy", "--listen", "127.0.0.1:0", "--to", strings.TrimPrefix(slow.URL, "http://"))
	c := dial(t, s.URLs()[0])
	c.say(strings.Replace(request, "/ ", "/slow ", 1))
	<-begun
	upgraded := make(chan error, 1)
	var moved app.Moved
	go func() { upgraded <- s.ask("POST", "/v1/upgrade", nil, &moved) }()
	s.Await(t, "msg=serving", 2)
	close(end)
	c.hear("done")
	c.exchange("done")
	if err := <-upgraded; err != nil || moved.Tally.Moved != 1 {
		t.Errorf("%+v: %v\n%s", moved, err, s.Log)
	}
	c.exchange("done")
}

// TestModel has a model that cannot hand over: nothing is started, and it serves on.
func TestModel(t *testing.T) {
	s := launch(t, "serve", "--listen", "127.0.0.1:0", "--respond", "hi", "--model", "goroutine")
	c := dial(t, s.URLs()[0])
	c.exchange("hi")
	if err := s.ask("POST", "/v1/upgrade", nil, nil); err == nil || !strings.Contains(err.Error(), "goroutine") {
		t.Errorf("the answer is %v", err)
	}
	c.exchange("hi")
	if there := s.Members(); len(there) != 1 {
		t.Errorf("there are processes %v", there)
	}
}

// TestRollback has new processes that fail: the old one serves on, and whoever asked hears why.
func TestRollback(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "myriad.yaml")
	configure := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := "listeners:\n  - address: 127.0.0.1:0\nroutes:\n  - respond: {body: hi}\n"
	configure(good)
	s := launch(t, "serve", "--config", file)
	script := func(name, text string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil { //nolint:gosec // it is to be run
			t.Fatal(err)
		}
		return path
	}
	c := dial(t, s.URLs()[0])
	c.exchange("hi")
	first := s.pid(t)
	for _, test := range []struct{ name, config, binary, why string }{
		{"no such program", good, filepath.Join(folder, "none"), "no such file"},
		{"dies at once", good, script("dies", "exit 3\n"), "exit status 3"},
		{"is killed", good, script("killed", "kill -9 $$\n"), "signal: killed"},
		{"bad configuration", "listeners: 7\n", "", "listeners"},
		{"unknown key", good + "  - match: {}\n", "", "match"},
	} {
		configure(test.config)
		err := s.ask("POST", "/v1/upgrade", url.Values{"binary": {test.binary}}, nil)
		if err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v\n%s", test.name, err, s.Log)
		}
		c.exchange("hi")
		dial(t, s.URLs()[0]).exchange("hi")
	}
	if now := s.pid(t); now != first || len(s.Members()) != 1 {
		t.Errorf("process %d serves, and not %d: there are %v", now, first, s.Members())
	}
	configure(good)
	wrapper := script("wrapper", fmt.Sprintf("exec %s \"$@\"\n", apptest.Build(t)))
	if moved := s.upgrade(t, wrapper); moved.Tally.Moved < 1 {
		t.Errorf("%+v", moved)
	}
	c.exchange("hi")
}

// TestOwnPlaces upgrades a server whose admin API has a place by the number of the process: none is left behind.
func TestOwnPlaces(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s := &server{apptest.Launch(t, t.TempDir(), "serve", "--listen", "127.0.0.1:0", "--respond", "hi"), control.Folder()}
	s.Await(t, "msg=serving", 1)
	client, err := control.Dial("")
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Log)
	}
	var moved app.Moved
	if _, err := client.Ask(t.Context(), "POST", "/v1/upgrade", nil, &moved); err != nil {
		t.Fatalf("%v\n%s", err, s.Log)
	}
	<-s.Ended // that it has stopped is said before
	found, err := filepath.Glob(filepath.Join(s.folder, "*.sock"))
	want := filepath.Join(s.folder, strconv.Itoa(moved.PID)+".sock")
	if err != nil || len(found) != 1 || found[0] != want {
		t.Errorf("%v, %v; want %s", found, err, want)
	}
	apptest.Tell(syscall.SIGTERM, moved.PID)
	s.Await(t, "msg=stopped", 2)
	s.Stop(t)
}
