package matrix

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// peers is clients that come in crowds, end halfway, or go without a word.
var peers = []behaviour{
	{name: "half-close", check: halfClose},
	{name: "half-close within a request", check: halfCloseWithin},
	{name: "close behind a request", check: closeBehind},
	{name: "reset while it is answered", check: resetWhileAnswered},
	{name: "reset within a request", check: resetWithin},
	{name: "one after the other", check: oneAfterTheOther},
	{name: "churn", check: churn, crowd: true},
	{name: "many at once", check: manyAtOnce, crowd: true},
	{name: "a slow reader beside others", check: slowBesideOthers, crowd: true},
	{name: "limit of connections", check: connectionLimit, crowd: true},
}

// halfClose wants what was asked for to be answered to a client that has ended its half.
func halfClose(t *testing.T, s *suite) {
	c := narrow(t, s.start(t, narrowly).dial())
	c.send(request("GET", "/hello") + request("GET", "/large.bin") + request("GET", "/small.txt"))
	c.halfClose()
	c.answer("GET").want(200).wantBody(hello)
	c.answer("GET").want(200).wantBody(content(3, largeBytes))
	c.answer("GET").want(200).wantBody(content(1, smallBytes))
	c.wantEnd()
}

func halfCloseWithin(t *testing.T, s *suite) {
	v := s.start(t)
	for _, text := range []string{"", "GET /hel", request("GET", "/hello")[:40]} {
		c := v.dial()
		c.send(text)
		c.halfClose()
		c.wantEnd()
		_ = c.Close()
	}
}

func closeBehind(t *testing.T, s *suite) {
	v := s.start(t)
	for range 20 {
		c := v.dial()
		c.send(request("GET", "/medium.bin"))
		_ = c.Close()
	}
	v.dial().get("/hello").want(200).wantBody(hello)
}

func resetWhileAnswered(t *testing.T, s *suite) {
	v := s.start(t, narrowly)
	for range 10 {
		c := narrow(t, v.dial())
		c.send(request("GET", "/large.bin"))
		if _, err := c.readHead(); err != nil {
			t.Fatal(err)
		}
		c.reset()
	}
	v.dial().get("/large.bin").want(200).wantBody(content(3, largeBytes))
}

func resetWithin(t *testing.T, s *suite) {
	v := s.start(t)
	for i := range 20 {
		c := v.dial()
		c.send(request("POST", "/posted", "Content-Length: 9")[:i*3])
		c.reset()
	}
	v.dial().get("/hello").want(200).wantBody(hello)
}

func oneAfterTheOther(t *testing.T, s *suite) {
	v := s.start(t)
	for range 50 {
		c := v.dial()
		c.get("/small.txt", "Connection: close").want(200).wantBody(content(1, smallBytes))
		c.wantEnd()
		_ = c.Close()
	}
}

// churn has several clients connect, ask and go, again and again.
func churn(t *testing.T, s *suite) {
	v := s.start(t)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 40 {
				if err := v.visit("/small.txt"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// visit connects, asks once and goes; any goroutine.
func (v *server) visit(path string) error {
	raw, err := v.reach(0)
	if err != nil {
		return err
	}
	c := newClient(v.t, raw)
	defer c.Close()
	if _, err := raw.Write([]byte(request("GET", path))); err != nil {
		return err
	}
	a, err := c.read("GET")
	if err != nil {
		return err
	}
	if a.status != 200 || len(a.body) != smallBytes {
		return fmt.Errorf("%q with %d bytes", a.head, len(a.body))
	}
	return nil
}

// manyAtOnce has connections stay while others come, and asks all of them twice.
func manyAtOnce(t *testing.T, s *suite) {
	v := s.start(t)
	var clients []*client
	for range 100 {
		clients = append(clients, v.dial())
	}
	for range 2 {
		for _, c := range clients {
			c.send(request("GET", "/small.txt"))
		}
		for _, c := range clients {
			c.answer("GET").want(200).wantBody(content(1, smallBytes))
		}
	}
}

// slowBesideOthers wants one that reads nothing to hold up nobody.
func slowBesideOthers(t *testing.T, s *suite) {
	v := s.start(t, narrowly)
	slow := narrow(t, v.dial())
	slow.send(request("GET", "/large.bin"))
	a, err := slow.readHead()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c := v.dial()
		c.get("/medium.bin").want(200).wantBody(content(2, mediumSize))
		_ = c.Close()
	}
	if err := slow.readBody(a.want(200)); err != nil {
		t.Fatal(err)
	}
	a.wantBody(content(3, largeBytes))
}

// connectionLimit wants idle connections to make room at the limit, and everybody who asks to be answered.
func connectionLimit(t *testing.T, s *suite) {
	const few = 2 // the limit may be passed by a few
	limit := 8
	if s.column.Processes != "" {
		limit *= processes // it is that of each
	}
	v := s.start(t, "limits.connections=8", "engine.loops=1")
	var open []*client
	for range 3 * limit {
		c := v.dial()
		c.get("/hello").want(200).wantBody(hello)
		open = append(open, c)
	}
	for deadline := time.Now().Add(patience); len(open) > limit+few; {
		open = slices.DeleteFunc(open, func(c *client) bool { return c.hasEnded(time.Millisecond) })
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open at a limit of %d", len(open), limit)
		}
	}
	if len(open) == 0 {
		t.Error("no connection is open")
	}
}

// hasEnded waits a moment for the end, which must be an orderly one.
func (c *client) hasEnded(d time.Duration) bool {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
	b, err := c.r.Peek(1)
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("%q and %v; want the end", b, err)
	}
	return errors.Is(err, io.EOF)
}
