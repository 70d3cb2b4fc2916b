package control

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/config"
)

func TestMain(m *testing.M) {
	// The library of the bus keeps a goroutine of its own for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.init.0.func1"))
}

// hang is how long a test waits for what must happen.
const hang = 30 * time.Second

// server is a server under test, with its admin API on a socket of its own.
type server struct {
	*apptest.Server
	t      *testing.T
	admin  *Server
	level  *slog.LevelVar
	socket string
	client *Client
	log    *locked
}

// locked is a text that several goroutines write.
type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve serves what lines make of the default configuration.
func serve(t *testing.T, lines ...string) *server {
	t.Helper()
	s := &server{t: t, level: new(slog.LevelVar), socket: filepath.Join(t.TempDir(), "admin.sock"), log: new(locked)}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: s.level}))
	settled := []string{"listeners[0].address=127.0.0.1:0", "timeouts.drain=5s"}
	s.Server = apptest.Start(t, log, nil, append(settled, lines...)...)
	s.admin = New(s.App, s.level)
	s.begin()
	return s
}

// begin has the admin API listen.
func (s *server) begin() {
	s.t.Helper()
	t := s.t
	t.Cleanup(func() {
		s.client.http.CloseIdleConnections()
		if err := s.admin.Close(); err != nil {
			t.Error(err)
		}
	})
	s.client = clientAt(s.socket)
	var at config.AutoOrOffOrAddress
	if err := at.UnmarshalText([]byte("unix:" + s.socket)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.admin.Start(at); err != nil {
		t.Fatal(err)
	}
}

// dial connects, and closes at the end of the test.
func (s *server) dial() net.Conn {
	s.t.Helper()
	c, err := net.DialTimeout("tcp", s.Address(), hang)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// exchange sends a request of a length and reads the head of its answer.
func exchange(c net.Conn, length int) error {
	request := "GET / HTTP/1.1\r\nHost: a\r\nX: "
	request += strings.Repeat("x", max(length-len(request)-4, 0)) + "\r\n\r\n"
	if err := c.SetDeadline(time.Now().Add(hang)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, request); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, err := c.Read(answer)
	if err == nil && !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 ")) {
		err = fmt.Errorf("the answer is %q", answer[:n])
	}
	return err
}

// ask asks the admin API, which must answer.
func (s *server) ask(method, path string, query string, v any) string {
	s.t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	text, err := s.client.Ask(ctx, method, path, values, v)
	if err != nil {
		s.t.Fatalf("%s %s?%s: %v", method, path, query, err)
	}
	return string(text)
}

// list lists.
func (s *server) list(query string) *List {
	s.t.Helper()
	page := new(List)
	s.ask("GET", "/v1/conns", query, page)
	return page
}

// until lists until what is listed fits.
func (s *server) until(query, what string, fits func(*List) bool) *List {
	s.t.Helper()
	deadline, again := time.NewTimer(hang), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer again.Stop()
	for {
		page := s.list(query)
		if fits(page) {
			return page
		}
		select {
		case <-again.C:
		case <-deadline.C:
			s.t.Fatalf("%s: never %s; at last %+v", query, what, page)
		}
	}
}
