package faults

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func started(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Listen("127.0.0.18:0", o) // where no client takes the port of a server that is dead
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connected(t *testing.T, s *Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.DialTimeout("tcp", s.Address(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c, bufio.NewReader(c)
}

// ask sends a text and reads one answer.
func ask(t *testing.T, c net.Conn, r *bufio.Reader, text string) (status int, content string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	a, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(a.Body)
	_ = a.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(all)
}

// TestStrict sends what is a request, and what is none.
func TestStrict(t *testing.T) {
	for _, test := range []struct{ text, wrong string }{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{"GET / HTTP/1.0\r\n\r\n", ""},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", ""},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", ""},
		{"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "an empty line"},
		{"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "three words"},
		{"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "the version"},
		{"GET / HTTP/1.1\nHost: a\r\n\r\n", "without CR"},
		{"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "a control character"},
		{"GET / HTTP/1.1\r\n\r\n", "0 Host fields"},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "2 Host fields"},
		{"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "no field"},
		{"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "no field"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", "the length"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "twice"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", "both"},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "coding"},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\n\r\n", "size of a chunk"},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "longer"},
	} {
		s := started(t, Options{Record: true})
		c, r := connected(t, s)
		status, _ := ask(t, c, r, test.text)
		_ = c.Close()
		s.Close()
		got := s.Requests()
		if len(got) != 1 {
			t.Fatalf("%q: %d requests", test.text, len(got))
		}
		if wrong := got[0].Wrong; (wrong == "") != (test.wrong == "") || !strings.Contains(wrong, test.wrong) {
			t.Errorf("%q is wrong because %q; want %q", test.text, wrong, test.wrong)
		}
		if (status == 400) != (test.wrong != "") {
			t.Errorf("%q is answered with %d", test.text, status)
		}
	}
}

// TestLives lets a server die, return, stall and resume, at one address.
func TestLives(t *testing.T) {
	s := started(t, Options{})
	c, r := connected(t, s)
	const text = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
	if status, content := ask(t, c, r, text); status != 200 || content != "GET /a 0\n" {
		t.Fatalf("%d %q", status, content)
	}
	s.Die(true)
	if _, err := r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection of a server that has died: %v", err)
	}
	if c, err := net.DialTimeout("tcp", s.Address(), patience); err == nil {
		_ = c.Close()
		t.Error("a server that has died accepts")
	}
	if err := s.Return(); err != nil {
		t.Fatal(err)
	}
	c, r = connected(t, s)
	if status, _ := ask(t, c, r, text); status != 200 {
		t.Errorf("after the return: %d", status)
	}
	if err := s.Stall(); err != nil {
		t.Fatal(err)
	}
	var failed net.Error
	if c, err := net.DialTimeout("tcp", s.Address(), 50*time.Millisecond); err == nil {
		_ = c.Close()
		t.Error("a server that has stalled accepts")
	} else if !errors.As(err, &failed) || !failed.Timeout() {
		t.Errorf("a server that has stalled: %v", err)
	}
	if status, _ := ask(t, c, r, text); status != 200 {
		t.Errorf("a connection from before: %d", status)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	c, r = connected(t, s)
	if status, _ := ask(t, c, r, text); status != 200 {
		t.Errorf("after the pause: %d", status)
	}
	if n := s.Counts(); n.Requests != 4 || n.Connections != 3 {
		t.Errorf("counts: %+v", n)
	}
}

// TestIdle ends connections between requests.
func TestIdle(t *testing.T) {
	const text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, idle := range map[string]Idle{
		"close": {Share: 1, From: time.Millisecond},
		"reset": {Share: 1, Reset: 1, From: time.Millisecond, To: 2 * time.Millisecond},
	} {
		s := started(t, Options{Idle: idle})
		c, r := connected(t, s)
		ask(t, c, r, text)
		want := io.EOF
		if name == "reset" {
			want = syscall.ECONNRESET
		}
		if _, err := r.ReadByte(); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := started(t, Options{Idle: Idle{Late: 1}})
	c, r := connected(t, s)
	ask(t, c, r, text)
	_, _ = io.WriteString(c, text)
	if _, err := r.ReadByte(); err == nil {
		t.Error("a request that came too late is answered")
	}
	if n := s.Counts(); n.Requests != 1 {
		t.Errorf("counts: %+v", n)
	}
}
