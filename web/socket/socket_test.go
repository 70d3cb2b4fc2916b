package socket_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
)

// TestHandshake answers requests that are no handshake, or one that is refused, and those that are.
func TestHandshake(t *testing.T) {
	key := func(lines string) string { return head + keys + lines }
	for _, test := range []struct {
		name, request string
		status        int
		has           string
	}{
		{"sound", key(""), 101, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"},
		{"a page of the same host", key("Origin: https://EXAMPLE.org:8443\r\n"), 101, ""},
		{"a page of another host", key("Origin: https://example.com\r\n"), 403, ""},
		{"a page of a longer host", key("Origin: https://example.org.evil\r\n"), 403, ""},
		{"a page of nowhere", key("Origin: null\r\n"), 403, ""},
		{"a subprotocol", key("Sec-WebSocket-Protocol: a, two\r\nSec-WebSocket-Protocol: one\r\n"), 101, "Protocol: one\r\n"},
		{"the other", key("Sec-WebSocket-Protocol: a, two\r\n"), 101, "Sec-WebSocket-Protocol: two\r\n"},
		{
			"compression", key("Sec-WebSocket-Extensions: permessage-deflate\r\n"), 101,
			"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n",
		},
		{"malformed extensions", key("Sec-WebSocket-Extensions: a;\r\n"), 400, ""},
		{"no upgrade", "GET / HTTP/1.1\r\nHost: a\r\n" + keys, 426, "Upgrade: websocket\r\n"},
		{"another upgrade", strings.Replace(key(""), "websocket", "h2c", 1), 426, "Upgrade: websocket\r\n"},
		{"not for this connection", strings.Replace(key(""), "Connection: Upgrade", "Connection: x", 1), 426, ""},
		{"another version", strings.Replace(key(""), "13", "8", 1), 426, "Sec-WebSocket-Version: 13\r\n"},
		{"no key", head + "Sec-WebSocket-Version: 13\r\n", 400, ""},
		{"a short key", strings.Replace(key(""), "ZQ==", "", 1), 400, ""},
		{"two keys", key(keys[strings.Index(keys, "Sec-WebSocket-Key"):]), 400, ""},
		{"content", key("Content-Length: 1\r\n") + "\r\na", 400, ""},
		{"another method", strings.Replace(key(""), "GET", "PUT", 1), 405, "Allow: GET"},
	} {
		g := dial(t, new(recorder), socket.Options{Protocols: []string{"one", "two"}, Deflate: &ws.Deflate{}})
		g.Receive([]byte(test.request + "\r\n"))
		got := string(g.Sent)
		if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", test.status)) || !strings.Contains(got, test.has) {
			t.Errorf("%s: %q", test.name, got)
		}
		if (test.status == 101) != (g.conn != nil) {
			t.Errorf("%s: opened %t", test.name, g.conn != nil)
		}
	}
}

// TestGone wants nothing done for a client that did not wait for its answer.
func TestGone(t *testing.T) {
	r := new(recorder)
	service := socket.New(r, socket.Options{})
	g := dial(t, r, socket.Options{})
	s := &web.Server{Root: web.HandlerFunc(func(x *web.Exchange) {
		if err := service.Accept(x, 7); err != nil {
			t.Error(err)
		}
		x.Conn().Abort(conn.ErrAborted)
	})}
	g.Conn = newConn(s)
	g.Receive([]byte(head + keys + "\r\n"))
	g.told()
}

// TestMessages sends messages and control frames, also together with the handshake, and cut in pieces.
func TestMessages(t *testing.T) {
	var e ws.Encoder
	e.Masks = ws.NewMasks([32]byte{})
	all := e.AppendMessage(nil, ws.Text, []byte("one"))
	all = e.AppendControl(all, ws.Ping, []byte("hi"))
	all = e.AppendFrame(all, ws.Header{Opcode: ws.Binary}, []byte("tw"))
	all = e.AppendControl(all, ws.Pong, nil)
	all = e.AppendFrame(all, ws.Header{Final: true}, []byte("o"))
	all = e.AppendClose(all, 4000, "done")
	for cut := range len(all) + 1 {
		r := &recorder{message: func(c *socket.Conn, opcode ws.Opcode, p []byte) { _ = c.Send(opcode, p) }}
		g := connect(t, r, socket.Options{}, "", append([]byte(nil), all[:cut]...))
		g.Receive(append([]byte(nil), all[cut:]...))
		g.hears("text one", "pong hi", "binary two", "close 4000")
		g.told("opened", "text one", "binary two", "closed 4000 done")
		if g.State() != conn.Closed || g.Why != nil {
			t.Fatalf("cut at %d: %v, %v", cut, g.State(), g.Why)
		}
	}
}

// TestEnds ends connections in all ways.
func TestEnds(t *testing.T) {
	for _, test := range []struct {
		name  string
		do    func(g *rig)
		hears string
		told  string
		why   error
	}{
		{"the client closes", func(g *rig) { g.say(ws.Close, "\x03\xe8bye") }, "close 1000", "closed 1000 bye", nil},
		{"without a code", func(g *rig) { g.say(ws.Close, "") }, "close 1000", "closed 1005", nil},
		{"the client hangs up", func(g *rig) { g.End() }, "", "closed 1006", nil},
		{"the client breaks off", func(g *rig) { g.Abort(conn.ErrAborted); g.Turn() }, "", "closed 1006", conn.ErrAborted},
		{
			"an unknown opcode", func(g *rig) { g.say(3, "") },
			"close 1002 unknown opcode", "closed 1002 unknown opcode", nil,
		},
		{
			"no text", func(g *rig) { g.say(ws.Text, "\xff") },
			"close 1007 text is not UTF-8", "closed 1007 text is not UTF-8", nil,
		},
		{
			"a large message", func(g *rig) { g.say(ws.Text, strings.Repeat("a", 2000)) },
			"close 1009 frame too large", "closed 1009 frame too large", nil,
		},
		{"the server closes", serverCloses, "close 4001 enough", "closed 4001", nil},
		{"and the client does not", func(g *rig) {
			g.conn.Close(4001, "enough")
			g.Turn()
			g.Advance(4 * time.Second)
			g.told("opened")
			g.Advance(2 * time.Second)
		}, "close 4001 enough", "closed 1006", nil},
		{"nor takes anything", func(g *rig) {
			g.Stuck = true
			g.conn.Close(4001, "enough")
			g.Turn()
			g.Advance(6 * time.Second)
		}, "", "closed 1006", conn.ErrTimeout},
		{"the server stops", func(g *rig) { g.Stop(); g.say(ws.Close, "\x03\xe9") }, "close 1001", "closed 1001", nil},
		{"the handler panics", func(g *rig) {
			g.message = func(*socket.Conn, ws.Opcode, []byte) { panic("no") }
			g.say(ws.Text, "a")
			g.say(ws.Text, "b")
		}, "close 1011", "text a|closed 1011", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := connect(t, new(recorder), socket.Options{Limits: ws.Limits{MessageBytes: 1000}}, "", nil)
			test.do(g)
			if test.hears != "" {
				g.hears(test.hears)
			} else {
				g.hears()
			}
			if got := strings.TrimPrefix(strings.Join(g.events, "|"), "opened|"); got != test.told {
				t.Errorf("the handler is told %q", got)
			}
			if g.State() != conn.Closed || !errors.Is(g.Why, test.why) {
				t.Errorf("the connection is %v, because of %v", g.State(), g.Why)
			}
		})
	}
}

// serverCloses closes from the server's side, and the client answers.
func serverCloses(g *rig) {
	g.conn.Close(4001, "enough")
	g.conn.Close(4002, "again")
	g.Turn()
	if err := g.conn.Send(ws.Text, nil); !errors.Is(err, socket.ErrClosed) {
		g.t.Errorf("a message behind Close: %v", err)
	}
	g.say(ws.Text, "too late")
	g.say(ws.Ping, "too late")
	g.say(ws.Close, "\x0f\xa1")
}

// TestPanicked tells of panics in each callback.
func TestPanicked(t *testing.T) {
	for name, r := range map[string]*recorder{
		"opened":  {opened: func(*socket.Conn) { panic("opened") }},
		"flushed": {flushed: func(*socket.Conn) { panic("flushed") }},
	} {
		var value any
		o := socket.Options{Panicked: func(_ *socket.Conn, v any) { value = v }}
		g := connect(t, r, o, "", nil)
		g.say(ws.Ping, "")
		if value != name || g.State() != conn.Closed {
			t.Errorf("%s: told of %v, and the connection is %v", name, value, g.State())
		}
	}
}

// TestPings lets time pass: a client that answers stays, one that does not goes.
func TestPings(t *testing.T) {
	g := connect(t, new(recorder), socket.Options{Ping: 30 * time.Second, Pong: 20 * time.Second}, "", nil)
	g.Advance(29 * time.Second)
	g.hears()
	g.Advance(2 * time.Second)
	g.hears("ping")
	g.Advance(15 * time.Second)
	g.say(ws.Pong, "")
	g.Advance(29 * time.Second)
	g.hears()
	g.say(ws.Text, "awake") // the next ping is due only from here on
	g.Advance(29 * time.Second)
	g.hears()
	g.Advance(2 * time.Second)
	g.hears("ping")
	g.told("opened", "text awake")
	g.Advance(20 * time.Second)
	g.told("closed 1006")
	if !errors.Is(g.Why, conn.ErrTimeout) {
		t.Errorf("closed because of %v", g.Why)
	}
	// A client that is slow, but takes what is queued before the ping, is waited for.
	g = connect(t, new(recorder), socket.Options{Ping: 30 * time.Second, Pong: 20 * time.Second}, "", nil)
	g.Stuck = true
	if err := g.conn.Send(ws.Binary, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		g.Advance(19 * time.Second)
		g.Leave(1000)
	}
	g.told("opened")
	g.Advance(60 * time.Second)
	g.told("closed 1006")
	// Without pings, silence is no fault.
	g = connect(t, new(recorder), socket.Options{Ping: -1}, "", nil)
	g.Advance(10 * time.Hour)
	g.told("opened")
	g.hears()
	g.Stuck = true
	_ = g.conn.Send(ws.Text, nil)
	g.Advance(2 * time.Minute)
	g.told("closed 1006")
}

// TestPause keeps messages from a handler that is not ready, within one piece and behind it, and lets them come in
// order.
func TestPause(t *testing.T) {
	r := new(recorder)
	r.message = func(c *socket.Conn, _ ws.Opcode, _ []byte) { c.Pause() }
	g := connect(t, r, socket.Options{}, "", nil)
	var all []byte
	for _, p := range []string{"1", "2", "3"} {
		all = g.encoder.AppendMessage(all, ws.Text, []byte(p))
	}
	g.Receive(all)
	g.say(ws.Text, "4")
	g.told("opened", "text 1")
	for _, want := range []string{"text 2", "text 3", "text 4"} {
		g.conn.Resume()
		g.Turn()
		g.told(want)
	}
	// The same for what came with the handshake.
	r = new(recorder)
	r.message, r.opened = func(c *socket.Conn, _ ws.Opcode, _ []byte) { c.Pause() }, func(c *socket.Conn) { c.Pause() }
	all = all[:0]
	for _, p := range []string{"1", "2"} {
		all = g.encoder.AppendMessage(all, ws.Text, []byte(p))
	}
	g = connect(t, r, socket.Options{}, "", all)
	g.told("opened")
	for _, want := range []string{"text 1", "text 2"} {
		g.conn.Resume()
		g.Turn()
		g.told(want)
	}
	g.Advance(10 * time.Hour) // silence of one that is not read is no fault
	g.conn.Close(ws.CodeNormal, "")
	g.say(ws.Close, "\x03\xe8")
	g.told("closed 1000")
}

// TestFull fills the queue of a client that does not read: it is not read from, messages are refused, and nothing is
// lost when it reads again.
func TestFull(t *testing.T) {
	r := &recorder{message: func(c *socket.Conn, opcode ws.Opcode, p []byte) {
		if err := c.Send(opcode, p); err != nil {
			t.Error(err)
		}
	}}
	flushed := 0
	r.flushed = func(c *socket.Conn) {
		if flushed++; c.Queued() > 0 {
			t.Errorf("flushed, with %d bytes queued", c.Queued())
		}
	}
	g := connect(t, r, socket.Options{QueueBytes: 10_000}, "", nil)
	g.Stuck, flushed = true, 0
	var want []string
	for i := range 20 {
		p := fmt.Sprintf("%d %s", i, strings.Repeat("x", 1000))
		want = append(want, fmt.Sprintf("text %.30s", p))
		g.say(ws.Text, p)
	}
	if !g.Paused || len(g.events) != 1+5 || g.conn.Queued() > 10_000 {
		t.Errorf("paused: %t, behind %d events with %d bytes queued", g.Paused, len(g.events), g.conn.Queued())
	}
	g.Stuck = false
	g.Turn()
	g.hears(want...)
	if g.Paused || flushed == 0 {
		t.Errorf("paused: %t; flushed %d times", g.Paused, flushed)
	}
	g.Stuck = true
	sent := 0
	for g.conn.Send(ws.Binary, make([]byte, 999)) == nil {
		sent++
	}
	if err := g.conn.SendMessage(socket.NewMessage(ws.Text, nil)); sent != 10 || !errors.Is(err, socket.ErrFull) {
		t.Errorf("%d messages were taken; then %v", sent, err)
	}
	g.Stuck = false
	g.Turn()
	if err := g.conn.Send(ws.Text, nil); err != nil {
		t.Errorf("with nothing queued: %v", err)
	}
}

// TestNoRoom sends a message for which the connection has no room at once, and control frames and the end behind it.
func TestNoRoom(t *testing.T) {
	r := &recorder{flushed: func(c *socket.Conn) {
		if c.Queued() > 0 {
			t.Errorf("flushed, with %d bytes queued", c.Queued())
		}
	}}
	g := connect(t, r, socket.Options{}, "", nil)
	g.Limit, g.Stuck = 20_000, true
	p := strings.Repeat("0123456789", 20_000)
	if err := g.conn.Send(ws.Text, []byte(p)); err != nil {
		t.Fatal(err)
	}
	g.say(ws.Ping, "behind")
	if err := g.conn.Send(ws.Text, []byte("next")); err != nil {
		t.Fatal(err)
	}
	g.Leave(g.Conn.Queued()) // there is room now, but not for all
	g.say(ws.Close, "\x03\xe8")
	if n := g.conn.Queued(); n < 150_000 || g.State() != conn.Open {
		t.Errorf("%d bytes are queued, and the connection is %v", n, g.State())
	}
	g.Stuck = false
	g.Turn()
	g.hears("text "+p[:30], "pong behind", "text next", "close 1000")
	if g.State() != conn.Closed || g.Why != nil {
		t.Errorf("the connection is %v, %v", g.State(), g.Why)
	}
}

// TestRef sends from many goroutines: all that was taken arrives, in the order of each, and no more is taken than the
// queue holds.
func TestRef(t *testing.T) {
	g := connect(t, new(recorder), socket.Options{QueueBytes: 5000}, "", nil)
	ref := g.conn.Ref()
	var group sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]int{}
	for _, name := range []string{"a", "b", "c", "d"} {
		group.Go(func() {
			for i := range 100 {
				if err := ref.Send(ws.Text, fmt.Appendf(nil, "%s%096d", name, i)); err != nil {
					if !errors.Is(err, socket.ErrFull) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				taken[name]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	g.Turn()
	next, sum := map[string]int{}, 0
	for {
		opcode, p, used, err := g.decoder.Next(g.Sent)
		if g.Sent = g.Sent[used:]; opcode != ws.Text {
			if err != nil {
				t.Error(err)
			}
			break
		}
		name := string(p[:1])
		if want := fmt.Sprintf("%s%096d", name, next[name]); string(p) != want {
			t.Errorf("%s comes, not %s", p, want)
		}
		next[name]++
		sum += len(p)
	}
	if !reflect.DeepEqual(next, taken) || sum < 5000 || sum > 5200 {
		t.Errorf("%v were taken, %v came, %d bytes", taken, next, sum)
	}
	if err := ref.Send(ws.Text, []byte("room again")); err != nil {
		t.Error(err)
	}
	ran := false
	ref.Post(func(c *socket.Conn) { ran = c == g.conn })
	ref.Close(4000, "from elsewhere")
	g.Turn()
	g.hears("text room again", "close 4000 from elsewhere")
	g.say(ws.Close, "\x0f\xa0")
	if err := ref.Send(ws.Text, []byte("too late")); !errors.Is(err, socket.ErrClosed) {
		t.Errorf("behind the end: %v", err)
	}
	if !ran || (socket.Ref{}).Send(ws.Text, nil) == nil || (socket.Ref{}).Post(nil) {
		t.Error("Post did not run, or the zero Ref reached something")
	}
}

// TestMessage sends a message to connections with and without compression.
func TestMessage(t *testing.T) {
	p := []byte(strings.Repeat("to everybody ", 100))
	m := socket.NewMessage(ws.Text, p)
	for lines, most := range map[string]int{
		"": 1400, "Sec-WebSocket-Extensions: permessage-deflate\r\n": 200,
		"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n": 1400,
	} {
		g := connect(t, new(recorder), socket.Options{Deflate: &ws.Deflate{}}, lines, nil)
		if err := g.conn.SendMessage(m); err != nil {
			t.Error(err)
		}
		if err := g.conn.Ref().SendMessage(m); err != nil {
			t.Error(err)
		}
		g.Turn()
		if len(g.Sent) > 2*most || len(g.Sent) < most/10 {
			t.Errorf("%q: %d bytes", lines, len(g.Sent))
		}
		g.hears(fmt.Sprintf("text %.30s", p), fmt.Sprintf("text %.30s", p))
	}
}

// TestSize bounds what a connection that waits holds, besides the slot of the engine.
func TestSize(t *testing.T) {
	n := reflect.TypeFor[socket.Conn]().Size()
	t.Logf("a connection takes %d bytes", n)
	if n > 200 {
		t.Errorf("a connection takes %d bytes, more than 200", n)
	}
}
