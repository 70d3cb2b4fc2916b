package proof

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/faults"
)

// outcome is what becomes of a request that meets a fault.
type outcome struct {
	status  int    // that the client gets
	content string // all of it, or what may come of it before it breaks off
	cause   string // in the log
	seen    int64  // how often the upstream saw a GET; a POST it saw once
	broken  bool   // the client can tell that the answer is not whole
	kept    bool   // the connection to the upstream is used again
}

const failed = "502 Bad Gateway\n"

// Groups of outcomes.
var (
	badHead  = outcome{status: 502, content: failed, cause: "malformed_head", seen: 1}
	badBody  = outcome{status: 502, content: failed, cause: "malformed_body", seen: 1}
	tooLarge = outcome{status: 502, content: failed, cause: "head_too_large", seen: 1}
	closed   = outcome{status: 502, content: failed, cause: "closed_early", seen: 3}
	reset    = outcome{status: 502, content: failed, cause: "reset", seen: 3}
	late     = outcome{status: 504, content: "504 Gateway Timeout\n", cause: "first_byte_timeout", seen: 1}
	good     = outcome{status: 200, seen: 1, kept: true}
)

// with is the outcome with another content.
func (o outcome) with(content string) outcome {
	o.content = content
	return o
}

// once is the outcome with the connection to the upstream used no more.
func (o outcome) once() outcome {
	o.kept = false
	return o
}

// half is an answer that breaks off.
func half(content, cause string) outcome {
	return outcome{status: 200, content: content, cause: cause, seen: 1, broken: true}
}

// outcomes is the fault table. A POST is never sent again: whoever got it may have acted on it.
var outcomes = map[string]outcome{
	"close-before-reading": closed,
	"close-before-answer":  closed,
	"close-in-head":        closed,
	"close-in-body":        half("half", "closed_early"),
	"close-in-chunk":       half("half", "closed_early"),
	"close-before-last":    half("half", "closed_early"),
	"reset-before-reading": reset,
	"reset-before-answer":  reset,
	"reset-in-head":        reset,
	"reset-in-body":        half("half", "reset"),
	"reset-in-upload":      reset,
	"half-close":           good.with("0123456789").once(),
	"half-close-first":     closed,
	"until-close":          good.with("to the end").once(),
	"until-reset":          half("not to the", "reset"),
	"close-said":           good.with("said").once(),
	"close-unsaid":         good.with("unsaid").once(),
	"keep-alive-lie":       good.with("lie").once(),

	"silent":       late,
	"deaf":         late,
	"silent-head":  late,
	"silent-body":  half("half", "between_bytes_timeout"),
	"trickle-head": good.with("0123456789"),
	"trickle-body": good.with("0123456789"),

	"early":       good.with("early"),
	"early-close": {status: 413, content: "too much", seen: 1},
	"early-deaf":  {status: 413, content: "too much", seen: 1},

	"interim":           good,
	"interim-storm":     good,
	"continue-unasked":  good,
	"switch-unasked":    {status: 502, content: failed, cause: "unexpected_upgrade", seen: 1},
	"second-answer":     good.once(),
	"body-too-long":     good.with("0123456789").once(),
	"answer-before-all": good,

	"head-garbage":        badHead,
	"head-binary":         badHead,
	"head-version":        badHead,
	"head-status":         badHead,
	"head-status-large":   badHead,
	"head-no-colon":       badHead,
	"head-space-colon":    badHead,
	"head-fold":           badHead,
	"head-nul":            badHead,
	"head-cr":             badHead,
	"head-huge":           tooLarge,
	"head-many":           tooLarge,
	"head-without-end":    late,
	"length-twice":        badHead,
	"length-list":         badHead,
	"length-negative":     badHead,
	"length-huge":         badHead,
	"length-hexadecimal":  badHead,
	"coding-unknown":      badHead,
	"coding-not-last":     badHead,
	"chunk-size":          badBody,
	"chunk-size-negative": badBody,
	"chunk-size-huge":     badBody,
	"chunk-too-long":      half("abc", "malformed_body"),
	"chunk-extension":     badBody,
	"trailer-huge":        badBody,
}

// shortTimes are timeouts that faults run into soon. They are for these alone: a busy machine may keep a good server
// for as long.
var shortTimes = []string{
	"upstreams.u.timeouts.first_byte=400ms", "upstreams.u.timeouts.between_bytes=400ms",
	"upstreams.u.timeouts.send=150ms",
}

// tick is the unit of time of the faults: a byte in a second, made shorter.
const tick = 3 * time.Millisecond

// TestFaults sends every fault a request, and then another over the same connection of the client: what the client
// gets, what the log says, how often the upstream was asked, and what is left.
func TestFaults(t *testing.T) {
	names := faults.Names()
	for name := range outcomes {
		if !slices.Contains(names, name) {
			t.Errorf("there is no fault %s", name)
		}
	}
	for _, name := range names {
		want, ok := outcomes[name]
		if !ok {
			t.Errorf("nothing is known of the fault %s", name)
		}
		for _, method := range []string{"GET", "POST"} {
			t.Run(name+"/"+method, func(t *testing.T) { meet(t, name, method, &want) })
		}
	}
}

func meet(t *testing.T, name, method string, want *outcome) {
	before := measure(t)
	s := upstreamOf(t, faults.Options{Tick: tick, Record: true})
	var times []string
	if strings.HasSuffix(want.cause, "_timeout") || strings.Contains(name, "deaf") {
		times = shortTimes
	}
	p := start(t, []string{s.Address()}, times...)
	c := p.dial()
	rest := "\r\n"
	if method == "POST" {
		rest = "Content-Length: 3\r\n\r\nabc"
	}
	c.send(method + " /fault/" + name + " HTTP/1.1\r\nHost: proof\r\n" + rest)
	if gone := want.check(t, c, method); gone {
		_ = c.Close()
		c = p.dial()
	}
	c.send("GET /after HTTP/1.1\r\nHost: proof\r\n\r\n")
	if a := c.must("GET"); a.content != "GET /after 0\n" {
		t.Errorf("the next answer is %q", a.content)
	}
	_ = c.Close()
	if !strings.Contains(name, "deaf") { // which does not notice that a connection has ended
		await(t, func() bool { return s.Counts().Open <= 1 }, func() string {
			return fmt.Sprintf("the end of connections to the upstream: %+v", s.Counts())
		})
	}
	p.returned()
	p.end()
	s.Close()
	before.checkGone(t)
	want.checkSeen(t, s, method, name)
	records := p.logged()
	if len(records) != 2 {
		t.Fatalf("lines of the access log: %+v", records)
	}
	if r := records[0]; r.Status != want.status || r.Cause != want.cause || r.Upstream != s.Address() {
		t.Errorf("the log says %+v", r)
	}
	p.explains(name, want)
}

// returned waits until nothing of an upstream is in use any more.
func (p *proxy) returned() {
	p.t.Helper()
	var last string
	await(p.t, func() bool {
		now := p.Status().Upstreams[0]
		last = fmt.Sprintf("%+v", now)
		free := now.Waiting == 0
		for _, e := range now.Endpoints {
			free = free && e.Leased == 0 && e.Open == e.Idle
		}
		return free
	}, func() string { return "the return of all connections: " + last })
}

// check looks at the answer, and reports whether the connection has ended.
func (o *outcome) check(t *testing.T, c *client, method string) (gone bool) {
	t.Helper()
	a, err := c.answer(method)
	for err == nil && a.StatusCode < 200 {
		a, err = c.answer(method)
	}
	switch {
	case o.broken && err != nil: // the reset of the connection took along what was on its way
		return true
	case err != nil:
		t.Fatalf("no answer: %v", err)
	case a.StatusCode != o.status || a.content != o.content:
		t.Errorf("the answer is %d %.60q; want %d %q", a.StatusCode, a.content, o.status, o.content)
	case o.broken != (a.broken != nil):
		t.Errorf("the answer is %.60q and breaks off with %v", a.content, a.broken)
	}
	told := strings.Join(a.Header["Proxy-Status"], "")
	if wrong := o.status >= 500; wrong != strings.HasSuffix(told, `; details="`+o.cause+`"`) {
		t.Errorf("Proxy-Status is %q", told)
	}
	if a.broken != nil || a.Close {
		c.ended()
		return true
	}
	return false
}

// checkSeen looks at what the upstream saw.
func (o *outcome) checkSeen(t *testing.T, s *faults.Server, method, name string) {
	t.Helper()
	want := o.seen
	if method == "POST" {
		want = 1
	}
	seen, connections := int64(0), map[int64]bool{}
	for _, r := range s.Requests() {
		connections[r.Connection] = true
		switch {
		case r.Wrong != "":
			t.Errorf("the upstream got what is no request: %s in %q", r.Wrong, r.Head)
		case strings.Contains(r.Target, name):
			seen++
		}
	}
	if seen != want {
		t.Errorf("the upstream was asked %d times, not %d", seen, want)
	}
	if kept := int64(len(connections)) == seen; kept != o.kept {
		t.Errorf("kept: %v; %d connections for %d requests and one more", kept, len(connections), seen)
	}
}
