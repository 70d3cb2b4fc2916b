package socket_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
	"github.com/myriad-server/myriad/web/webtest"
)

// recorder is a handler that writes down what it is told, and does what a test wants.
type recorder struct {
	events  []string
	conn    *socket.Conn
	opened  func(c *socket.Conn)
	message func(c *socket.Conn, opcode ws.Opcode, p []byte)
	flushed func(c *socket.Conn)
}

func (r *recorder) Opened(c *socket.Conn) {
	r.conn = c
	r.events = append(r.events, "opened")
	if r.opened != nil {
		r.opened(c)
	}
}

func (r *recorder) Message(c *socket.Conn, opcode ws.Opcode, p []byte) {
	r.events = append(r.events, fmt.Sprintf("%v %.30s", opcode, p))
	if r.message != nil {
		r.message(c, opcode, p)
	}
}

func (r *recorder) Flushed(c *socket.Conn) {
	if r.flushed != nil {
		r.flushed(c)
	}
}

func (r *recorder) Closed(_ *socket.Conn, code ws.Code, reason string) {
	r.events = append(r.events, strings.TrimSpace(fmt.Sprintf("closed %d %s", code, reason)))
}

// rig is a connection to a service, with a client on it.
type rig struct {
	*webtest.Conn
	*recorder
	t       *testing.T
	encoder ws.Encoder
	decoder ws.Decoder
}

const (
	head = "GET /chat HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	keys = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

// dial makes a connection that nothing was sent on.
func dial(t *testing.T, r *recorder, o socket.Options) *rig {
	g := &rig{recorder: r, t: t, encoder: ws.Encoder{Masks: ws.NewMasks([32]byte{1})}}
	s := &web.Server{Root: socket.New(r, o)}
	g.Conn = webtest.New(s.Handler())
	return g
}

// connect makes a connection behind its handshake. What is sent with the handshake comes in one piece with it.
func connect(t *testing.T, r *recorder, o socket.Options, lines string, with []byte) *rig {
	t.Helper()
	g := dial(t, r, o)
	g.Receive(append([]byte(head+keys+lines+"\r\n"), with...))
	answer, rest, found := bytes.Cut(g.Sent, []byte("\r\n\r\n"))
	if !found || !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 Switching Protocols\r\n")) {
		t.Fatalf("the handshake is answered with %q", g.Sent)
	}
	on := bytes.Contains(answer, []byte("permessage-deflate"))
	g.decoder.Start(ws.NewRules(ws.Limits{MessageBytes: 64 << 20}, true), ws.Extension{On: on, Bits: ws.WindowBits})
	g.encoder.Agreed = ws.Extension{On: on, Bits: ws.WindowBits}
	g.Sent = rest
	return g
}

// say sends a frame.
func (g *rig) say(opcode ws.Opcode, p string) {
	g.Receive(g.encoder.AppendFrame(nil, ws.Header{Opcode: opcode, Final: true}, []byte(p)))
}

// hears wants these frames to have come since it was called last.
func (g *rig) hears(want ...string) {
	g.t.Helper()
	var heard []string
	for {
		opcode, payload, used, err := g.decoder.Next(g.Sent)
		if err != nil {
			g.t.Fatal(err)
		}
		g.Sent = g.Sent[used:]
		if opcode == ws.Continuation {
			break
		}
		text := fmt.Sprintf("%v %.30s", opcode, payload)
		if opcode == ws.Close {
			code, reason, _ := ws.ParseClose(payload)
			text = fmt.Sprintf("close %d %s", code, reason)
		}
		heard = append(heard, strings.TrimSpace(text))
		if opcode == ws.Close {
			break
		}
	}
	if strings.Join(heard, "|") != strings.Join(want, "|") {
		g.t.Errorf("the client hears %q, not %q", heard, want)
	}
}

// told wants these events to have come since it was called last.
func (g *rig) told(want ...string) {
	g.t.Helper()
	if strings.Join(g.events, "|") != strings.Join(want, "|") {
		g.t.Errorf("the handler is told %q, not %q", g.events, want)
	}
	g.events = nil
}

// newConn is a connection in memory to a server.
func newConn(s *web.Server) *webtest.Conn { return webtest.New(s.Handler()) }

// compressed is two messages of a peer whose compressor goes on from one to the next.
func compressed(t *testing.T, one, two string) (first, second []byte) {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*[]byte{&first, &second} {
		out.Reset()
		text := one
		if p == &second {
			text = two
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		*p = bytes.Clone(bytes.TrimSuffix(out.Bytes(), []byte{0, 0, 0xff, 0xff}))
	}
	return first, second
}
