package servetest

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/serve"
)

func drain(t *testing.T, s Suite) {
	const size = 200 << 10
	ends := make(chan error, 1)
	v := start(t, s, nil, same(script{
		received: func(c conn.Conn, in []byte) int {
			p := make([]byte, size)
			fill(p, 0)
			c.Write(p)
			c.Drain()
			if c.State() != conn.Draining {
				t.Errorf("the state is %s after Drain", c.State())
			}
			c.Write([]byte("not any more"))
			return len(in)
		},
		flushed: func(conn.Conn) { t.Error("Flushed after Drain") },
		closed:  func(_ conn.Conn, why error) { ends <- why },
	}))
	c := v.dial()
	// The client goes on sending what nobody will read. Closing right away would make the kernel answer with a reset,
	// and that would destroy what the client has not read yet.
	send(t, c, make([]byte, 100<<10))
	if err := wantStream(c, 0, size); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, c)
	_ = c.Close()
	if why := await(t, ends, "Closed"); why != nil {
		t.Errorf("the connection ended with %v", why)
	}
	v.stop()
}

func drainSilentPeer(t *testing.T, s Suite) {
	ends := make(chan error, 1)
	v := start(t, s, nil, same(script{
		opened: func(c conn.Conn) {
			c.Write([]byte("bye"))
			c.Drain()
		},
		closed: func(_ conn.Conn, why error) { ends <- why },
	}))
	c := v.dial()
	want(t, c, "bye")
	wantEnd(t, c)
	_ = await(t, ends, "the end of a connection whose peer never ends") // for whatever reason: it was long over
	v.stop()
}

func abort(t *testing.T, s Suite) {
	errMine := errors.New("a reason")
	ends := make(chan error, 1)
	v := start(t, s, nil, same(script{
		received: func(c conn.Conn, in []byte) int {
			c.Abort(errMine)
			c.Write([]byte("lost"))
			c.Abort(errors.New("the first reason counts"))
			return len(in)
		},
		closed: func(_ conn.Conn, why error) { ends <- why },
	}))
	c := v.dial()
	send(t, c, []byte("go"))
	wantReset(t, c)
	if why := await(t, ends, "Closed"); !errors.Is(why, errMine) {
		t.Errorf("the connection ended with %v; want %v", why, errMine)
	}
	v.stop()
}

func resetByPeer(t *testing.T, s Suite) {
	ends := make(chan error, 1)
	script := echoing()
	script.closed = func(_ conn.Conn, why error) { ends <- why }
	v := start(t, s, nil, same(script))
	c := v.dial()
	send(t, c, []byte("hello"))
	want(t, c, "hello")
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if why := await(t, ends, "Closed"); !errors.Is(why, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v; want %v", why, syscall.ECONNRESET)
	}
	v.stop()
}

// stop looks at an orderly end with connections that are idle and others in the middle of something.
func stop(t *testing.T, s Suite) {
	told := make(chan bool, 8)
	v := start(t, s, nil, same(script{
		received: func(c conn.Conn, in []byte) int {
			if string(in) == "begin" {
				c.Attach(true)
			}
			c.Write(in)
			c.SetIdle(c.Attached() == nil)
			if string(in) == "finish" {
				c.Drain()
			}
			return len(in)
		},
		stopped: func(c conn.Conn) {
			told <- true
			if c.Attached() == nil {
				c.Drain()
			}
		},
	}))
	n := min(4, s.AtOnce)
	clients := make([]net.Conn, n)
	for i := range clients {
		clients[i] = v.dial()
		text := "begin"
		if i%2 == 1 {
			text = "idle"
		}
		send(t, clients[i], []byte(text))
		want(t, clients[i], text)
	}
	v.cancel()
	for range clients {
		await(t, told, "Stopped")
	}
	for i := n - 1; i >= 0; i-- {
		if i%2 == 0 {
			select {
			case <-v.ended:
				t.Fatal("Serve returned with a connection at work")
			default:
			}
			send(t, clients[i], []byte("finish"))
			want(t, clients[i], "finish")
		}
		wantEnd(t, clients[i])
		_ = clients[i].Close()
	}
	v.stop()
	if c, err := v.tryDial(); err == nil {
		_ = c.Close()
		t.Error("the address is still listened on")
	}
}

// stopBacklog stops sites that clients have just connected to. A client that the kernel has accepted is served.
func stopBacklog(t *testing.T, s Suite) {
	const rounds, n = 10, 4
	for range rounds {
		v := start(t, s, nil, echoing)
		results := make(chan error, n)
		var clients [n]net.Conn
		for i := range clients {
			clients[i] = v.dial()
		}
		v.cancel()
		for _, c := range clients {
			go func() {
				_, err := c.Read(make([]byte, 1))
				_ = c.Close()
				results <- err
			}()
		}
		for range clients {
			if err := await(t, results, "the end"); !errors.Is(err, io.EOF) {
				t.Errorf("a client that was connected before the stop: %v; want an orderly end", err)
			}
		}
		v.stop()
	}
}

func stopUnused(t *testing.T, s Suite) {
	v := start(t, s, func(site *serve.Site) { site.Limits.Drain = time.Minute }, echoing)
	began := time.Now()
	v.stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the end of an unused site took %v", took)
	}
}

func stopDeadline(t *testing.T, s Suite) {
	const limit = 150 * time.Millisecond
	ends := make(chan error, 1)
	handler := echoing()
	handler.stopped = func(conn.Conn) {}
	handler.closed = func(_ conn.Conn, why error) { ends <- why }
	v := start(t, s, func(site *serve.Site) { site.Limits.Drain = limit }, same(handler))
	c := v.dial()
	send(t, c, []byte("hello"))
	want(t, c, "hello")
	began := time.Now()
	v.cancel()
	if why := await(t, ends, "Closed"); !errors.Is(why, conn.ErrStopping) {
		t.Errorf("the connection ended with %v; want %v", why, conn.ErrStopping)
	}
	if took := time.Since(began); took < limit {
		t.Errorf("the drain lasted %v; the limit is %v", took, limit)
	}
	wantReset(t, c)
	v.stop()
}

func kill(t *testing.T, s Suite) {
	now := make(chan struct{})
	told := make(chan bool, 1)
	ends := make(chan error, 1)
	handler := echoing()
	handler.stopped = func(conn.Conn) { told <- true }
	handler.closed = func(_ conn.Conn, why error) { ends <- why }
	v := start(t, s, func(site *serve.Site) { site.Limits.Drain, site.Kill = time.Hour, now }, same(handler))
	c := v.dial()
	send(t, c, []byte("hello"))
	want(t, c, "hello")
	v.cancel()
	await(t, told, "Stopped")
	close(now)
	if why := await(t, ends, "Closed"); !errors.Is(why, conn.ErrStopping) {
		t.Errorf("the connection ended with %v; want %v", why, conn.ErrStopping)
	}
	v.stop()
}

func cannotOpen(t *testing.T, s Suite) {
	errMine := errors.New("no such luck")
	v := &server{t: t, record: &record{t: t, lives: map[uint64]*life{}}}
	before := measure(t)
	good, _ := v.listener(s, "127.0.0.1:0")
	good.Handler = func() conn.Handler { return &watched{script: echoing(), record: v.record} }
	bad := good
	bad.Name, bad.Closed = "bad", nil
	bad.Open = func(int) (int, error) { return -1, errMine }
	site := s.Site
	site.Listeners = []serve.Listener{good, bad}
	site.Ready = func() { t.Error("Ready was called") }
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Model.Serve(ctx, &site); !errors.Is(err, errMine) {
		t.Errorf("Serve: %v; want %v", err, errMine)
	}
	cancel()
	before.checkGone(t)
	site.Listeners = nil
	if err := s.Model.Serve(ctx, &site); err == nil || !strings.Contains(err.Error(), "listener") {
		t.Errorf("Serve without a listener: %v", err)
	}
}
