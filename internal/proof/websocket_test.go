package proof

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/myriad-server/myriad/internal/faults"
)

// startEcho starts a server that sends back every message, and does what a text message tells it that begins with "!".
func startEcho(t testing.TB) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(serveEcho))
	t.Cleanup(server.Close)
	return server
}

func serveEcho(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/refused" {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	options := &websocket.AcceptOptions{Subprotocols: []string{"proof"}}
	if r.URL.Query().Has("compressed") {
		options.CompressionMode = websocket.CompressionContextTakeover
		options.CompressionThreshold = 1
	}
	c, err := websocket.Accept(w, r, options)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(64 << 20)
	if r.URL.Path == "/greeting" {
		_ = c.Write(r.Context(), websocket.MessageText, []byte("hello"))
	}
	echo(r.Context(), c)
}

func echo(ctx context.Context, c *websocket.Conn) {
	for {
		kind, p, err := c.Read(ctx)
		if err != nil {
			return
		}
		if string(p) == "!close" {
			_ = c.Close(4321, "as told")
			return
		}
		if string(p) == "!die" {
			return
		}
		if err := c.Write(ctx, kind, p); err != nil {
			return
		}
	}
}

// open opens a WebSocket through the proxy.
func (p *proxy) open(
	ctx context.Context, path string, o *websocket.DialOptions,
) (*websocket.Conn, *http.Response, error) {
	c, response, err := websocket.Dial(ctx, "ws://"+p.address+path, o)
	if err == nil {
		c.SetReadLimit(64 << 20)
	}
	return c, response, err
}

// TestWebSocket speaks WebSocket through the proxy.
func TestWebSocket(t *testing.T) {
	server := startEcho(t)
	p := start(t, []string{server.Listener.Addr().String()})
	for _, test := range []struct {
		name, path string
		options    *websocket.DialOptions
		speak      func(w *wire)
	}{
		{"messages", "/", nil, messages(scaled(16 << 20))},
		{"compressed", "/?compressed", &websocket.DialOptions{
			CompressionMode: websocket.CompressionContextTakeover, CompressionThreshold: 1,
		}, messages(100_000)},
		{"fragments", "/", nil, fragments},
		{"a greeting", "/greeting", nil, func(w *wire) {
			w.expect(websocket.MessageText, []byte("hello")) // it may come with the answer
		}},
		{"pings", "/", nil, func(w *wire) {
			ctx := w.CloseRead(w.ctx)
			for range 20 {
				if err := w.Ping(ctx); err != nil {
					w.t.Fatal(err)
				}
			}
		}},
		{"the server closes", "/", nil, func(w *wire) {
			_ = w.Write(w.ctx, websocket.MessageText, []byte("!close"))
			_, _, err := w.Read(w.ctx)
			var closed websocket.CloseError
			if !errors.As(err, &closed) || closed.Code != 4321 || closed.Reason != "as told" {
				w.t.Errorf("closed with %v", err)
			}
		}},
		{"the client closes", "/", nil, func(w *wire) {
			if err := w.Close(4000, "enough"); err != nil { // it waits for the other side to say the same
				w.t.Error(err)
			}
		}},
		{"the server dies", "/", nil, func(w *wire) {
			_ = w.Write(w.ctx, websocket.MessageText, []byte("!die"))
			if _, _, err := w.Read(w.ctx); err == nil || w.ctx.Err() != nil {
				w.t.Errorf("the end did not come: %v", err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c, _, err := p.open(ctx, test.path, test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.CloseNow() }()
			test.speak(&wire{c, t, ctx})
		})
	}
	t.Run("handshake", func(t *testing.T) { handshakes(t, p) })
	server.CloseClientConnections()
}

func handshakes(t *testing.T, p *proxy) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, response, err := p.open(ctx, "/", &websocket.DialOptions{Subprotocols: []string{"other", "proof"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Subprotocol() != "proof" || response.Header.Get("Upgrade") != "websocket" {
		t.Errorf("the answer is %v", response.Header)
	}
	_ = c.CloseNow()
	if _, response, err := p.open(ctx, "/refused", nil); err == nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("a handshake that is refused: %v", err)
	} else {
		_ = response.Body.Close()
	}
}

// A wire is a WebSocket under test.
type wire struct {
	*websocket.Conn
	t   *testing.T
	ctx context.Context
}

func (w *wire) expect(kind websocket.MessageType, want []byte) {
	w.t.Helper()
	got, p, err := w.Read(w.ctx)
	if err != nil || got != kind || !bytes.Equal(p, want) {
		w.t.Fatalf("%v, kind %v, %d bytes; want kind %v, %d bytes", err, got, len(p), kind, len(want))
	}
}

// messages exchanges messages of many sizes, up to a largest one.
func messages(largest int) func(w *wire) {
	return func(w *wire) {
		for _, size := range []int{0, 1, 125, 126, 127, 1000, 65_535, 65_536, 100_000, largest} {
			message := make([]byte, size)
			faults.Pattern(message, int64(size))
			for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
				done := make(chan error, 1)
				go func() { done <- w.Write(w.ctx, kind, message) }()
				w.expect(kind, message)
				if err := <-done; err != nil {
					w.t.Fatal(err)
				}
			}
		}
	}
}

// fragments sends one message in many frames.
func fragments(w *wire) {
	message := make([]byte, 300_000)
	faults.Pattern(message, 0)
	done := make(chan error, 1)
	go func() {
		writer, err := w.Writer(w.ctx, websocket.MessageBinary)
		for at := 0; err == nil && at < len(message); at += 5000 {
			_, err = writer.Write(message[at : at+5000])
		}
		if err == nil {
			err = writer.Close()
		}
		done <- err
	}()
	w.expect(websocket.MessageBinary, message)
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

// TestManyWebSockets runs 200 at a time.
func TestManyWebSockets(t *testing.T) {
	server := startEcho(t)
	p := start(t, []string{server.Listener.Addr().String()})
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	var running sync.WaitGroup
	for number := range scaled(200) {
		running.Go(func() {
			c, _, err := p.open(ctx, fmt.Sprintf("/%d", number), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.CloseNow() }()
			for n := range 20 {
				message := []byte(strings.Repeat(fmt.Sprintf("%d/%d ", number, n), 1+n*n))
				if err := c.Write(ctx, websocket.MessageText, message); err != nil {
					t.Error(err)
					return
				}
				if _, p, err := c.Read(ctx); err != nil || !bytes.Equal(p, message) {
					t.Errorf("%d: %v, %.40q", number, err, p)
					return
				}
			}
			if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	p.stop()
}

const upgradeHead = "GET /tunnel HTTP/1.1\r\nHost: proof\r\nConnection: keep-alive, Upgrade\r\nUpgrade: proof\r\n\r\n"

// switching answers 101 and hands the socket to f.
func switching(f func(c net.Conn, r *bufio.Reader)) func(*faults.Request) faults.Script {
	return func(*faults.Request) faults.Script {
		return faults.Script{
			faults.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: proof\r\n\r\n"), faults.Take(f),
		}
	}
}

// upgraded opens a tunnel by hand.
func (p *proxy) upgraded() *client {
	p.t.Helper()
	c := p.dial()
	c.send(upgradeHead)
	a, err := http.ReadResponse(c.r, nil)
	if err != nil || a.StatusCode != 101 || a.Header.Get("Upgrade") != "proof" {
		p.t.Fatalf("no tunnel: %v, %v", err, a)
	}
	return c
}

// TestTunnelEnds ends tunnels in all ways, and looks at both sides.
func TestTunnelEnds(t *testing.T) {
	for name, test := range map[string]struct {
		upstream func(c net.Conn, r *bufio.Reader)
		client   func(t *testing.T, c *client)
		lines    []string
	}{
		"the client has said all": {
			upstream: func(c net.Conn, r *bufio.Reader) {
				all, _ := io.ReadAll(r)
				_, _ = fmt.Fprintf(c, "you said %d", len(all))
			},
			client: func(t *testing.T, c *client) {
				c.send(strings.Repeat("x", 100_000))
				_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
				if all, err := io.ReadAll(c.r); err != nil || string(all) != "you said 100000" {
					t.Errorf("%q, %v", all, err)
				}
			},
		},
		"the server has said all": {
			upstream: func(c net.Conn, r *bufio.Reader) {
				_, _ = io.WriteString(c, "all")
				_ = c.(interface{ CloseWrite() error }).CloseWrite()
				_, _ = io.Copy(io.Discard, r)
			},
			client: func(t *testing.T, c *client) {
				if all, err := io.ReadAll(c.r); err != nil || string(all) != "all" {
					t.Errorf("%q, %v", all, err)
				}
				c.send("and I")
			},
		},
		"the client resets": {
			upstream: func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) },
			client:   func(_ *testing.T, c *client) { resetting(c) },
		},
		"the server closes": {
			upstream: func(net.Conn, *bufio.Reader) {},
			client:   func(_ *testing.T, c *client) { c.ended() },
		},
		"nobody says anything": {
			upstream: func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) },
			client:   func(_ *testing.T, c *client) { c.ended() },
			lines:    []string{"upstreams.u.timeouts.tunnel=1s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := upstreamOf(t, faults.Options{Answer: switching(test.upstream)})
			p := startAlone(t, s, test.lines...)
			c := p.upgraded()
			test.client(t, c)
			_ = c.Close()
			await(t, func() bool { return s.Counts().Open == 0 }, func() string { return "the end of the tunnel" })
		})
	}
}

// startAlone starts a proxy in a process that others share, so that nobody can say what is left of it.
func startAlone(t *testing.T, s *faults.Server, lines ...string) *proxy {
	p := start(t, []string{s.Address()}, lines...)
	p.stopped = true
	t.Cleanup(p.end)
	return p
}

// backAndForth sends back what it reads, but not in the kernel: Go would keep pipes for it.
func backAndForth(c net.Conn, r *bufio.Reader) {
	_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{r})
}

// TestTunnelEarly sends the first bytes of the new protocol with the request: they come behind the answer.
func TestTunnelEarly(t *testing.T) {
	s := upstreamOf(t, faults.Options{Answer: switching(backAndForth)})
	p := start(t, []string{s.Address()})
	c := p.dial()
	c.send(upgradeHead + "early")
	a, err := http.ReadResponse(c.r, nil)
	if err != nil || a.StatusCode != 101 {
		t.Fatalf("%v, %v", err, a)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "early" {
		t.Errorf("%q, %v", got, err)
	}
	_ = c.Close()
}

// TestTunnelBackpressure sends through a tunnel of which one side does not read: memory stays flat, and all comes
// later.
func TestTunnelBackpressure(t *testing.T) {
	const total = 32 << 20
	reading := make(chan struct{})
	s := upstreamOf(t, faults.Options{Answer: switching(func(c net.Conn, r *bufio.Reader) {
		<-reading
		n, _ := io.Copy(io.Discard, io.LimitReader(r, total))
		_, _ = fmt.Fprint(c, n)
	})})
	p := start(t, []string{s.Address()}, "upstreams.u.timeouts.send=1h")
	c := p.upgraded()
	sent := make(chan error, 1)
	memory := anonymous(t, "self")
	go func() {
		_, err := io.Copy(c.Conn, io.LimitReader(endless{}, total))
		sent <- err
	}()
	select {
	case err := <-sent:
		t.Fatalf("%d bytes went to a side that does not read: %v", total, err)
	case <-time.After(300 * time.Millisecond):
	}
	if grown := anonymous(t, "self") - memory; grown > 8<<20 && !raceDetector {
		t.Errorf("the memory has grown by %d bytes", grown)
	}
	close(reading)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 8)
	if n, err := io.ReadFull(c.r, answer); err != nil || string(answer[:n]) != fmt.Sprint(total) {
		t.Errorf("%q, %v", answer[:n], err)
	}
	_ = c.Close()
}
