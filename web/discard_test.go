package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/web"
)

// TestUnwantedContent sends content to handlers that do not take it: they have answered before it comes. It is bounded
// like any other, in its size and in its pauses, and what goes beyond a bound ends the connection: a second answer to
// one request there cannot be.
func TestUnwantedContent(t *testing.T) {
	root := site(t)
	const limit, discard = 30, 20
	limits := web.Limits{BodyBytes: limit, DiscardBytes: discard}
	timeouts := web.Timeouts{Body: 20 * time.Second, Request: 100 * time.Second, Linger: 2 * time.Second}
	chunked := request("POST /hello", "", "Transfer-Encoding: chunked")
	length := func(n string) string { return request("POST /hello", "", "Content-Length: "+n) }
	const ten = "a\r\n0123456789\r\n"
	lots := strings.Repeat(ten, 1000)
	small := web.Limits{BodyBytes: 15, DiscardBytes: 1 << 20}
	for _, c := range []struct {
		name    string
		limits  web.Limits
		steps   []step
		answers string
		state   conn.State
		counter meter.Counter
	}{
		{"a length beyond the limit", limits, []step{length("31")}, "413", conn.Open, 0},
		{"a length beyond the limit, then gone", limits, []step{length("31"), 3 * time.Second}, "413", conn.Closed, 0},
		{"a length that is too much to throw away", limits, []step{length("30"), hello1}, "200c", conn.Open, 0},
		{"a length that is not", limits, []step{length("20"), strings.Repeat("x", 20), hello1}, "200 200", conn.Open, 0},
		{"chunks", limits, []step{chunked, ten, ten, "0\r\n\r\n", hello1}, "200 200", conn.Open, 0},
		{
			"chunks, too much to throw away", limits,
			[]step{chunked, ten, ten, "1\r\nx\r\n0\r\n\r\n", hello1},
			"200", conn.Open, 0,
		},
		{"chunks beyond the limit", small, []step{chunked, ten, ten, "0\r\n\r\n", hello1}, "200", conn.Open, 0},
		{"chunks beyond the limit at once", small, []step{chunked + lots, hello1}, "200", conn.Open, 0},
		{"chunks beyond the limit, then gone", small, []step{chunked, ten, ten, 3 * time.Second}, "200", conn.Closed, 0},
		{
			"chunks without an end", small,
			[]step{chunked, lots, time.Second, lots, time.Second, lots, time.Second},
			"200", conn.Closed, 0,
		},
		{"no content allowed", web.Limits{BodyBytes: -1}, []step{chunked, "1\r\nx\r\n", hello1}, "200", conn.Open, 0},
		{"a pause", limits, []step{chunked, ten, 19 * time.Second, "0\r\n\r\n", hello1}, "200 200", conn.Open, 0},
		{"too long a pause", limits, []step{chunked, ten, 21 * time.Second, hello1}, "200", conn.Open, meter.TimeoutsBody},
		{
			"too long a pause, then gone", limits,
			[]step{chunked, ten, 23 * time.Second},
			"200", conn.Closed, meter.TimeoutsBody,
		},
		{"a pause in a length", limits, []step{length("3"), 23 * time.Second}, "200", conn.Closed, meter.TimeoutsBody},
		{
			"many short pauses", limits,
			[]step{
				chunked, "1\r\n", 19 * time.Second, "x\r\n1\r\n", 19 * time.Second, "x\r\n1\r\n", 19 * time.Second, "x\r\n1\r\n",
				19 * time.Second, "x\r\n1\r\n", 19 * time.Second, "x\r\n1\r\n", 10 * time.Second,
			},
			"200", conn.Closed, meter.TimeoutsRequest,
		},
		{"no chunks at all", limits, []step{chunked, "nonsense\r\n", hello1}, "200", conn.Open, meter.ProtocolErrors},
		{"no chunks at all, then gone", limits, []step{chunked, "nonsense\r\n", 3 * time.Second}, "200", conn.Closed, 0},
	} {
		s := &web.Server{Root: root, Limits: c.limits, Timeouts: timeouts}
		got := play(s, c.steps...)
		if answers := statuses(got.Sent); answers != c.answers || got.State() != c.state {
			t.Errorf("%s: %q and %v, not %q and %v", c.name, answers, got.State(), c.answers, c.state)
		}
		if counts := s.Counts(); c.counter != 0 && counts[c.counter] != 1 {
			t.Errorf("%s: %v is %d", c.name, c.counter, counts[c.counter])
		}
		if got.State() == conn.Closed && (got.Attached() != nil || got.Why != nil) {
			t.Errorf("%s: %v is attached, closed because of %v", c.name, got.Attached(), got.Why)
		}
	}
}
