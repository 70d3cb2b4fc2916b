package matrix

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
)

// ends is the end of the server.
var ends = []behaviour{
	{name: "stop closes the listener", check: stopClosesListener},
	{name: "stop ends an idle connection", check: stopEndsIdle},
	{name: "stop ends a silent connection", check: stopEndsSilent},
	{name: "stop finishes an answer", check: stopFinishesAnswer},
	{name: "stop waits for a handler", check: stopWaitsForHandler},
	{name: "stop takes a request that has begun", check: stopTakesRequest},
	{name: "stop with many connections", check: stopMany, crowd: true},
	{name: "drain ends", check: drainEnds},
	{name: "kill", check: killEnds},
}

// gone waits until nobody listens any more. A model that serves one connection at a time listens until that has ended,
// as it could not take before what the kernel has queued.
func (v *server) gone(s *suite) {
	v.t.Helper()
	if s.column.AtOnce == 1 {
		return
	}
	network, address := v.address(0)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		c, err := net.DialTimeout(network, address, patience)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			_ = c.Close()
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("somebody still listens: %v", err)
		}
	}
}

func stopClosesListener(t *testing.T, s *suite) {
	v := s.start(t)
	c := v.dial()
	c.get("/hello", "Connection: close").want(200)
	_ = c.Close()
	v.cancel()
	v.awaitEnd()
	network, address := v.address(0)
	if c, err := net.Dial(network, address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("somebody still listens: %v, %v", c, err)
	}
}

func stopEndsIdle(t *testing.T, s *suite) {
	v := s.start(t)
	c := v.dial()
	c.get("/hello").want(200)
	v.cancel()
	c.wantEnd()
	_ = c.Close()
	v.awaitEnd()
}

func stopEndsSilent(t *testing.T, s *suite) {
	v := s.start(t)
	c := v.dial()
	v.cancel()
	c.wantEnd()
	_ = c.Close()
	v.awaitEnd()
}

// stopFinishesAnswer wants an answer that is on its way to come whole.
func stopFinishesAnswer(t *testing.T, s *suite) {
	v := s.start(t, narrowly)
	c := narrow(t, v.dial())
	c.send(request("GET", "/large.bin"))
	a, err := c.readHead()
	if err != nil {
		t.Fatal(err)
	}
	v.cancel()
	v.gone(s)
	if err := c.readBody(a.want(200)); err != nil {
		t.Fatal(err)
	}
	a.wantBody(content(3, largeBytes))
	c.wantEnd()
	_ = c.Close()
	v.awaitEnd()
}

// stopWaitsForHandler wants an answer that has not begun to come, and to say that it is the last.
func stopWaitsForHandler(t *testing.T, s *suite) {
	held := make(chan *web.Exchange, 1)
	v := s.serve(t, &web.Server{Root: web.HandlerFunc(func(x *web.Exchange) { held <- x })})
	c := v.dial()
	c.send(request("GET", "/"))
	var x *web.Exchange
	select {
	case x = <-held:
	case <-time.After(patience):
		t.Fatal("the handler is not called")
	}
	ref := x.Ref()
	v.cancel()
	v.gone(s)
	c.silent(10 * time.Millisecond)
	if !ref.Post(func(conn.Conn) { x.Reply([]byte("late")) }) {
		t.Fatal("the connection has gone")
	}
	c.answer("GET").want(200).wantBody([]byte("late")).wantField("Connection", "close")
	c.wantEnd()
	_ = c.Close()
	v.awaitEnd()
}

// stopTakesRequest wants a request of which some has come to be answered.
func stopTakesRequest(t *testing.T, s *suite) {
	v := s.start(t)
	c := v.dial()
	text := request("GET", "/small.txt")
	c.send(request("GET", "/hello") + text[:20]) // the server has the second when it answers the first
	c.answer("GET").want(200)
	v.cancel()
	v.gone(s)
	c.send(text[20:])
	a := c.answer("GET").want(200).wantBody(content(1, smallBytes))
	// Where one is served at a time, or by another process, nothing tells the client that the server knows of the stop.
	if s.column.AtOnce != 1 && s.column.Processes == "" {
		a.wantField("Connection", "close")
	}
	c.wantEnd()
	_ = c.Close()
	v.awaitEnd()
}

func stopMany(t *testing.T, s *suite) {
	v := s.start(t)
	var clients []*client
	for i := range 60 {
		c := v.dial()
		if i%3 > 0 {
			c.get("/hello").want(200)
		}
		clients = append(clients, c)
	}
	v.cancel()
	for _, c := range clients {
		c.wantEnd()
		_ = c.Close()
	}
	v.awaitEnd()
}

// drainEnds wants the server to end though a client never takes its answer.
func drainEnds(t *testing.T, s *suite) {
	v := s.start(t, narrowly, fmt.Sprint("timeouts.drain=", soon))
	c := narrow(t, v.dial())
	c.send(request("GET", "/large.bin"))
	if _, err := c.readHead(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	v.cancel()
	v.awaitEnd()
	late(t, begun)
	if n := c.wantGone(); n >= largeBytes {
		t.Errorf("all of %d bytes came", n)
	}
}

func killEnds(t *testing.T, s *suite) {
	v := s.start(t, narrowly)
	c := narrow(t, v.dial())
	c.send(request("GET", "/large.bin"))
	if _, err := c.readHead(); err != nil {
		t.Fatal(err)
	}
	v.cancel()
	v.gone(s)
	close(v.kill)
	v.awaitEnd()
	if n := c.wantGone(); n >= largeBytes {
		t.Errorf("all of %d bytes came", n)
	}
}
