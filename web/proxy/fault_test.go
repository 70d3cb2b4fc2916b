package proxy_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// faultCase is what goes wrong, and what the client and the log are told of it.
type faultCase struct {
	name   string
	with   []option
	in     string       // get, if empty
	before func(r *rig) // the request
	do     func(r *rig) // behind it
	status int
	cause  string
	kind   string // of Proxy-Status
}

// never has nothing sent again.
var never = with(func(o *proxy.Options) { o.Attempts = -1 })

// timeouts are all different.
var timeouts = with(func(o *proxy.Options) {
	o.Timeouts = proxy.Timeouts{
		Send: 2 * time.Second, FirstByte: 5 * time.Second, BetweenBytes: 3 * time.Second, Exchange: 20 * time.Second,
	}
})

func refusing(err error) func(r *rig) {
	return func(r *rig) { r.dialer.Refuse = err }
}

func TestFault(t *testing.T) {
	for _, c := range faultCases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, append([]option{plain, never}, c.with...)...)
			if c.in == "" {
				c.in = get
			}
			if c.before != nil {
				c.before(r)
			}
			r.send(c.in)
			if c.do != nil {
				c.do(r)
			}
			r.turn()
			status, header, _, err := r.status("GET")
			if err != nil || status != c.status {
				t.Fatalf("the answer is %d, %v: %q", status, err, r.client.Sent)
			}
			if got, want := header.Get("Proxy-Status"), "myriad; error="+c.kind+`; details="`+c.cause+`"`; got != want {
				t.Errorf("Proxy-Status is %q, not %q", got, want)
			}
			if r.cause() != c.cause {
				t.Errorf("the log was told %q, not %q", r.cause(), c.cause)
			}
			if r.client.State() != conn.Open {
				t.Errorf("the client's connection is %v", r.client.State())
			}
			r.dialer.Refuse, r.dialer.Stuck = nil, false
			for _, u := range r.dialer.Conns {
				if u.State() < conn.Closing {
					t.Errorf("a link is still %v", u.State())
				}
			}
			r.sent()
			r.send(get) // the connection is still good
			r.answer(hello)
			if got := r.sent(); got != hello {
				t.Errorf("afterwards the client got %q", got)
			}
		})
	}
}

var faultCases = []faultCase{
	{
		name: "dialling is refused", before: refusing(syscall.ECONNREFUSED),
		status: 502, cause: "connect_refused", kind: "connection_refused",
	},
	{
		name: "dialling leads nowhere", before: refusing(syscall.EHOSTUNREACH),
		status: 502, cause: "connect_unreachable", kind: "destination_ip_unroutable",
	},
	{
		name: "dialling takes too long", before: refusing(syscall.ETIMEDOUT),
		status: 504, cause: "connect_timeout", kind: "connection_timeout",
	},
	{
		name: "dialling finds no port", before: refusing(syscall.EADDRNOTAVAIL),
		status: 503, cause: "no_ports", kind: "connection_limit_reached",
	},
	{
		name: "dialling fails", before: refusing(syscall.ENOBUFS),
		status: 502, cause: "connect_failed", kind: "destination_unavailable",
	},
	{
		name: "a reset", do: func(r *rig) { r.upstream(-1).Abort(syscall.ECONNRESET) },
		status: 502, cause: "reset", kind: "connection_terminated",
	},
	{
		name: "an end instead of an answer", do: func(r *rig) { r.upstream(-1).End() },
		status: 502, cause: "closed_early", kind: "http_response_incomplete",
	},
	{
		name: "an end within the head", do: func(r *rig) { r.answer("HTTP/1.1 200 OK\r\nA:"); r.upstream(-1).End() },
		status: 502, cause: "closed_early", kind: "http_response_incomplete",
	},
	{
		name: "no HTTP", do: func(r *rig) { r.answer("SSH-2.0-x\r\n") },
		status: 502, cause: "malformed_head", kind: "http_protocol_error",
	},
	{
		name: "two lengths", do: func(r *rig) {
			r.answer(lines("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2"))
		},
		status: 502, cause: "malformed_head", kind: "http_protocol_error",
	},
	{
		name: "length and chunks", do: func(r *rig) {
			r.answer(lines("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked"))
		},
		status: 502, cause: "malformed_head", kind: "http_protocol_error",
	},
	{
		name: "a head without an end", do: func(r *rig) { r.answer("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 15<<10)) },
		with:   []option{with(func(o *proxy.Options) { o.HeadBytes = 8 << 10 })},
		status: 502, cause: "head_too_large", kind: "http_response_header_section_size",
	},
	{
		name: "chunks that are none, at once", do: func(r *rig) {
			r.answer(lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "zz\r\n")
		},
		status: 502, cause: "malformed_body", kind: "http_response_transfer_coding",
	},
	{
		name: "a chunk size that is padded, and comes in pieces", do: func(r *rig) {
			r.answer(lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "00000000")
			r.mustWait()
			r.answer("000000005\r\nhello\r\n0\r\n\r\n")
		},
		status: 502, cause: "malformed_body", kind: "http_response_transfer_coding",
	},
	{
		name: "an end within the first chunk size", do: func(r *rig) {
			r.answer(lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "5")
			r.mustWait()
			r.upstream(-1).End()
		},
		status: 502, cause: "closed_early", kind: "http_response_incomplete",
	},
	{
		name: "a switch that nobody asked for", do: func(r *rig) {
			r.answer(lines("HTTP/1.1 101 Switching Protocols", "Upgrade: x", "Connection: upgrade"))
		},
		status: 502, cause: "unexpected_upgrade", kind: "http_protocol_error",
	},
	{
		name: "an endpoint that does not answer", with: []option{timeouts},
		do:     func(r *rig) { r.advance(4 * time.Second); r.mustWait(); r.advance(2 * time.Second) },
		status: 504, cause: "first_byte_timeout", kind: "http_response_timeout",
	},
	{
		name: "an endpoint that takes nothing", with: []option{timeouts}, before: func(r *rig) { r.dialer.Stuck = true },
		do:     func(r *rig) { r.advance(time.Second); r.mustWait(); r.advance(2 * time.Second) },
		status: 504, cause: "send_timeout", kind: "connection_write_timeout",
	},
	{
		name:   "too long for the whole",
		with:   []option{timeouts, with(func(o *proxy.Options) { o.Timeouts.FirstByte = time.Hour })},
		do:     func(r *rig) { r.advance(19 * time.Second); r.mustWait(); r.advance(2 * time.Second) },
		status: 504, cause: "exchange_timeout", kind: "http_response_timeout",
	},
}

// mustWait fails the test when an answer has been given.
func (r *rig) mustWait() {
	r.t.Helper()
	if len(r.client.Sent) > 0 {
		r.t.Fatalf("too early: %q", r.client.Sent)
	}
}

// TestFaultWithinContent is an answer that breaks off when the client has a part of it. What shows as short by itself
// is closed in order; of what lasts until the end, only a reset says that this is not the end.
func TestFaultWithinContent(t *testing.T) {
	begun := lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 10") + "hello"
	head := lines("HTTP/1.1 200 OK", dateIs, "Transfer-Encoding: chunked")
	chunks := head + "5\r\nhello\r\n"
	reset := func(r *rig) { r.upstream(-1).Abort(syscall.ECONNRESET) }
	endless := lines("HTTP/1.0 200 OK", dateIs) + "hello"
	for _, c := range []struct {
		name   string
		answer string
		do     func(r *rig)
		cause  string
		old    bool  // the client speaks HTTP/1.0
		why    error // the reset of its connection
	}{
		{"a reset", begun, reset, "reset", false, nil},
		{"an end", begun, func(r *rig) { r.upstream(-1).End() }, "closed_early", false, nil},
		{"an end within chunks", chunks, func(r *rig) { r.upstream(-1).End() }, "closed_early", false, nil},
		{"chunks that are none", chunks, func(r *rig) { r.answer("zz\r\n") }, "malformed_body", false, nil},
		{"no chunk at all", head, func(r *rig) { r.answer("zz\r\n") }, "malformed_body", false, nil},
		{"a reset where the end is the end", endless, reset, "reset", false, nil},
		{"the same for a client of HTTP/1.0", endless, reset, "reset", true, proxy.ErrBroken},
		{"silence", begun, func(r *rig) { r.advance(4 * time.Second) }, "between_bytes_timeout", false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, timeouts)
			if c.old {
				r.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
			} else {
				r.send(get)
			}
			r.answer(c.answer)
			c.do(r)
			r.turn()
			if r.client.State() != conn.Closed || r.client.Why != c.why {
				t.Errorf("the client's connection is %v, %v", r.client.State(), r.client.Why)
			}
			if _, _, _, err := r.status("GET"); err == nil && c.why == nil {
				t.Errorf("the client takes %q for the whole", r.client.Sent)
			}
			if r.cause() != c.cause || len(r.records) != 1 {
				t.Errorf("the log was told %q, %d times", r.cause(), len(r.records))
			}
			if n := len(r.dialer.Conns); n != 1 || r.upstream(0).State() != conn.Closed {
				t.Errorf("%d links, the first %v", n, r.upstream(0).State())
			}
		})
	}
}

func TestClientGone(t *testing.T) {
	for _, c := range []struct {
		name string
		held bool // the link is not made yet
		do   func(r *rig)
	}{
		{"while a link is made", true, func(*rig) {}},
		{"before an answer", false, func(*rig) {}},
		{"within an answer", false, func(r *rig) { r.answer(lines("HTTP/1.1 200 OK", "Content-Length: 10") + "hello") }},
	} {
		for _, why := range []error{nil, syscall.ECONNRESET} {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, plain)
				r.dialer.Held = c.held
				r.send(get)
				c.do(r)
				if why == nil {
					r.client.Drain()
				} else {
					r.client.Abort(why)
				}
				r.turn()
				if state := r.upstream(0).State(); state != conn.Closed && !c.held {
					t.Errorf("the link is %v", state)
				}
				r.upstream(0).Open() // it may be kept for others
				if got := r.asked(0); c.held && got != "" {
					t.Errorf("the upstream was asked %q for nobody", got)
				}
				if n := len(r.dialer.Conns); n != 1 {
					t.Errorf("%d links", n)
				}
				status := 499
				if strings.HasPrefix(c.name, "within") {
					status = 200
				}
				if r.cause() != "client_gone" || len(r.records) != 1 || r.records[0].Status != status {
					t.Errorf("the log was told %+v", r.records)
				}
			})
		}
	}
}

// TestClientFaults is about clients that break their request while it is passed on.
func TestClientFaults(t *testing.T) {
	for _, c := range []struct {
		name, in string
		do       func(r *rig)
		status   int
	}{
		{
			"chunks that are none", lines("PUT / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "3\r\nabc\r\n",
			func(r *rig) { r.send("zz\r\n") }, 400,
		},
		{
			"too slow", lines("PUT / HTTP/1.1", "Host: a", "Content-Length: 5") + "abc",
			func(r *rig) { r.advance(31 * time.Second) }, 408,
		},
		{
			"too much", lines("PUT / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "3\r\nabc\r\n",
			func(r *rig) { r.send("fffff\r\n" + strings.Repeat("x", 1<<20)) }, 413,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain)
			r.send(c.in)
			c.do(r)
			if status, _, _, err := r.status("PUT"); status != c.status || err != nil {
				t.Errorf("the answer is %d, %v", status, err)
			}
			if state := r.upstream(0).State(); state != conn.Closed {
				t.Errorf("the link is %v", state)
			}
			if slow := r.cause() == "client_timeout"; slow != (c.status == 408) {
				t.Errorf("the log was told %q", r.cause())
			}
		})
	}
}

func TestBodyLimit(t *testing.T) {
	limit := func(own, largest int64) option {
		return func(o *proxy.Options, _ *upstream.Options, s *web.Server) {
			o.BodyBytes, s.LargestBody = own, largest
			s.Limits.BodyBytes = 10
		}
	}
	put := func(n string) string { return lines("PUT / HTTP/1.1", "Host: a", "Content-Length: "+n) }
	for _, c := range []struct {
		name         string
		own, largest int64
		length       string
		status       int // 0: passed on
	}{
		{"the server's", 0, 0, "11", 413},
		{"the server's, kept", 0, 0, "10", 0},
		{"of another handler", 0, 100, "11", 413},
		{"its own", 20, 100, "20", 0},
		{"its own, broken", 20, 100, "21", 413},
		{"a smaller one of its own", 5, 0, "6", 413},
		{"none", web.Unlimited, web.Unlimited, "9223372036854775807", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, limit(c.own, c.largest))
			r.send(put(c.length))
			status, _, _, err := r.status("PUT")
			if c.status == 0 {
				if err == nil || !strings.Contains(r.asked(-1), "Content-Length: "+c.length+"\r\n") {
					t.Errorf("it was not passed on: %d", status)
				}
			} else if status != c.status || len(r.dialer.Conns) > 0 {
				t.Errorf("the answer is %d, %v; %d links", status, err, len(r.dialer.Conns))
			}
		})
	}
}

// TestLoop is a request that comes back again and again.
func TestLoop(t *testing.T) {
	vias := func(n int) string {
		return lines("GET / HTTP/1.1", "Host: a", "Via: 1.0 other, 1.1 myriad"+strings.Repeat(", 1.1 myriad", n-2),
			"Via: 1.1 myriad")
	}
	r := newRig(t, plain)
	r.send(vias(15))
	r.answer(hello)
	if got := r.sent(); got != hello {
		t.Errorf("the client got %q", got)
	}
	r.send(vias(16))
	if status, header, _, err := r.status("GET"); status != 508 || err != nil || r.cause() != "loop" ||
		!strings.Contains(header.Get("Proxy-Status"), "proxy_loop_detected") {
		t.Errorf("%d, %v, %q", status, err, r.cause())
	}
}

// TestHiddenDots are paths that lead elsewhere for whoever takes an encoded slash for a slash.
func TestHiddenDots(t *testing.T) {
	for _, path := range []string{"/a/..%2fb", "/a%2F..%2Fb", "/a%2f%2e%2e", "/..%2f..%2fetc", "/a%2f./b"} {
		r := newRig(t, plain)
		r.send(target(path))
		if status, _, _, err := r.status("GET"); status != 400 || err != nil || len(r.dialer.Conns) != 0 {
			t.Errorf("%s is answered with %d, %v, and passed on %d times", path, status, err, len(r.dialer.Conns))
		}
	}
}

func TestNoDialer(t *testing.T) {
	r := newRig(t)
	r.client.Dials = nil
	r.send(get)
	if status, header, _, err := r.status("GET"); status != 500 || err != nil || r.cause() != "no_dialer" ||
		!strings.Contains(header.Get("Proxy-Status"), "proxy_configuration_error") {
		t.Errorf("%d, %v, %q", status, err, r.cause())
	}
}
