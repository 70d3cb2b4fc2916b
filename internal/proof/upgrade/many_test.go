package upgrade

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// scale is how many connections TestMany has of a kind: as many as a machine of continuous integration holds, or what
// an environment variable says.
func scale(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// switching is an upstream that answers an upgrade, and says then whatever it hears.
func switching(w http.ResponseWriter, _ *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
	_, _ = io.Copy(c, rw)
}

// echoing is an upstream of TCP that says what it hears.
func echoing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// upgradeRequest asks for another protocol.
const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"

// echo says something that comes back.
func (c *client) echo(text string) {
	c.t.Helper()
	c.say(text)
	heard := make([]byte, len(text))
	if _, err := io.ReadFull(c.answer, heard); err != nil || string(heard) != text {
		c.t.Fatalf("%q came back of %q: %v", heard, text, err)
	}
}

// configured starts a server with a listener of HTTP and one of TCP, both to upstreams that echo.
func configured(t *testing.T) *server {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(switching))
	t.Cleanup(upstream.Close)
	text := fmt.Sprintf(`listeners:
  - address: 127.0.0.1:0
  - {address: "127.0.0.2:0", protocol: tcp, to: [%s]}
upstreams:
  ws: {endpoints: [{address: "%s"}]}
routes:
  - {path: /ws, proxy: {upstream: ws}}
  - respond: {body: hi}
`, echoing(t), strings.TrimPrefix(upstream.URL, "http://"))
	file := filepath.Join(t.TempDir(), "myriad.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return launch(t, "serve", "--config", file)
}

// TestMany has connections of all kinds move: those that wait, tunnels that wait, and some that ask all the time. The
// longest wait of these is logged; it depends on the machine.
func TestMany(t *testing.T) {
	idle, tunnels := scale(t, "UPGRADE_IDLE", 500), scale(t, "UPGRADE_TUNNELS", 50)
	s := configured(t)
	urls := s.URLs()
	var waiting, open []*client
	for range idle {
		c := dial(t, urls[0])
		c.answer = bufio.NewReaderSize(c, 512)
		c.exchange("hi")
		waiting = append(waiting, c)
	}
	for i := range tunnels {
		c := dial(t, urls[i%2])
		c.answer = bufio.NewReaderSize(c, 512)
		if i%2 == 0 {
			c.say(upgradeRequest)
			if response, err := http.ReadResponse(c.answer, nil); err != nil || response.StatusCode != 101 {
				t.Fatalf("%v: %v", response, err)
			}
		}
		c.echo("before")
		open = append(open, c)
	}
	const active = 8
	var longest atomic.Int64
	var over atomic.Bool
	var asked atomic.Int64
	var group sync.WaitGroup
	for range active {
		c := dial(t, urls[0])
		group.Go(func() {
			for !over.Load() {
				began := time.Now()
				if _, err := io.WriteString(c, request); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				response, err := http.ReadResponse(c.answer, nil)
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				asked.Add(1)
				took := int64(time.Since(began))
				for was := longest.Load(); took > was && !longest.CompareAndSwap(was, took); was = longest.Load() {
				}
			}
		})
	}
	moved := s.upgrade(t, "")
	over.Store(true)
	group.Wait()
	s.Await(t, "msg=stopped", 1)
	if want := idle + 2*tunnels + active; moved.Tally.Moved != want || moved.Returned+int(moved.Left) != 0 {
		t.Errorf("%+v, and %d were open\n%s", moved, want, s.Log)
	}
	for _, c := range open {
		c.echo("after")
	}
	for _, c := range waiting {
		c.exchange("hi")
	}
	t.Logf("%d idle, %d tunnels, %d that ask: moved %d in %.1f ms, pause p50 %.1f p99 %.1f max %.1f ms; %d answers "+
		"meanwhile, the slowest after %s", idle, tunnels, active, moved.Tally.Moved, moved.TookMS, moved.PauseP50,
		moved.PauseP99, moved.PauseMost, asked.Load(), time.Duration(longest.Load()))
}
