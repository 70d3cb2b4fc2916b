package web_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// TestLargeAnswersWait has answers larger than a connection may hold, in every way of giving them, taken by a client
// in pieces: what is queued stays within the limit, and what arrives is what was said, the next answer behind it.
func TestLargeAnswersWait(t *testing.T) {
	const limit = 40_000
	large := []byte(strings.Repeat("0123456789", 30_000))
	answer := web.NewAnswer(200, "", large)
	file := open(t, "0123456789")
	pool, err := buf.NewPool(64, 4, buf.Heap)
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(x *web.Exchange){
		"an answer": func(x *web.Exchange) { x.Respond(answer) },
		"a reply":   func(x *web.Exchange) { x.Reply(large) },
		"lent":      func(x *web.Exchange) { x.Begin(-1); x.Lend(large); x.End() },
		"mixed": func(x *web.Exchange) {
			x.Begin(300_000)
			x.Write(large[:1000])
			x.Lend(large[1000:200_000])
			file.Hold()
			x.WriteFile(file, 0, 10)
			b := pool.Take()
			copy(b.Bytes(), "0123456789")
			x.WriteBlock(b, 0, 10)
			x.Write(large[200_020:210_000])
			x.Lend(large)
			x.End()
		},
		"late": func(x *web.Exchange) { x.Ref().Post(func(conn.Conn) { x.Reply(large) }) },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s := &web.Server{
				Limits: web.Limits{OutputBytes: limit},
				Root: web.HandlerFunc(func(x *web.Exchange) {
					if string(x.Path()) == "/hello" {
						x.Reply([]byte("hello"))
					} else {
						way(x)
					}
				}),
			}
			c := webtest.New(s.Handler())
			c.Limit, c.Stuck = limit, true
			c.Receive([]byte(request("GET /", "") + hello1))
			for c.Queued() > 0 {
				if c.Queued() > limit {
					t.Fatalf("%d bytes queued", c.Queued())
				}
				c.Leave(7777)
			}
			answers, err := webtest.Read(c.Sent, "GET", "GET")
			if err != nil || answers[0].Body != string(large) || answers[1].Body != "hello" {
				t.Fatalf("%v, %v, %d bytes", err, c.Why, len(c.Sent))
			}
			if c.Attached() != nil || !c.Idle || pool.Lent() != 0 {
				t.Errorf("attached %v, idle %v, %d blocks lent", c.Attached(), c.Idle, pool.Lent())
			}
			h := (&web.Server{Limits: web.Limits{OutputBytes: limit}, Root: web.HandlerFunc(way)}).Handler()
			if a, err := webtest.Ask(h, request("HEAD /", "")); err != nil || a.Body != "" {
				t.Errorf("HEAD: %v, %d bytes", err, len(a.Body))
			}
		})
	}
}

// TestLargeAnswerBrokenOff gives back what waits when the connection ends.
func TestLargeAnswerBrokenOff(t *testing.T) {
	file := open(t, "0123456789") // checks its holders at the end
	var n noted
	s := &web.Server{Log: &n, Root: web.HandlerFunc(func(x *web.Exchange) {
		x.Begin(-1)
		x.Lend(make([]byte, 200_000))
		file.Hold()
		x.WriteFile(file, 0, 10)
		x.End()
	})}
	c := webtest.New(s.Handler())
	c.Stuck = true
	c.Receive([]byte(hello1))
	c.Abort(conn.ErrPressure)
	c.Turn()
	if len(n) != 1 || c.Attached() != nil {
		t.Errorf("%d lines in the log, attached %v", len(n), c.Attached())
	}
}

// TestHandlerWithoutMeasure goes on writing behind what waits.
func TestHandlerWithoutMeasure(t *testing.T) {
	s := &web.Server{Limits: web.Limits{OutputBytes: 50_000}, Root: web.HandlerFunc(func(x *web.Exchange) {
		x.Begin(-1)
		x.Lend(make([]byte, 100_000))
		for range 100 {
			x.Write(make([]byte, 1000))
		}
		x.End()
	})}
	c := webtest.New(s.Handler())
	c.Stuck = true
	c.Receive([]byte(hello1))
	if c.Turn(); c.State() != conn.Closed || c.Why != conn.ErrOutputLimit {
		t.Errorf("%v, %v", c.State(), c.Why)
	}
}

// TestPipelineUnderLimit: whatever the sizes of answers, a client that sends many requests at once and reads nothing
// for a while is made to wait, and never cut off.
func TestPipelineUnderLimit(t *testing.T) {
	for _, limit := range []int{4096, 20_000, 100_000} {
		for size := 1; size < 200_000; size = size*3 + 1 {
			body := bytes.Repeat([]byte("x"), size)
			answer := web.NewAnswer(200, "", body)
			s := &web.Server{
				Limits: web.Limits{OutputBytes: int64(limit)},
				Root:   web.HandlerFunc(func(x *web.Exchange) { x.Respond(answer) }),
			}
			c := webtest.New(s.Handler())
			c.Limit, c.Stuck = limit, true
			c.Receive([]byte(strings.Repeat(hello1, 50)))
			for c.Queued() > 0 {
				c.Leave(math.MaxInt64)
			}
			c.Stuck = false
			c.Turn()
			answers, err := webtest.Read(c.Sent, make([]string, 50)...)
			if err != nil {
				t.Errorf("limit %d, size %d: %d answers, %v, %v", limit, size, len(answers), err, fmt.Sprint(c.Why))
			}
		}
	}
}
