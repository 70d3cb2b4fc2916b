package proof

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/faults"
)

const plainGet = "GET / HTTP/1.1\r\nHost: proof\r\n\r\n"

// TestAllDieAndReturn lets all endpoints die at once and return, with connections in the pool.
func TestAllDieAndReturn(t *testing.T) {
	for _, how := range []string{"close", "reset"} {
		t.Run(how, func(t *testing.T) {
			before := measure(t)
			var endpoints []*faults.Server
			var to []string
			for range 3 {
				s, err := faults.Listen(ownHost+":0", faults.Options{}) // nobody else gets its port while it is dead
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.Close)
				endpoints, to = append(endpoints, s), append(to, s.Address())
			}
			p := start(t, to)
			c := p.dial()
			for range 30 {
				c.send(plainGet)
				if a := c.must("GET"); a.StatusCode != 200 {
					t.Fatalf("at first: %d", a.StatusCode)
				}
			}
			for _, s := range endpoints {
				s.Die(how == "reset")
			}
			begun := time.Now()
			for range 30 {
				c.send(plainGet)
				a := c.must("GET")
				if told := a.Header.Get("Proxy-Status"); a.StatusCode != 502 && a.StatusCode != 503 || told == "" {
					t.Fatalf("when all are dead: %d %q", a.StatusCode, told)
				}
			}
			if took := time.Since(begun); took > patience/2 { // one that waits in a queue takes five seconds
				t.Errorf("30 failures took %v", took)
			}
			for _, s := range endpoints {
				if err := s.Return(); err != nil {
					t.Fatal(err)
				}
			}
			begun = time.Now()
			bad := 0
			for good := 0; good < 30; {
				c.send(plainGet)
				if a := c.must("GET"); a.StatusCode == 200 {
					good++
				} else if bad++; time.Since(begun) > patience/2 {
					t.Fatalf("after the return: %d %q", a.StatusCode, a.Header.Get("Proxy-Status"))
				}
			}
			if took := time.Since(begun); took > patience/2 {
				t.Errorf("30 good answers came %v after the return, between %d bad ones", took, bad)
			}
			_ = c.Close()
			p.end()
			for _, r := range p.logged() {
				if r.Status >= 500 && r.Cause != "no_endpoint" && r.Cause != "connect_refused" {
					t.Errorf("the log says %+v", r)
				}
			}
			for _, s := range endpoints {
				s.Close()
			}
			before.checkGone(t)
		})
	}
}

// TestOneOfTwo lets one endpoint of two die, vanish or fall silent: what is safe goes to the other.
func TestOneOfTwo(t *testing.T) {
	for name, fail := range map[string]func(s *faults.Server) error{
		"dead":     func(s *faults.Server) error { s.Die(true); return nil },
		"vanished": func(s *faults.Server) error { return s.Stall() },
	} {
		t.Run(name, func(t *testing.T) {
			before := measure(t)
			lost, left := upstreamOf(t, faults.Options{}), upstreamOf(t, faults.Options{})
			p := start(t, []string{lost.Address(), left.Address()}, "upstreams.u.timeouts.connect=1s")
			if err := fail(lost); err != nil {
				t.Fatal(err)
			}
			c := p.dial()
			for n := range 40 {
				method := []string{"GET", "POST"}[n%2] // nothing of it has been sent: it may be sent elsewhere
				c.send(method + " / HTTP/1.1\r\nHost: proof\r\nContent-Length: 1\r\n\r\nx")
				if a := c.must(method); a.StatusCode != 200 {
					t.Fatalf("%s %d: %d %q", method, n, a.StatusCode, a.Header.Get("Proxy-Status"))
				}
			}
			_ = c.Close()
			p.end()
			lost.Close()
			left.Close()
			before.checkGone(t)
		})
	}
}

// TestVanished lets the only endpoint vanish: nobody answers, not even the kernel.
func TestVanished(t *testing.T) {
	s := upstreamOf(t, faults.Options{})
	p := start(t, []string{s.Address()}, "upstreams.u.timeouts.connect=1s", "upstreams.u.retries.attempts=1")
	if err := s.Stall(); err != nil {
		t.Fatal(err)
	}
	c := p.dial()
	for range 2 {
		begun := time.Now()
		c.send(plainGet)
		a := c.must("GET")
		if told := a.Header.Get("Proxy-Status"); a.StatusCode != 504 || !strings.Contains(told, "connect_timeout") {
			t.Errorf("%d %q", a.StatusCode, told)
		}
		if took := time.Since(begun); took > patience/2 {
			t.Errorf("it took %v", took)
		}
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	c.send(plainGet)
	if a := c.must("GET"); a.StatusCode != 200 {
		t.Errorf("after the return: %d %q", a.StatusCode, a.Header.Get("Proxy-Status"))
	}
	_ = c.Close()
}

// TestClientVanishes lets the client go away in the middle of its request, and of its answer.
func TestClientVanishes(t *testing.T) {
	for _, test := range []struct{ name, request string }{
		{"within a body of known length", "POST /up HTTP/1.1\r\nHost: proof\r\nContent-Length: 1000000\r\n\r\nsome of it"},
		{"within a chunk", "POST /up HTTP/1.1\r\nHost: proof\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nsome of it"},
		{"between chunks", "PUT /up HTTP/1.1\r\nHost: proof\r\nTransfer-Encoding: chunked\r\n\r\na\r\nsome of it\r\n"},
		{"before the answer", "GET /fault/silent HTTP/1.1\r\nHost: proof\r\n\r\n"},
		{"within the answer", "GET /fault/silent-body HTTP/1.1\r\nHost: proof\r\n\r\n"},
		{"within a large answer", "GET /bytes/100000000 HTTP/1.1\r\nHost: proof\r\n\r\n"},
	} {
		for _, how := range []string{"close", "reset"} {
			if how == "close" && (test.name == "before the answer" || test.name == "within the answer") {
				continue // a client that has ended what it sends may still read: see TestHalfClosedClient
			}
			t.Run(test.name+"/"+how, func(t *testing.T) {
				s := upstreamOf(t, faults.Options{Record: true})
				p := start(t, []string{s.Address()})
				c := p.dial()
				c.send(test.request)
				await(t, func() bool { return s.Counts().Requests == 1 }, func() string { return "the request" })
				if strings.HasPrefix(test.name, "within a") && strings.Contains(test.name, "answer") {
					if _, err := c.r.Peek(1); err != nil {
						t.Fatal(err)
					}
				}
				if how == "reset" {
					resetting(c)
				}
				_ = c.Close()
				await(t, func() bool { return s.Counts().Open == 0 }, func() string {
					return fmt.Sprintf("the end of the connection to the upstream: %+v", s.Counts())
				})
				again := p.dial()
				again.send(plainGet)
				if a := again.must("GET"); a.content != "GET / 0\n" {
					t.Errorf("the next client got %q", a.content)
				}
				_ = again.Close()
				p.stop()
				s.Close()
				requests := s.Requests()
				if len(requests) != 2 {
					t.Fatalf("the upstream saw %d requests", len(requests))
				}
				if r := requests[0]; r.Method != "GET" && r.Complete {
					t.Errorf("the upstream took a part for the whole: %+v", r)
				}
				status := 499
				if strings.HasPrefix(test.name, "within the answer") || test.name == "within a large answer" {
					status = 200
				}
				if r := p.logged()[0]; r.Cause != "client_gone" || r.Status != status || r.Upstream != s.Address() {
					t.Errorf("the log says %+v", r)
				}
			})
		}
	}
}

// TestHalfClosedClient ends what the client sends behind its request: where that is welcome the answer comes all the
// same.
func TestHalfClosedClient(t *testing.T) {
	s := upstreamOf(t, faults.Options{Tick: tick})
	p := start(t, []string{s.Address()}, "upstreams.u.client_end=finish")
	for _, path := range []string{"/", "/fault/trickle-body", "/bytes/1000000"} {
		c := p.dial()
		c.send("GET " + path + " HTTP/1.1\r\nHost: proof\r\n\r\n")
		if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if a := c.must("GET"); a.StatusCode != 200 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
		_ = c.Close()
	}
}

// anonymous is how much memory of its own the process holds, in bytes: RssAnon of proc_pid_status(5).
func anonymous(t testing.TB, process string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// TestSlowReader downloads a large body, slowly for a while: the upstream is held back, memory stays flat, and every
// byte comes. BULK=1073741824 SLOW=60 are its bytes and seconds.
func TestSlowReader(t *testing.T) {
	total, slow := number(t, "BULK", scaled(64<<20)), time.Duration(number(t, "SLOW", 1))*time.Second
	s := upstreamOf(t, faults.Options{})
	p := launch(t, "proxy", "listeners[0].address=127.0.0.1:0", "upstreams.u.to=["+s.Address()+"]",
		"access_log.format=off", "timeouts.write=1h", "timeouts.drain=0s", "upstreams.u.timeouts.between_bytes=1h")
	memory, got := p.memory(t), int64(0)
	c := dial(t, p.address)
	_ = c.SetDeadline(time.Now().Add(slow + 10*patience))
	c.send(fmt.Sprintf("GET /bytes/%d HTTP/1.1\r\nHost: proof\r\n\r\n", total))
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	ticker := time.NewTicker(100 * time.Millisecond) // 10 KiB in a second
	defer ticker.Stop()
	for end := time.Now().Add(slow); time.Now().Before(end); <-ticker.C {
		got = expectPattern(t, response.Body, got, 1024)
	}
	grown := p.memory(t) - memory
	if most := int64(4 << 20); grown > most {
		t.Errorf("the memory of the proxy has grown by %d bytes while the client read %d", grown, got)
	}
	t.Logf("%d bytes read in %v: memory grew by %d KiB", got, slow, grown>>10)
	begun := time.Now()
	for got < int64(total) {
		got = expectPattern(t, response.Body, got, min(1<<20, total-int(got)))
	}
	t.Logf("the other %d bytes took %v", total, time.Since(begun).Round(time.Millisecond))
	if _, err := response.Body.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	grown = p.memory(t) - memory
	t.Logf("at the end, memory has grown by %d KiB", grown>>10)
	if most := int64(8 << 20); grown > most && !raceDetector { // whose own memory grows with what is done
		t.Errorf("the memory of the proxy has grown by %d bytes", grown)
	}
}

// expectPattern reads n bytes of the pattern from an offset on, and gives the next offset.
func expectPattern(t *testing.T, r io.Reader, from int64, n int) int64 {
	t.Helper()
	got, want := make([]byte, n), make([]byte, n)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatalf("at %d: %v", from, err)
	}
	faults.Pattern(want, from)
	if !bytes.Equal(got, want) {
		t.Fatalf("between %d and %d the content is another", from, from+int64(n))
	}
	return from + int64(n)
}

// resetting makes the end of the client a reset.
func resetting(c *client) { _ = c.Conn.(interface{ SetLinger(int) error }).SetLinger(0) }

// TestLargeUploads sends a large body to upstreams that do not read it: memory stays flat, and the client gets the
// answer that there is, or that there is none.
func TestLargeUploads(t *testing.T) {
	const total = 32 << 20
	for _, test := range []struct {
		fault  string
		status int
		cause  string
	}{
		{"early-deaf", 413, ""},
		{"deaf", 504, "send_timeout"},
		{"reset-in-upload", 502, "reset"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			before := measure(t)
			s := upstreamOf(t, faults.Options{})
			var times []string
			if strings.Contains(test.fault, "deaf") {
				times = shortTimes
			}
			p := start(t, []string{s.Address()}, times...)
			c := p.dial()
			memory := anonymous(t, "self")
			c.send(fmt.Sprintf("POST /fault/%s HTTP/1.1\r\nHost: proof\r\nContent-Length: %d\r\n\r\n", test.fault, total))
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, _ = io.Copy(c.Conn, io.LimitReader(endless{}, total)) // the answer may come before the end
			}()
			a, err := c.answer("POST")
			if err != nil || a.StatusCode != test.status {
				t.Errorf("%v, %v", err, a)
			}
			if grown := anonymous(t, "self") - memory; grown > 8<<20 && !raceDetector {
				t.Errorf("the memory has grown by %d bytes", grown)
			}
			_ = c.Close()
			<-sent
			p.returned()
			p.end()
			s.Close()
			before.checkGone(t)
			r := p.logged()[0]
			if r.Cause == "closed_early" { // the kernel tells of a reset once; a write may have heard of it
				r.Cause = "reset"
			}
			if r.Status != test.status || r.Cause != test.cause {
				t.Errorf("the log says %+v", r)
			}
		})
	}
}

// endless reads as zeros without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestUnixSockets passes requests on from and to Unix sockets, with names in the file system and without.
func TestUnixSockets(t *testing.T) {
	home := t.TempDir()
	abstract := "unix:@myriad-proof-" + filepath.Base(filepath.Dir(home)) + strconv.Itoa(os.Getpid())
	for _, to := range []string{"unix:" + home + "/upstream.sock", abstract + "-upstream"} {
		s, err := faults.Listen(to, faults.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		for _, from := range []string{"unix:" + home + "/s.sock", abstract, "127.0.0.1:0"} {
			p := start(t, []string{to}, "listeners[0].address="+from)
			if from == "127.0.0.1:0" {
				from = p.address
			}
			c := dial(t, from)
			for range 3 {
				c.send(plainGet)
				if a := c.must("GET"); a.content != "GET / 0\n" {
					t.Errorf("from %s to %s: %q", from, to, a.content)
				}
			}
			_ = c.Close()
			p.end()
			p.stopped = true
		}
		s.Close()
		if n := s.Counts(); n.Requests != 9 || n.Connections != 3 {
			t.Errorf("%s: %+v", to, n)
		}
	}
}
