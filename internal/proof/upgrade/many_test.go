package upgrade

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// repeating is an upstream that sends every message back, compressed if the client can read that.
func repeating(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1,
	})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, p, err := c.Read(context.Background())
		if err != nil || c.Write(context.Background(), kind, p) != nil {
			return
		}
	}
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

// webSocket is a WebSocket through the server.
type webSocket struct {
	*websocket.Conn
	number int
}

// open opens the WebSocket of a number at a server. Every second one compresses.
func open(ctx context.Context, t *testing.T, at string, number int) *webSocket {
	t.Helper()
	options := &websocket.DialOptions{CompressionThreshold: 1}
	if number%2 == 1 {
		options.CompressionMode = websocket.CompressionNoContextTakeover
	}
	c, response, err := websocket.Dial(ctx, at+"/ws", options)
	if err != nil {
		t.Fatalf("WebSocket %d: %v", number, err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	agreed := strings.HasPrefix(response.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
	if agreed != (number%2 == 1) {
		t.Fatalf("WebSocket %d is compressed: %v", number, agreed)
	}
	return &webSocket{c, number}
}

// exchange sends messages of one frame, which come back: a text that can be compressed, and a few bytes.
func (c *webSocket) exchange(ctx context.Context, t *testing.T, when string) {
	t.Helper()
	text := fmt.Sprintf("%s, of %d. ", when, c.number)
	for kind, text := range map[websocket.MessageType]string{
		websocket.MessageText: strings.Repeat(text, 20), websocket.MessageBinary: text,
	} {
		if err := c.Write(ctx, kind, []byte(text)); err != nil {
			t.Fatalf("WebSocket %d, %s: %v", c.number, when, err)
		}
		if got, p, err := c.Read(ctx); err != nil || got != kind || string(p) != text {
			t.Fatalf("WebSocket %d, %s: %v of %q comes back: %v", c.number, when, got, p, err)
		}
	}
}

// echo says something that comes back.
func (c *client) echo(text string) {
	c.t.Helper()
	c.say(text)
	heard := make([]byte, len(text))
	if _, err := io.ReadFull(c.answer, heard); err != nil || string(heard) != text {
		c.t.Fatalf("%q came back of %q: %v", heard, text, err)
	}
}

// configured starts a server with a listener of HTTP and one of TCP, both to upstreams that send back what they hear.
func configured(t *testing.T) *server {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(repeating))
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

// asking is clients that ask one question after the other.
type asking struct {
	answers, longest atomic.Int64 // the longest wait in nanoseconds
	over             atomic.Bool
	group            sync.WaitGroup
}

// ask has so many clients ask until the end.
func ask(t *testing.T, at string, count int) *asking {
	a := new(asking)
	for range count {
		c := dial(t, at)
		c.exchange("hi") // the server has it: it does not wait for the next process to accept it
		a.group.Go(func() {
			for !a.over.Load() {
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
				a.answers.Add(1)
				took := int64(time.Since(began))
				for was := a.longest.Load(); took > was && !a.longest.CompareAndSwap(was, took); was = a.longest.Load() {
				}
			}
		})
	}
	return a
}

// end has them ask no more.
func (a *asking) end() {
	a.over.Store(true)
	a.group.Wait()
}

// TestMany has connections of all kinds move: those that wait, WebSockets and tunnels that wait, and some that ask all
// the time. The longest wait of these is logged; it depends on the machine.
func TestMany(t *testing.T) {
	idle, sockets := apptest.Number(t, "UPGRADE_IDLE", 500), apptest.Number(t, "UPGRADE_WEBSOCKETS", 50)
	tunnels := apptest.Number(t, "UPGRADE_TUNNELS", 25)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	s := configured(t)
	urls := s.URLs()
	var waiting, tunnelled []*client
	var messaging []*webSocket
	for range idle {
		c := dial(t, urls[0])
		c.answer = bufio.NewReaderSize(c, 512)
		c.exchange("hi")
		waiting = append(waiting, c)
	}
	for number := range sockets {
		c := open(ctx, t, urls[0], number)
		c.exchange(ctx, t, "before")
		messaging = append(messaging, c)
	}
	for range tunnels {
		c := dial(t, urls[1])
		c.answer = bufio.NewReaderSize(c, 512)
		c.echo("before")
		tunnelled = append(tunnelled, c)
	}
	const active = 8
	asking := ask(t, urls[0], active)
	moved := s.upgrade(t, "")
	asking.end()
	s.Await(t, "msg=stopped", 1)
	if want := idle + 2*(sockets+tunnels) + active; moved.Tally.Moved != want || moved.Returned+int(moved.Left) != 0 {
		t.Errorf("%+v, and %d were open\n%s", moved, want, s.Log)
	}
	for _, c := range messaging {
		c.exchange(ctx, t, "after")
	}
	for _, c := range tunnelled {
		c.echo("after")
	}
	for _, c := range waiting {
		c.exchange("hi")
	}
	t.Logf("%d idle, %d WebSockets, %d tunnels, %d that ask: moved %d in %.1f ms, pause p50 %.1f p99 %.1f max %.1f ms; "+
		"%d answers meanwhile, the slowest after %s", idle, sockets, tunnels, active, moved.Tally.Moved, moved.TookMS,
		moved.PauseP50, moved.PauseP99, moved.PauseMost, asking.answers.Load(),
		time.Duration(asking.longest.Load()))
}
