package proxy_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/webtest"
)

var (
	asksUpgrade = lines("GET /ws HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket")
	upgraded    = lines("HTTP/1.1 101 Switching Protocols", dateIs, "Upgrade: websocket", "Connection: upgrade",
		"Sec-WebSocket-Accept: x")
)

// tunnelled is a rig with a tunnel.
func tunnelled(t *testing.T, options ...option) *rig {
	t.Helper()
	r := newRig(t, append([]option{plain}, options...)...)
	r.send(asksUpgrade)
	r.asked(0)
	r.answer(upgraded)
	want := lines("HTTP/1.1 101 Switching Protocols", dateIs, "Sec-WebSocket-Accept: x", "Upgrade: websocket",
		"Connection: Upgrade")
	if got := r.sent(); got != want {
		t.Fatalf("the client got %q", got)
	}
	if len(r.records) != 1 || r.records[0].Status != 101 || r.records[0].Upstream == "" {
		t.Fatalf("the log was told %+v", r.records)
	}
	return r
}

func TestTunnel(t *testing.T) {
	r := tunnelled(t)
	r.send("ping")
	r.answer("pong")
	if asked, got := r.asked(0), r.sent(); asked != "ping" || got != "pong" {
		t.Errorf("%q and %q came through", asked, got)
	}
	if r.client.Idle {
		t.Error("the tunnel may be closed to make room")
	}
	r.client.Stop()
	r.send("ping")
	if r.asked(0) != "ping" {
		t.Error("the tunnel does not outlive the beginning of the end")
	}
}

// TestTunnelFirstBytes are bytes that come right behind the two heads.
func TestTunnelFirstBytes(t *testing.T) {
	r := newRig(t, plain, oneEndpoint)
	r.send(asksUpgrade + "early")
	if got := r.asked(0); strings.Contains(got, "early") {
		t.Fatalf("the upstream has not switched, and got %q", got)
	}
	r.answer(upgraded + "hello")
	if asked, got := r.asked(0), r.sent(); asked != "early" || !strings.HasSuffix(got, "\r\n\r\nhello") {
		t.Errorf("%q and %q came through", asked, got)
	}
}

func TestTunnelRefused(t *testing.T) {
	r := newRig(t, plain, oneEndpoint)
	r.send(asksUpgrade)
	r.answer(strings.Replace(hello, "200 OK", "403 Forbidden", 1))
	if got := r.sent(); !strings.Contains(got, "403") {
		t.Errorf("the client got %q", got)
	}
	r.send(get)
	r.answer(hello)
	if got := r.sent(); got != hello || len(r.dialer.Conns) != 1 {
		t.Errorf("the client got %q", got)
	}
}

// TestTunnelBackpressure has each side send more than the other takes.
func TestTunnelBackpressure(t *testing.T) {
	r := tunnelled(t, with(func(o *proxy.Options) { o.QueuedBytes = 10_000 }))
	up := r.upstream(0)
	for _, side := range []struct {
		from, to interface {
			Receive([]byte)
			Queued() int64
		}
	}{{r.client, up}, {up, r.client}} {
		up.Stuck, r.client.Stuck = true, true
		for range 100 {
			side.from.Receive(make([]byte, 1000))
		}
		if n := side.to.Queued(); n < 10_000 || n > 12_000 {
			t.Errorf("%d bytes are queued", n)
		}
		up.Stuck, r.client.Stuck = false, false
		for range 20 {
			r.turn()
		}
	}
	if a, b := len(r.asked(0)), len(r.sent()); a != 100_000 || b != 100_000 {
		t.Errorf("%d and %d bytes came through", a, b)
	}
	if up.Paused || r.client.Paused {
		t.Error("a side is still paused")
	}
}

// TestTunnelEnds is about how each end of one side reaches the other.
func TestTunnelEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(r *rig, up *webtest.Conn)
		fine bool // both end in order
	}{
		{"the client, then the upstream", func(r *rig, up *webtest.Conn) {
			r.client.End()
			r.turn()
			if !up.Last || up.State() != conn.Open {
				t.Error("the client's end did not reach the upstream")
			}
			r.answer("late")
			if got := r.sent(); got != "late" {
				t.Errorf("behind its end the client got %q", got)
			}
			up.End()
		}, true},
		{"the upstream, then the client", func(r *rig, up *webtest.Conn) {
			up.End()
			r.turn()
			if !r.client.Last || r.client.State() != conn.Open {
				t.Error("the upstream's end did not reach the client")
			}
			r.send("late")
			if got := r.asked(0); got != "late" {
				t.Errorf("behind its end the upstream got %q", got)
			}
			r.client.End()
		}, true},
		{"a reset of the client", func(r *rig, _ *webtest.Conn) { r.client.Abort(syscall.ECONNRESET) }, false},
		{"a reset of the upstream", func(_ *rig, up *webtest.Conn) { up.Abort(syscall.ECONNRESET) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := tunnelled(t)
			up := r.upstream(0)
			c.do(r, up)
			r.turn()
			if r.client.State() != conn.Closed || up.State() != conn.Closed {
				t.Errorf("the client is %v, the upstream %v", r.client.State(), up.State())
			}
			if c.fine != (r.client.Why == nil && up.Why == nil) {
				t.Errorf("the client ended with %v, the upstream with %v", r.client.Why, up.Why)
			}
		})
	}
}

func TestTunnelIdle(t *testing.T) {
	r := tunnelled(t, with(func(o *proxy.Options) { o.Timeouts.Tunnel = time.Minute }))
	for range 5 {
		r.advance(40 * time.Second)
		r.answer("x")
	}
	r.advance(50 * time.Second)
	if r.client.State() != conn.Open || r.upstream(0).State() != conn.Open {
		t.Fatal("the tunnel has ended although it was in use")
	}
	for range 26 { // a minute, and a quarter of one
		r.advance(time.Second)
	}
	if r.client.State() != conn.Closed || r.upstream(0).State() != conn.Closed {
		t.Errorf("the client is %v, the upstream %v", r.client.State(), r.upstream(0).State())
	}
}

// TestTunnelVanished has one side of a tunnel talk, and the machine of the other acknowledge nothing of it, or late:
// the kernel takes all of it, for the window is open.
func TestTunnelVanished(t *testing.T) {
	clientTalks := func(r *rig) (to *webtest.Conn) { r.send("ping"); return r.upstream(0) }
	upstreamTalks := func(r *rig) (to *webtest.Conn) { r.answer("pong"); return r.client }
	gone := func(sent, _ int) int { return sent }
	for _, c := range []struct {
		name   string
		talk   func(r *rig) (to *webtest.Conn)
		behind func(sent, step int) int // what is not acknowledged after a step of five seconds
		talks  int                      // steps
		ends   bool
	}{
		{"the client is gone", upstreamTalks, gone, 60, true},
		{"the upstream is gone", clientTalks, gone, 60, true},
		{"the client is gone later", upstreamTalks, func(sent, step int) int { return sent - min(step, 30) }, 60, true},
		{"the client is slow", upstreamTalks, func(sent, step int) int { return sent - step }, 60, false},
		{"the upstream is slow", clientTalks, func(sent, step int) int { return sent - step }, 60, false},
		{"the client is there", upstreamTalks, func(int, int) int { return 0 }, 60, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told tunnelLog
			r := tunnelled(t, with(func(o *proxy.Options) { o.Timeouts.Tunnel, o.Tunnels = time.Minute, &told }))
			up, step, sent := r.upstream(0), 0, 0
			for ; step < c.talks && r.client.State() == conn.Open; step++ {
				to := c.talk(r)
				sent += len("ping")
				to.Taken = int64(c.behind(sent, step))
				r.advance(5 * time.Second)
			}
			if !c.ends {
				if r.client.State() != conn.Open || up.State() != conn.Open {
					t.Errorf("given up after %d steps: %v", step, r.client.Why)
				}
				return
			}
			if step == c.talks || r.client.Why == nil || up.Why == nil || len(told) != 1 || told[0].Cause != "idle" {
				t.Errorf("after %d steps: %v, %v, %+v", step, r.client.Why, up.Why, told)
			}
		})
	}
}

func TestTunnelSize(t *testing.T) {
	if n := proxy.TunnelBytes; n > 80 {
		t.Errorf("a tunnel takes %d bytes", n)
	}
}
