package web_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// TestSlowClients has the kernel take nothing more while the client goes on, or does not: what counts is what the
// client's machine acknowledges.
func TestSlowClients(t *testing.T) {
	large := web.NewAnswer(200, "", []byte(strings.Repeat("x", 100_000)))
	for _, closes := range [][]string{nil, {"Connection: close"}} {
		s := &web.Server{
			Root:     web.HandlerFunc(func(x *web.Exchange) { x.Respond(large) }),
			Timeouts: web.Timeouts{Write: 10 * time.Second},
		}
		begin := func() *webtest.Conn {
			c := webtest.New(s.Handler())
			c.Stuck, c.Taken = true, 1<<20
			c.Receive([]byte(request("GET /", "", closes...)))
			return c
		}
		c := begin()
		for range 100 {
			c.Taken -= 10
			c.Advance(9 * time.Second)
			if c.State() != conn.Open {
				t.Fatalf("%q: cut off while it takes bytes: %v", closes, c.Why)
			}
		}
		c.Advance(21 * time.Second)
		if c.State() != conn.Closed || !errors.Is(c.Why, conn.ErrTimeout) {
			t.Errorf("%q: it takes nothing any more and is %v, %v", closes, c.State(), c.Why)
		}
		c = begin()
		c.Advance(9 * time.Second)
		if c.State() != conn.Open {
			t.Errorf("%q: it ends too early", closes)
		}
		c.Advance(4 * time.Second)
		if c.State() != conn.Closed {
			t.Errorf("%q: it takes nothing and is %v", closes, c.State())
		}
	}
}

// TestSlowAtTheEnd has the last, small answer of a connection that drains not leave, while the client takes what the
// kernel has; and then nothing.
func TestSlowAtTheEnd(t *testing.T) {
	s := &web.Server{
		Root:     web.HandlerFunc(func(x *web.Exchange) { x.Reply([]byte("hello")) }),
		Timeouts: web.Timeouts{Write: 10 * time.Second},
	}
	c := webtest.New(s.Handler())
	c.Stuck, c.Taken = true, 1<<20
	c.Receive([]byte(request("GET /", "", "Connection: close")))
	if c.State() != conn.Draining {
		t.Fatalf("it is %v", c.State())
	}
	for range 20 {
		c.Advance(9 * time.Second)
		c.Taken -= 10
	}
	if c.State() != conn.Draining {
		t.Fatalf("cut off while it takes bytes: %v", c.Why)
	}
	c.Advance(31 * time.Second)
	if c.State() != conn.Closed || !errors.Is(c.Why, conn.ErrTimeout) {
		t.Errorf("it takes nothing any more and is %v, %v", c.State(), c.Why)
	}
}

// TestEndBehindContent wants the connection to be done with as soon as the content has come that nobody takes, and the
// client to be told at once that there will be no more.
func TestEndBehindContent(t *testing.T) {
	s := &web.Server{Root: web.HandlerFunc(func(x *web.Exchange) { x.Reply([]byte("hello")) })}
	head := request("POST /", "", "Connection: close", "Transfer-Encoding: chunked")
	pieces := []string{"3\r", "\nab", "c\r\n0\r", "\n\r\n"}
	c := webtest.New(s.Handler())
	c.Receive([]byte(head + strings.Join(pieces, "")))
	if c.State() != conn.Closed || c.Why != nil || c.Last {
		t.Errorf("at once: %v, %v", c.State(), c.Why)
	}
	c = webtest.New(s.Handler())
	c.Receive([]byte(head))
	if !c.Last || !bytes.Contains(c.Sent, []byte("hello")) {
		t.Errorf("the client is not told: %q", c.Sent)
	}
	for _, piece := range []string{"3\r\n", "ab", "c\r\n0\r\n", "\r\n"} {
		if c.State() != conn.Open {
			t.Fatalf("%v before %q", c.State(), piece)
		}
		c.Receive([]byte(piece))
	}
	if c.State() != conn.Closed || c.Why != nil {
		t.Errorf("in pieces: %v, %v", c.State(), c.Why)
	}
}

// TestVanishedClient has an answer go on, a little at a time, for a client whose machine acknowledges nothing more: the
// kernel takes all of it, for the window is open. One that acknowledges late stays, and so does a silent answer of
// which everything was acknowledged.
func TestVanishedClient(t *testing.T) {
	for _, c := range []struct {
		name   string
		behind func(sent int64, step int) int64 // what is not acknowledged after a step of two seconds
		writes int                              // steps in which something is written
		alive  bool
	}{
		{"gone", func(sent int64, _ int) int64 { return sent }, 50, false},
		{"gone after a while", func(sent int64, step int) int64 { return sent - min(int64(step), 20) }, 50, false},
		{"gone with the last piece", func(sent int64, _ int) int64 { return min(sent, 7) }, 1, false},
		{"late", func(sent int64, step int) int64 { return sent - int64(step) }, 50, true},
		{"there", func(int64, int) int64 { return 0 }, 50, true},
		{"silent", func(int64, int) int64 { return 0 }, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var x *web.Exchange
			s := &web.Server{
				Root:     web.HandlerFunc(func(is *web.Exchange) { x = is; x.Begin(-1) }),
				Timeouts: web.Timeouts{Write: 10 * time.Second, Request: web.Unlimited},
			}
			k := webtest.New(s.Handler())
			k.Receive([]byte(request("GET /", "")))
			step := 0
			for ; step < 50 && k.State() == conn.Open; step++ {
				if step < c.writes {
					x.Write([]byte("event"))
				}
				k.Turn()
				k.Taken = c.behind(int64(len(k.Sent)), step)
				k.Advance(2 * time.Second)
			}
			if c.alive != (k.State() == conn.Open) || !c.alive && !errors.Is(k.Why, conn.ErrTimeout) {
				t.Errorf("after %d s it is %v, %v", 2*step, k.State(), k.Why)
			}
		})
	}
}

// TestStalled has clients take nothing of an answer: they have Timeouts.Write, unless the serving model has too little
// memory for that.
func TestStalled(t *testing.T) {
	for _, c := range []struct {
		name    string
		stalled bool // the model ends the connection
		queues  int  // bytes
		shut    bool // the client sends what nobody wants, so that it is told that there will be no more
		cause   string
	}{
		{"there is memory", false, 100 << 10, false, "client_timeout"},
		{"memory is short", true, 100 << 10, false, "client_stalled"},
		{"its own limit is reached", false, 900 << 10, false, "client_timeout"},
		{"the end was told", false, 100 << 10, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := new(lines)
			s := &web.Server{
				Root: web.HandlerFunc(func(x *web.Exchange) {
					x.Begin(-1)
					x.Write(bytes.Repeat([]byte("x"), c.queues))
					if c.shut {
						x.End()
					}
				}),
				Timeouts: web.Timeouts{Request: web.Unlimited}, Log: log,
			}
			k := webtest.New(s.Handler())
			k.Stuck, k.Taken = true, 1<<20
			if c.shut {
				k.Receive([]byte(request("POST /", "", "Connection: close", "Content-Length: 9")))
			} else {
				k.Receive([]byte(request("GET /", "")))
			}
			if k.Last != c.shut {
				t.Fatalf("that there will be no more was told: %v", k.Last)
			}
			took := time.Duration(0)
			for took < time.Minute && k.State() == conn.Open {
				took += time.Second
				if k.Advance(time.Second); c.stalled {
					k.Abort(conn.ErrStalled)
					k.Turn()
				}
			}
			cause := ""
			for _, r := range *log {
				cause = r.Cause
			}
			if cause != c.cause || !c.stalled && (took < 30*time.Second || took > 33*time.Second) {
				t.Errorf("after %v it is %v, cause %q", took, k.State(), cause)
			}
		})
	}
}
