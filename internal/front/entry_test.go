package front

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/serve/reactor"
)

// serveEntry serves an entry and returns its address.
func serveEntry(t *testing.T, e *Entry) string {
	t.Helper()
	leaksNothing(t)
	socket, err := listen.Open(listen.Spec{Network: "tcp", Address: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Serve(ctx, "web", socket.FD, Engine{Model: reactor.New(), Driver: epoll.Factory}) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := socket.Close(); err != nil {
			t.Error(err)
		}
	})
	return socket.Spec.Address.String()
}

// say sends a text and returns everything that is answered.
func say(t *testing.T, at string, parts ...string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", at, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if err := c.(*net.TCPConn).SetNoDelay(true); err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRedirect sends clients of HTTP to the least busy worker, by the name that they know this host by.
func TestRedirect(t *testing.T) {
	e := NewEntry()
	busy := func(n int64) Shown { return func() (int64, time.Duration) { return n, 1 } }
	e.Set([]Place{{8081, busy(9)}, {8082, busy(0)}})
	at := serveEntry(t, e)
	_, port, _ := net.SplitHostPort(at)
	tests := []struct{ request, location string }{
		{"GET /a/b?c=d&e HTTP/1.1\r\nHost: example.com:" + port + "\r\n\r\n", "http://example.com:8082/a/b?c=d&e"},
		{"GET /%20?%20 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "http://[::1]:8082/%20?%20"},
		{"GET http://other:1/x HTTP/1.1\r\nHost: other:1\r\n\r\n", "http://other:8082/x"},
		{"GET / HTTP/1.0\r\n\r\n", "http://127.0.0.1:8082/"},
		{"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nWORKER\n", "http://a:8082/p"},
		{"WORKERS /q HTTP/1.1\r\nHost: a\r\n\r\n", "http://a:8082/q"},
	}
	for _, test := range tests {
		answer := say(t, at, test.request)
		for _, want := range []string{
			" 307 ", "\r\nLocation: " + test.location + "\r\n", "\r\nAlt-Svc: http/1.1=\":8082\"\r\n",
			"\r\nCache-Control: no-store\r\n",
		} {
			if !strings.Contains(answer, want) {
				t.Errorf("%q is answered without %q:\n%s", test.request, want, answer)
			}
		}
	}
}

// TestFollowed has a client of HTTP end at a worker.
func TestFollowed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "at work: ", r.URL)
	})}
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	e := NewEntry()
	e.Set([]Place{{Port: uint16(l.Addr().(*net.TCPAddr).Port)}})
	at := serveEntry(t, e)
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://" + at + "/a?b")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || string(text) != "at work: /a?b" {
		t.Errorf("%q, %v", text, err)
	}
	_ = server.Close()
	<-served
}

// TestLine answers who is no client of HTTP. Those that are even take turns.
func TestLine(t *testing.T) {
	e := NewEntry()
	at := serveEntry(t, e)
	if got := say(t, at, "WORKER\n"); got != "NONE\n" {
		t.Errorf("without a worker it is %q", got)
	}
	if got := say(t, at, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.Contains(got, " 503 ") {
		t.Errorf("without a worker it is %q", got)
	}
	e.Set([]Place{{Port: 8081}, {Port: 8082}})
	counts := map[string]int{}
	for _, parts := range [][]string{{"WORKER\n"}, {"WORKER\r\n"}, {"W", "ORK", "ER\r", "\n"}, {"WORKER", "\n"}} {
		counts[say(t, at, parts...)]++
	}
	if counts["127.0.0.1 8081\n"] != 2 || counts["127.0.0.1 8082\n"] != 2 {
		t.Errorf("the answers were %v", counts)
	}
}
