package web_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

func TestContinue(t *testing.T) {
	const interim = "HTTP/1.1 100 Continue\r\n\r\n"
	head := func(path string) string {
		return request("POST "+path, "", "Content-Length: 3", "Expect: 100-continue")
	}
	for _, c := range []struct {
		name    string
		steps   []step
		interim bool
		answers string
		state   conn.State
	}{
		{"wanted", []step{head("/echo"), "abc"}, true, "200", conn.Open},
		{"wanted, but already there", []step{head("/echo") + "a", "bc"}, false, "200", conn.Open},
		{"not wanted", []step{head("/hello")}, false, "200c", conn.Open},
		{"not wanted, then gone", []step{head("/hello"), 3 * time.Second}, false, "200c", conn.Closed},
		{"not wanted, but already there", []step{head("/hello") + "abc"}, false, "200", conn.Open},
		{"without content", []step{request("GET /echo", "", "Expect: 100-continue")}, false, "200", conn.Open},
		{
			"HTTP/1.0",
			[]step{"POST /echo HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", "abc"},
			false,
			"200c", conn.Closed,
		},
	} {
		got := play(&web.Server{Root: site(t)}, c.steps...)
		if strings.HasPrefix(string(got.Sent), interim) != c.interim {
			t.Errorf("%s: %q", c.name, got.Sent)
		}
		if answers := statuses([]byte(strings.TrimPrefix(string(got.Sent), interim))); answers != c.answers {
			t.Errorf("%s: answers %q, not %q: %q", c.name, answers, c.answers, got.Sent)
		}
		if got.State() != c.state {
			t.Errorf("%s: %v", c.name, got.State())
		}
	}
}

func TestBodyLimits(t *testing.T) {
	limits := web.Limits{BodyBytes: 10, DiscardBytes: 5}
	chunked := func(path string, chunks ...string) string {
		return request("POST "+path, strings.Join(chunks, "")+"0\r\n\r\n", "Transfer-Encoding: chunked")
	}
	const five = "5\r\nabcde\r\n"
	for _, c := range []struct {
		in      string
		answers string
		state   conn.State
	}{
		{chunked("/echo", five, five), "200", conn.Open},
		{chunked("/echo", five, five, five), "413", conn.Open}, // lingers
		{chunked("/both", five, five, five), "!", conn.Open},   // broken off behind what was queued
		{request("POST /echo", "0123456789", "Content-Length: 10"), "200", conn.Open},
		{request("POST /echo", "", "Content-Length: 11"), "413", conn.Open},
		{chunked("/hello", five) + hello1, "200 200", conn.Open},
		{chunked("/hello", five, five) + hello1, "200", conn.Open},
		{request("POST /hello", "01234", "Content-Length: 5") + hello1, "200 200", conn.Open},
		{request("POST /hello", "012345", "Content-Length: 6") + hello1, "200c", conn.Open},
		{chunked("/late", five, five) + hello1, "200 200", conn.Open},
	} {
		got := play(&web.Server{Root: site(t), Limits: limits}, c.in)
		if answers := statuses(got.Sent); answers != c.answers || got.State() != c.state {
			t.Errorf("%q: %q and %v, not %q and %v", c.in, answers, got.State(), c.answers, c.state)
		}
	}
}

// TestBackpressure has a handler stop the content and let it come again, at every place.
func TestBackpressure(t *testing.T) {
	var x *web.Exchange
	var all []byte
	s := &web.Server{Root: web.HandlerFunc(func(on *web.Exchange) {
		if on.Method().String() == "GET" {
			on.Fail(404)
			return
		}
		x, all = on, nil
		x.OnBody(func(chunk []byte, done bool) {
			all = append(all, chunk...)
			if x.PauseBody(); done {
				x.Reply(all)
			}
		})
	})}
	in := request("POST /", "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", "Transfer-Encoding: chunked") + hello1
	for cut := 1; cut < len(in); cut++ {
		c := webtest.New(s.Handler())
		c.Receive([]byte(in[:cut]))
		c.Receive([]byte(in[cut:]))
		for i := 0; c.Paused && i < 10; i++ {
			x.ResumeBody()
			c.Turn()
		}
		if got := statuses(c.Sent); got != "200 404" || string(all) != "abcdefg" || c.Attached() != nil {
			t.Fatalf("cut at %d: %q, content %q, attached %v", cut, got, all, c.Attached())
		}
	}
}

// TestPausedBodyHasNoDeadline: a handler that makes its client wait does not punish it for waiting.
func TestPausedBodyHasNoDeadline(t *testing.T) {
	s := &web.Server{
		Root:     web.HandlerFunc(func(x *web.Exchange) { x.OnBody(func([]byte, bool) {}); x.PauseBody() }),
		Timeouts: web.Timeouts{Body: time.Second},
	}
	c := play(s, request("POST /", "a", "Content-Length: 3"), 10*time.Second)
	if c.State() != conn.Open || len(c.Sent) > 0 || !c.Paused {
		t.Errorf("%v, %q, paused %v", c.State(), c.Sent, c.Paused)
	}
}

func TestBodyBreaksOff(t *testing.T) {
	type outcome struct{ body, closed string }
	post := request("POST /", "ab", "Content-Length: 3")
	for name, steps := range map[string][]step{
		"the client half-closes":  {post, end},
		"the client is too slow":  {post, time.Hour},
		"the connection is lost":  {post, func(c *webtest.Conn) { c.Abort(io.EOF); c.Turn() }},
		"the chunks are wrong":    {request("POST /", "2\r\nab\r\nx", "Transfer-Encoding: chunked")},
		"the content is too long": {request("POST /", "2\r\nab\r\n9\r\n123456789\r\n", "Transfer-Encoding: chunked")},
	} {
		var got outcome
		s := &web.Server{Limits: web.Limits{BodyBytes: 10}, Root: web.HandlerFunc(func(x *web.Exchange) {
			x.OnBody(func(chunk []byte, done bool) { got.body += fmt.Sprint(string(chunk), done, " ") })
			x.OnClosed(func(error) { got.closed += "closed " })
		})}
		c := play(s, steps...)
		if want := (outcome{"abfalse ", "closed "}); got != want {
			t.Errorf("%s: %+v, %q", name, got, c.Sent)
		}
	}
}

// noted keeps what a log is told.
type noted []string

func (n *noted) Log(r *web.Record) {
	*n = append(*n, fmt.Sprintf("%s %s 1.%d %s %d %d %v %s %s %s", r.Method, r.Target, r.Minor, r.Host, r.Status, r.Bytes,
		r.Duration, r.UserAgent, r.Referer, r.Remote))
}

func TestLog(t *testing.T) {
	var n noted
	s := &web.Server{Root: site(t), Log: &n}
	c := play(s, request("GET /hello?a", "", "User-Agent: me", "Referer: there"), "HEAD /hello", 3*time.Second,
		" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", request("GET /late?b", ""), request("GET /stream", ""), "x\r\n\r\n")
	want := []string{
		"GET /hello?a 1.1 a 200 5 0s me there 127.0.0.1:50000",
		"HEAD /hello 1.0  200 0 3s   127.0.0.1:50000",
		"GET /late?b 1.1 a 200 6 0s   127.0.0.1:50000",
		"GET /stream 1.1 a 200 7 0s   127.0.0.1:50000",
		"  1.1  400 40 0s   127.0.0.1:50000",
	}
	if strings.Join(n, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q\n%s", c.Sent, strings.Join(n, "\n"))
	}
	n = nil
	s.LogSample = 0.25
	c = webtest.New(s.Handler())
	for range 100 {
		c.Receive([]byte(hello1))
	}
	if len(n) != 25 {
		t.Errorf("%d of 100 requests logged, not 25", len(n))
	}
}

func TestHooksAndCounts(t *testing.T) {
	var trail []string
	own := &meter.Set{}
	s := &web.Server{
		Root:     site(t),
		Meter:    func() *meter.Set { return own },
		Panicked: func(x *web.Exchange, v any) { trail = append(trail, fmt.Sprint("panic ", v == errPanic)) },
		Begun: func(x *web.Exchange) {
			trail = append(trail, "begun "+string(x.Path()))
			if string(x.Path()) == "/forbidden" {
				x.Fail(403)
			}
		},
		Done: func(x *web.Exchange) { trail = append(trail, "done") },
	}
	play(s, hello1, request("GET /forbidden", ""), request("GET /panic", ""))
	want := "begun /hello, done, begun /forbidden, done, begun /panic, panic true, done"
	if got := strings.Join(trail, ", "); got != want {
		t.Errorf("%s", got)
	}
	own.Publish()
	counts := own.Snapshot()
	if counts[meter.Requests] != 3 || counts[meter.Responses2xx] != 1 || counts[meter.Responses4xx] != 1 ||
		counts[meter.Responses5xx] != 1 {
		t.Errorf("%v", counts)
	}
}

// TestStreamIsFed has a handler write when its output has left, and not before.
func TestStreamIsFed(t *testing.T) {
	left, most := 50, int64(0)
	s := &web.Server{Limits: web.Limits{OutputBytes: 10_000}, Root: web.HandlerFunc(func(x *web.Exchange) {
		x.Begin(-1)
		more := func() {
			for ; left > 0 && !x.Full(); left-- {
				x.Write(make([]byte, 3000))
				most = max(most, x.Conn().Queued())
			}
			if left == 0 {
				x.End()
			}
		}
		x.OnFlushed(more)
		more()
	})}
	c := play(s, hello1+hello1)
	answers, err := webtest.Read(c.Sent, "GET", "GET")
	if err != nil || len(answers[0].Body) != 150_000 || most > 14_000 || c.Attached() != nil {
		t.Errorf("%v, %d bytes sent, at most %d queued, attached %v", err, len(c.Sent), most, c.Attached())
	}
}

func TestHandlersOwnTime(t *testing.T) {
	// What a handler writes long after the request is given the whole write timeout.
	w := &waiter{}
	s := &web.Server{Root: w, Timeouts: web.Timeouts{Write: 10 * time.Second}}
	c := play(s, hello1, 60*time.Second, stick)
	w.exchanges[0].Begin(-1)
	w.exchanges[0].Write([]byte("x"))
	c.Advance(9 * time.Second)
	if c.State() != conn.Open {
		t.Fatalf("closed too soon: %v", c.Why)
	}
	c.Advance(2 * time.Second)
	if c.State() != conn.Closed || c.Why != conn.ErrTimeout || w.closed != 1 {
		t.Errorf("%v, %v, told %d times", c.State(), c.Why, w.closed)
	}
}

func TestTrailers(t *testing.T) {
	s := &web.Server{Root: web.HandlerFunc(func(x *web.Exchange) {
		kind, _ := x.Field(http1.ContentType)
		x.OnBody(func(_ []byte, done bool) {
			if done && x.Trailers() == 1 {
				name, value := x.TrailerAt(0)
				x.AddBytes("X-Got", append([]byte("\r\n\x7f\t"), value...))
				x.AddBytes("Bad Name", value)
				x.AddBytes("Content-Length", value)
				x.Reply(fmt.Appendf(nil, "%s %v %s", name, x.HasBody(), kind))
			}
		})
	})}
	a, err := webtest.Ask(s.Handler(), request("POST /", "1\r\na\r\n0\r\nSum: 1\r\n\r\n", "Transfer-Encoding: chunked",
		"Content-Type: text/x"))
	if err != nil || a.Body != "Sum true text/x" || a.Header.Get("X-Got") != "1" {
		t.Errorf("%v, %q, %v", err, a.Body, a.Header)
	}
}

// TestEarlyAnswer has a handler that wants the content and then answers before it has come: what is left is thrown away
// if it is little, and ends the connection if it is much.
func TestEarlyAnswer(t *testing.T) {
	s := &web.Server{
		Limits: web.Limits{DiscardBytes: 10},
		Root: web.HandlerFunc(func(x *web.Exchange) {
			x.OnBody(func([]byte, bool) { x.Reply([]byte("enough")) })
		}),
	}
	for length, want := range map[string]string{"10": "200 200", "12": "200"} {
		c := play(s, request("POST /", "a", "Content-Length: "+length), "123456789", hello1)
		if got := statuses(c.Sent); got != want {
			t.Errorf("%s bytes: %q, not %q", length, got, want)
		}
	}
}

func TestNoMemory(t *testing.T) {
	c := webtest.New(hello().Handler())
	c.Starved = true
	c.Receive([]byte(hello1 + hello1))
	if c.State() != conn.Closed || len(c.Sent) > 0 {
		t.Errorf("%v, %q", c.State(), c.Sent)
	}
}

func TestUnlimited(t *testing.T) {
	s := &web.Server{Root: never, Timeouts: web.Timeouts{
		Head: web.Unlimited, Body: web.Unlimited, Idle: web.Unlimited, Write: web.Unlimited, Request: web.Unlimited,
	}}
	c := play(s, 1000*time.Hour, "GET /", 1000*time.Hour, " HTTP/1.1\r\nHost: a\r\n\r\n", 1000*time.Hour)
	if c.State() != conn.Open || c.Timer != 0 {
		t.Errorf("%v, timer %d", c.State(), c.Timer)
	}
}

// TestAnswersAreRepaired: a handler's mistakes do not reach the wire.
func TestAnswersAreRepaired(t *testing.T) {
	for name, f := range map[string]func(x *web.Exchange){
		"500 ":                            func(x *web.Exchange) { x.Status(99); x.Reply(nil) },
		"500 500 Internal Server Error\n": func(x *web.Exchange) { x.Fail(200) },
		"500 a":                           func(x *web.Exchange) { x.Respond(web.NewAnswer(100, "", []byte("a"))) },
		"304 ":                            func(x *web.Exchange) { x.Respond(web.NewAnswer(304, "text/plain", []byte("a"))) },
		"200 b": func(x *web.Exchange) {
			x.Respond(web.NewAnswer(200, "", []byte("b"), http1.FieldLine{Name: "keep-alive", Value: "x"},
				http1.FieldLine{Name: "DATE", Value: "x"}))
		},
	} {
		a, err := webtest.Ask((&web.Server{Root: web.HandlerFunc(f)}).Handler(), hello1)
		if got := fmt.Sprint(a.StatusCode, " ", a.Body); err != nil || got != name {
			t.Errorf("%q, not %q: %v", got, name, err)
		}
		if a.Header.Get("Keep-Alive") != "" || len(a.Header["Date"]) != 1 {
			t.Errorf("%v", a.Header)
		}
	}
}
