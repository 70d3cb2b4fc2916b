package web_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// sends is what a client does: text is sent, a duration passes, a function acts on the connection.
type step any

// play runs steps on a new connection of a server.
func play(s *web.Server, steps ...step) *webtest.Conn {
	c := webtest.New(s.Handler())
	playOn(c, steps...)
	return c
}

// playOn runs steps on a connection.
func playOn(c *webtest.Conn, steps ...step) {
	for _, what := range steps {
		switch what := what.(type) {
		case string:
			c.Receive([]byte(what))
		case time.Duration:
			c.Advance(what)
		case func(*webtest.Conn):
			what(c)
		}
	}
}

var (
	end   = (*webtest.Conn).End
	stop  = (*webtest.Conn).Stop
	stick = func(c *webtest.Conn) { c.Stuck = true }
	flow  = func(c *webtest.Conn) { c.Stuck = false; c.Turn() }
	some  = func(c *webtest.Conn) { c.Leave(1000) }
)

// never answers: it waits for ever.
var never = web.HandlerFunc(func(*web.Exchange) {})

const hello1 = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"

// TestLives has connections that are slow.
func TestLives(t *testing.T) {
	timeouts := web.Timeouts{
		Head: 10 * time.Second, Body: 20 * time.Second, Idle: 60 * time.Second, Write: 30 * time.Second,
		Request: 100 * time.Second, Linger: 2 * time.Second,
	}
	root := site(t)
	large := web.HandlerFunc(func(x *web.Exchange) { x.Reply(make([]byte, 100_000)) })
	trickle := web.HandlerFunc(func(x *web.Exchange) { x.Begin(-1); x.Write([]byte("some")) })
	post := request("POST /echo", "ab", "Content-Length: 3")
	for _, c := range []life{
		{"idle", root, []step{hello1, 59 * time.Second}, "200", conn.Open, nil, 0},
		{"idle too long", root, []step{hello1, 61 * time.Second}, "200", conn.Closed, nil, meter.TimeoutsIdle},
		{"idle from the start", root, []step{61 * time.Second}, "", conn.Closed, nil, meter.TimeoutsIdle},
		{"idle begins anew", root, []step{hello1, 59 * time.Second, hello1, 59 * time.Second}, "200 200", conn.Open, nil, 0},
		{"head", root, []step{hello1, "GET /", 9 * time.Second, " HTTP"}, "200", conn.Open, nil, 0},
		{
			"head too slow", root,
			[]step{"GET", 6 * time.Second, " /", 5 * time.Second},
			"408", conn.Open, nil,
			meter.TimeoutsHead,
		},
		{"head too slow, then gone", root, []step{"GET", 13 * time.Second}, "408", conn.Closed, nil, meter.TimeoutsHead},
		{"body", root, []step{post, 19 * time.Second, "c"}, "200", conn.Open, nil, 0},
		{"body too slow", root, []step{post, 21 * time.Second}, "408", conn.Open, nil, meter.TimeoutsBody},
		{"request in time", never, []step{hello1, 99 * time.Second}, "", conn.Open, nil, 0},
		{"request too slow", never, []step{hello1, 101 * time.Second}, "", conn.Closed, nil, meter.TimeoutsRequest},
		{
			"answer too slow", trickle,
			[]step{hello1, 101 * time.Second},
			"!", conn.Closed, conn.ErrTimeout,
			meter.TimeoutsRequest,
		},
		{"write", large, []step{stick, hello1, 29 * time.Second, some, 29 * time.Second, flow}, "200", conn.Open, nil, 0},
		{
			"write too slow", large,
			[]step{stick, hello1, 29 * time.Second, some, 32 * time.Second},
			"!", conn.Closed,
			conn.ErrTimeout, meter.TimeoutsWrite,
		},
		{
			"small write too slow", root,
			[]step{stick, hello1, 91 * time.Second},
			"", conn.Closed, conn.ErrTimeout,
			meter.TimeoutsWrite,
		},
		{"slow but steady", large, []step{
			stick, request("GET /", "", "Connection: close"), 29 * time.Second, some,
			29 * time.Second, some, 29 * time.Second, some, 29 * time.Second, flow,
		}, "200c", conn.Closed, nil, 0},
	} {
		c.check(t, timeouts)
	}
}

// TestEnds has connections of servers that stop, and of clients that have sent their last byte.
func TestEnds(t *testing.T) {
	root := site(t)
	large := web.HandlerFunc(func(x *web.Exchange) { x.Reply(make([]byte, 100_000)) })
	post := request("POST /echo", "ab", "Content-Length: 3")
	for _, c := range []life{
		{"stop while idle", root, []step{hello1, stop}, "200", conn.Closed, nil, 0},
		{"stop before anything", root, []step{stop}, "", conn.Closed, nil, 0},
		{"stop within a head", root, []step{hello1[:20], stop, hello1[20:]}, "200c", conn.Closed, nil, 0},
		{"stop within a body", root, []step{post, stop, "c"}, "200c", conn.Closed, nil, 0},
		{"stop while sending", large, []step{stick, hello1, stop, flow}, "200", conn.Closed, nil, 0},

		{"end while idle", root, []step{hello1, end}, "200", conn.Closed, nil, 0},
		{"end within a head", root, []step{hello1, "GET", end}, "200", conn.Closed, nil, 0},
		{"end within a body", root, []step{post, end}, "", conn.Closed, nil, 0},
		{"end behind a request", root, []step{stick, hello1, end, flow}, "200", conn.Closed, nil, 0},
		{"end while lingering", root, []step{"GET\r\n\r\n", end}, "400", conn.Closed, nil, meter.ProtocolErrors},
		{
			"lingering", root,
			[]step{"GET\r\n\r\n", "more", time.Second, "more"},
			"400", conn.Open, nil,
			meter.ProtocolErrors,
		},
		{
			"lingering for long enough", root,
			[]step{"GET\r\n\r\n", time.Second, "more", time.Second + 1},
			"400",
			conn.Closed, nil, meter.ProtocolErrors,
		},
	} {
		c.check(t, web.Timeouts{})
	}
}

// life is a connection's: what happens on it, what the client got, and how it ended.
type life struct {
	name    string
	root    web.Handler
	steps   []step
	answers string // statuses
	state   conn.State
	why     error
	counter meter.Counter
}

func (c *life) check(t *testing.T, timeouts web.Timeouts) {
	t.Helper()
	s := &web.Server{Root: c.root, Timeouts: timeouts}
	got := play(s, c.steps...)
	if answers := statuses(got.Sent); answers != c.answers {
		t.Errorf("%s: answers %q, not %q: %q", c.name, answers, c.answers, got.Sent[:min(200, len(got.Sent))])
	}
	if got.State() != c.state || got.Why != c.why {
		t.Errorf("%s: %v, %v, not %v, %v", c.name, got.State(), got.Why, c.state, c.why)
	}
	counts := s.Counts()
	if c.counter != 0 && counts[c.counter] != 1 {
		t.Errorf("%s: %v is %d", c.name, c.counter, counts[c.counter])
	}
	if got.State() == conn.Closed && got.Attached() != nil {
		t.Errorf("%s: something is attached", c.name)
	}
}

// statuses are those of the answers in what was sent, each with a c if it closes; "!" if an answer is cut short.
func statuses(sent []byte) string {
	var all []string
	for n := 1; len(sent) > 0; n++ {
		answers, err := webtest.Read(sent, make([]string, n)...)
		if err == nil {
			for _, a := range answers {
				text := a.Status[:3]
				if a.Close && a.StatusCode < 400 {
					text += "c"
				}
				all = append(all, text)
			}
			break
		}
		if len(answers) < n {
			return "!"
		}
	}
	return strings.Join(all, " ")
}

// TestEndWithLateAnswers half-closes behind pipelined requests that are answered later: all of them are.
func TestEndWithLateAnswers(t *testing.T) {
	late := request("GET /late?a", "")
	c := webtest.New((&web.Server{Root: site(t)}).Handler())
	c.Stuck = true
	c.Receive([]byte(late + late + hello1 + "GET /unfinished"))
	c.End()
	c.Stuck = false
	c.Turn()
	if got := statuses(c.Sent); got != "200 200 200" && got != "200 200 200c" || c.State() != conn.Closed {
		t.Errorf("%q, %v", got, c.State())
	}
}

// waiter keeps its exchanges, for the test to answer.
type waiter struct {
	exchanges []*web.Exchange
	closed    int
	why       error
}

func (w *waiter) Serve(x *web.Exchange) {
	w.exchanges = append(w.exchanges, x)
	x.OnClosed(func(why error) { w.closed, w.why = w.closed+1, why })
}

func TestPipelineWaits(t *testing.T) {
	w := &waiter{}
	c := webtest.New((&web.Server{Root: w}).Handler())
	for range 3 {
		c.Receive([]byte(hello1))
	}
	if len(w.exchanges) != 1 || !c.Paused {
		t.Fatalf("%d exchanges at once, reading paused: %v", len(w.exchanges), c.Paused)
	}
	x := w.exchanges[0]
	if string(x.Path()) != "/hello" || string(x.Host()) != "a" || string(x.Request().MethodToken()) != "GET" {
		t.Errorf("the request has changed: %s %s %s", x.Request().MethodToken(), x.Host(), x.Path())
	}
	for i := range 3 {
		w.exchanges[i].Reply([]byte{byte('a' + i)})
		c.Turn()
	}
	answers, err := webtest.Read(c.Sent, "GET", "GET", "GET")
	if err != nil || answers[0].Body+answers[1].Body+answers[2].Body != "abc" || c.Attached() != nil || c.Paused {
		t.Errorf("%v: %q, attached %v, paused %v", err, c.Sent, c.Attached(), c.Paused)
	}
}

// TestClientLeaves tells a handler that nobody waits any more. What it does afterwards has no effect on anybody.
func TestClientLeaves(t *testing.T) {
	w := &waiter{}
	h := (&web.Server{Root: w}).Handler()
	c := webtest.New(h)
	c.Receive([]byte(hello1))
	c.Abort(conn.ErrPressure)
	c.Turn()
	if w.closed != 1 || w.why != conn.ErrPressure {
		t.Fatalf("told %d times, %v", w.closed, w.why)
	}
	other := webtest.New(h)
	other.Receive([]byte(hello1))
	old, young := w.exchanges[0], w.exchanges[1]
	if old == young {
		t.Fatal("the exchange was used again, although its handler may hold it")
	}
	old.Reply([]byte("x"))
	old.Begin(-1)
	old.Write([]byte("x"))
	old.End()
	old.PauseBody()
	old.ResumeBody()
	old.Abort(nil)
	if old.Remote().IsValid() || old.Ref().Post(nil) || !old.Answered() || old.Conn() != nil {
		t.Error("the exchange still leads somewhere")
	}
	young.Reply([]byte("y"))
	other.Turn()
	if answers, err := webtest.Read(other.Sent, "GET"); err != nil || answers[0].Body != "y" {
		t.Errorf("%v: %q", err, other.Sent)
	}
}

func TestOutputBound(t *testing.T) {
	s := &web.Server{
		Root:   web.HandlerFunc(func(x *web.Exchange) { x.Reply(make([]byte, 10_000)) }),
		Limits: web.Limits{OutputBytes: 25_000},
	}
	c := webtest.New(s.Handler())
	c.Stuck = true
	c.Receive([]byte(strings.Repeat(hello1, 10)))
	if q := c.Queued(); q > 40_000 || !c.Paused {
		t.Errorf("%d bytes queued, paused %v", q, c.Paused)
	}
	for range 10 {
		if c.Leave(math.MaxInt64); c.Queued() > 40_000 {
			t.Errorf("%d bytes queued", c.Queued())
		}
	}
	c.Stuck = false
	c.Turn()
	if got := statuses(c.Sent); got != strings.Repeat("200 ", 9)+"200" || c.Paused || c.Attached() != nil {
		t.Errorf("%s, paused %v, attached %v", got, c.Paused, c.Attached())
	}
}

func TestRequestsPerConnection(t *testing.T) {
	c := webtest.New((&web.Server{Root: site(t), Limits: web.Limits{Requests: 3}}).Handler())
	for range 5 {
		c.Receive([]byte(hello1))
	}
	if got := statuses(c.Sent); got != "200 200 200c" || c.State() != conn.Closed {
		t.Errorf("%s, %v", got, c.State())
	}
}
