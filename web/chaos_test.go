package web_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// seedOf takes a seed from MYRIAD_SEED, to replay a failure, or makes one.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("MYRIAD_SEED")
	if text == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// undecided answers as chance has it: at once, later in pieces, or never, with content or without.
type undecided struct {
	random *rand.Rand
	open   []*web.Exchange // in the order of their requests, so that a seed replays
	body   []byte
}

func (u *undecided) Serve(x *web.Exchange) {
	switch u.random.IntN(6) {
	case 0:
		x.Fail(404)
		return
	case 1:
		x.Reply(u.body[:u.random.IntN(len(u.body))])
		return
	case 2:
		panic(errPanic)
	case 3:
		x.OnBody(func(_ []byte, done bool) {
			if u.random.IntN(3) == 0 {
				x.PauseBody()
			}
		})
	case 4:
		x.Begin(int64(u.random.IntN(2)*1000) - 1)
		x.OnFlushed(func() { u.act(x) })
	}
	u.open = append(u.open, x)
	x.OnClosed(func(error) { u.forget(x) })
}

func (u *undecided) forget(x *web.Exchange) {
	u.open = slices.DeleteFunc(u.open, func(other *web.Exchange) bool { return other == x })
}

// act goes on with one of the exchanges that are not answered yet.
func (u *undecided) act(x *web.Exchange) {
	switch u.random.IntN(7) {
	case 0:
		x.Begin(-1)
	case 5:
		x.Lend(u.body[:u.random.IntN(len(u.body))])
	case 1:
		x.Write(u.body[:u.random.IntN(len(u.body))])
	case 2:
		x.ResumeBody()
		return
	case 3:
		x.PauseBody()
		return
	case 4:
		u.forget(x)
		x.Begin(0)
		x.End()
	}
	if x.Answered() {
		u.forget(x)
	}
}

// pieces are what a client may send, sound or not.
var pieces = [][]byte{
	[]byte(hello1), []byte(hello1 + hello1 + hello1[:20]), []byte(hello1[20:]), []byte("G"), []byte("\r\n"),
	[]byte(request("POST /a", "abc", "Content-Length: 5")), []byte("de"), []byte("x"),
	[]byte(request("POST /b", "", "Content-Length: 3", "Expect: 100-continue")),
	[]byte(request("PUT /c", "5\r\nabcde\r\n", "Transfer-Encoding: chunked")), []byte("0\r\n\r\n"), []byte("0\r\n"),
	[]byte("GET / HTTP/1.0\r\n\r\n"), []byte(request("HEAD /", "", "Connection: close")),
	[]byte(request("POST /d", "", "Content-Length: 100000")), make([]byte, 5000),
}

// answerBegins is how answers begin. A connection may end when less than that has left.
var answerBegins = []byte("HTTP/1.1 ")

// TestChaos lets everything that can happen to connections happen in random order, a few connections at a time on one
// handler. Whatever happens nothing panics, a connection that ended leaves nothing behind, one that waits has a
// deadline or a handler that it waits for, and what was sent begins with an answer. MYRIAD_SEED replays a failure.
func TestChaos(t *testing.T) {
	seed := seedOf(t)
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	own := &meter.Set{}
	u := &undecided{random: random, body: make([]byte, 30_000)}
	s := &web.Server{
		Root: u, Meter: func() *meter.Set { return own },
		Limits:   web.Limits{BodyBytes: 50, DiscardBytes: 20, OutputBytes: 20_000, Requests: 20},
		Timeouts: web.Timeouts{Request: 5 * time.Minute},
	}
	h := s.Handler()
	var conns [8]*webtest.Conn
	for range 60_000 {
		i := random.IntN(len(conns))
		c := conns[i]
		if c == nil || c.State() == conn.Closed {
			if c != nil && c.Attached() != nil {
				t.Fatalf("a closed connection has %v attached", c.Attached())
			}
			if c != nil && !bytes.HasPrefix(c.Sent, answerBegins[:min(len(c.Sent), len(answerBegins))]) {
				t.Fatalf("sent %q", c.Sent)
			}
			conns[i] = webtest.New(h)
			continue
		}
		happen(random, c)
		for _, x := range slices.Clone(u.open) {
			if random.IntN(4) == 0 {
				u.act(x)
			}
		}
		if c.State() == conn.Open && c.Timer == 0 {
			t.Fatalf("a connection without a deadline: attached %+v, paused %v", c.Attached(), c.Paused)
		}
		if c.State() == conn.Open && c.Idle && c.Attached() != nil && len(c.Sent) > 0 {
			if _, ok := c.Attached().(*web.Exchange); ok {
				t.Fatal("an idle connection holds an exchange")
			}
		}
	}
}

// happen lets one thing happen to a connection.
func happen(random *rand.Rand, c *webtest.Conn) {
	switch random.IntN(20) {
	case 0:
		c.End()
	case 1:
		c.Abort(conn.ErrPressure)
		c.Turn()
	case 2:
		c.Stop()
	case 3, 4:
		c.Advance(time.Duration(random.Int64N(int64(90 * time.Second))))
	case 5:
		c.Stuck = true
	case 6, 7:
		c.Stuck = false
		c.Turn()
	case 8:
		c.Leave(random.Int64N(20_000))
		c.Turn()
	default:
		c.Receive(pieces[random.IntN(len(pieces))])
	}
}
