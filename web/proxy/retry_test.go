package proxy_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/webtest"
)

// again are options with enough of everything.
var again = with(func(o *proxy.Options) { o.Attempts, o.Budget = 1, 1 })

var (
	post  = lines("POST / HTTP/1.1", "Host: a", "Content-Length: 3") + "abc"
	put   = strings.Replace(post, "POST", "PUT", 1)
	reset = func(r *rig) { r.upstream(-1).Abort(syscall.ECONNRESET) }
	end   = func(r *rig) { r.upstream(-1).End() }
)

// warm makes a pooled link.
func (r *rig) warm() {
	r.t.Helper()
	r.send(get)
	r.answer(hello)
	if got := r.sent(); got != hello {
		r.t.Fatalf("the first answer is %q", got)
	}
	r.asked(-1)
}

// TestStaleLink is a pooled link that turns out to be dead.
func TestStaleLink(t *testing.T) {
	half := func(r *rig) { r.answer("HTTP/1.1 2") }
	for _, c := range []struct {
		name  string
		in    string
		do    []func(r *rig)
		links int // there are in the end
		cause string
	}{
		{"a reset", get, []func(*rig){reset}, 2, ""},
		{"an end", get, []func(*rig){end}, 2, ""},
		{"with content", put, []func(*rig){reset}, 2, ""},
		{"of a request that must not be repeated", post, []func(*rig){reset}, 1, "stale_link"},
		{"after some bytes", get, []func(*rig){half, reset}, 1, "reset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint, never)
			r.warm()
			r.send(c.in)
			if len(r.dialer.Conns) != 1 {
				t.Fatal("the pooled link was not used")
			}
			for _, do := range c.do {
				do(r)
				r.turn()
			}
			if n := len(r.dialer.Conns); n != c.links {
				t.Fatalf("%d links", n)
			}
			if c.links > 1 {
				want := strings.TrimSuffix(c.in, "abc")
				if got := r.asked(1); !strings.HasPrefix(got, want[:5]) || strings.HasSuffix(got, "abc") != (want != c.in) {
					t.Errorf("the second link brought %q", got)
				}
				r.answer(hello)
				if got := r.sent(); got != hello {
					t.Errorf("the client got %q", got)
				}
			} else if status, _, _, err := r.status("GET"); status != 502 || err != nil {
				t.Errorf("the client got %d, %v", status, err)
			}
			if r.cause() != c.cause {
				t.Errorf("the log was told %q", r.cause())
			}
		})
	}
}

// TestLook is a pooled link that has ended without its thread having been told yet: it is looked at for every request
// that could not be sent again.
func TestLook(t *testing.T) {
	kept := with(func(o *proxy.Options) { o.ReplayBytes = 3 })
	for _, c := range []struct {
		name  string
		with  option
		in    string
		looks bool
	}{
		{"nothing to repeat it for", kept, get, false},
		{"content that is kept", kept, put, false},
		{"a method that must not be repeated", kept, post, true},
		{"content that is not kept", with(func(o *proxy.Options) { o.ReplayBytes = 2 }), put, true},
		{"content of unknown length", kept, lines("PUT / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint, c.with)
			r.warm()
			r.upstream(0).Paused = true
			end(r)
			r.send(c.in)
			if n := len(r.dialer.Conns); n != 2 && c.looks || n != 1 && !c.looks {
				t.Errorf("%d links", n)
			}
		})
	}
}

// TestUnsent is a request of which the kernel took nothing: any may be sent again.
func TestUnsent(t *testing.T) {
	r := newRig(t, plain, oneEndpoint, again)
	r.warm()
	r.upstream(0).Stuck = true
	r.send(post)
	reset(r)
	r.turn()
	if got := r.asked(1); !strings.HasPrefix(got, "POST ") || !strings.HasSuffix(got, "abc") {
		t.Fatalf("the second link brought %q", got)
	}
	r.answer(hello)
	if got := r.sent(); got != hello || r.cause() != "" {
		t.Errorf("the client got %q, %q", got, r.cause())
	}
}

// TestEvidence is a request that must not be repeated, on a pooled link that was dead.
func TestEvidence(t *testing.T) {
	allowed := with(func(o *proxy.Options) { o.Evidence = true })
	for _, c := range []struct {
		name  string
		with  option
		do    func(r *rig, up *webtest.Conn)
		again bool
	}{
		{"seen with a reset", allowed, func(_ *rig, up *webtest.Conn) { up.Lost = true; up.Abort(syscall.EPIPE) }, true},
		{"not seen with a reset", allowed, func(_ *rig, up *webtest.Conn) { up.Abort(syscall.ECONNRESET) }, false},
		{"seen with the end", allowed, func(_ *rig, up *webtest.Conn) { up.Lost = true; up.End() }, true},
		{"seen behind the end", allowed, func(r *rig, up *webtest.Conn) {
			up.End()
			r.turn()
			r.mustWait()
			up.Lost = true
			r.advance(20 * time.Millisecond)
		}, true},
		{"not seen behind the end", allowed, func(r *rig, up *webtest.Conn) {
			up.End()
			r.advance(100 * time.Millisecond)
			r.mustWait()
			r.advance(time.Second)
		}, false},
		{"not asked for", never, func(_ *rig, up *webtest.Conn) { up.Lost = true; up.End() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint, c.with)
			r.warm()
			r.send(post)
			c.do(r, r.upstream(0))
			r.turn()
			if n := len(r.dialer.Conns); n != 2 && c.again || n != 1 && !c.again {
				t.Fatalf("%d links", n)
			}
			if !c.again {
				if status, _, _, err := r.status("POST"); status != 502 || r.cause() != "stale_link" {
					t.Errorf("the client got %d, %v; the log %q", status, err, r.cause())
				}
				return
			}
			if got := r.asked(1); !strings.HasPrefix(got, "POST ") || !strings.HasSuffix(got, "abc") {
				t.Errorf("the second link brought %q", got)
			}
			r.answer(hello)
			if got := r.sent(); got != hello {
				t.Errorf("the client got %q", got)
			}
		})
	}
}

// TestAgain is a request that is sent to another endpoint after a failure.
func TestAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		with  option
		in    string
		do    func(r *rig)
		links int
		cause string
	}{
		{"a reset", again, get, reset, 2, ""},
		{"an end", again, get, end, 2, ""},
		{"with content", again, put, reset, 2, ""},
		{"that must not be repeated", again, post, reset, 1, "reset"},
		{"not allowed", never, get, reset, 1, "reset"},
		{"an answer that makes no sense", again, get, func(r *rig) { r.answer("x") }, 1, "malformed_head"},
		{
			"content that was not kept", with(func(o *proxy.Options) { o.Budget, o.ReplayBytes = 1, 2 }), put, reset, 1, "reset",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, c.with)
			r.send(c.in)
			c.do(r)
			r.turn()
			if n := len(r.dialer.Conns); n != c.links {
				t.Fatalf("%d links", n)
			}
			if c.links == 1 {
				if status, _, _, err := r.status("GET"); status != 502 || err != nil || r.cause() != c.cause {
					t.Errorf("the client got %d, %v; the log %q", status, err, r.cause())
				}
				return
			}
			if a, b := r.dialer.Targets[0], r.dialer.Targets[1]; a.Address == b.Address {
				t.Errorf("both went to %v", a.Address)
			}
			if a, b := r.asked(0), r.asked(1); a != b {
				t.Errorf("first %q, then %q", a, b)
			}
			r.answer(hello)
			if got := r.sent(); got != hello {
				t.Errorf("the client got %q", got)
			}
			if last := r.records[0]; last.Attempts != 2 || last.Upstream != r.dialer.Targets[1].Address.String() {
				t.Errorf("the log was told %+v", last)
			}
		})
	}
}

// TestAgainWithinContent is a request that fails while its content still comes.
func TestAgainWithinContent(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprint("chunked ", chunked), func(t *testing.T) {
			r := newRig(t, plain, again)
			if chunked {
				r.send(lines("PUT / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "3\r\nabc\r\n")
				reset(r)
				r.send("3\r\ndef\r\n0\r\nX-T: 1\r\n\r\n")
			} else {
				r.send(lines("PUT / HTTP/1.1", "Host: a", "Content-Length: 6") + "abc")
				reset(r)
				r.send("def")
			}
			want := "\r\n\r\nabcdef"
			if chunked {
				want = "\r\n\r\n6\r\nabcdef\r\n0\r\nX-T: 1\r\n\r\n" // the pieces are not kept
			}
			if got := r.asked(1); !strings.HasSuffix(got, want) {
				t.Errorf("the second link brought %q", got)
			}
			r.answer(hello)
			if got := r.sent(); got != hello {
				t.Errorf("the client got %q", got)
			}
		})
	}
}

// TestAgainChunkedWhole is a request in chunks that was complete when it failed.
func TestAgainChunkedWhole(t *testing.T) {
	r := newRig(t, plain, again)
	r.send(lines("PUT / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
	reset(r)
	r.turn()
	if a, b := r.asked(0), r.asked(1); a != b || !strings.HasSuffix(b, "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n") {
		t.Errorf("first %q, then %q", a, b)
	}
}

// TestBudget fails every request: only some of them are sent again.
func TestBudget(t *testing.T) {
	r := newRig(t, plain, with(func(o *proxy.Options) { o.Attempts, o.Budget = 3, 0.1 }))
	const requests = 200
	for range requests {
		r.client = r.connect()
		r.send(get)
		for r.client.Sent == nil {
			reset(r)
			r.turn()
		}
	}
	// The budget begins with ten.
	if n := len(r.dialer.Conns) - requests; n < 9+requests/10 || n > 11+requests/10 {
		t.Errorf("%d requests were sent again %d times", requests, n)
	}
}

// TestEndpointsGone has both endpoints refuse, and come back.
func TestEndpointsGone(t *testing.T) {
	r := newRig(t, plain, again)
	r.dialer.Refuse = syscall.ECONNREFUSED
	r.send(get)
	if status, _, _, _ := r.status("GET"); status != 502 || r.cause() != "connect_refused" {
		t.Fatalf("%d, %q", status, r.cause())
	}
	r.dialer.Refuse = nil
	r.sent()
	for range 100 {
		if r.client.State() != conn.Open {
			r.client = r.connect()
		}
		r.advance(1e9)
		r.sent()
		r.send(get)
		if last := r.upstream(-1); last.State() == conn.Open && len(last.Sent) > 0 {
			r.answer(hello)
			if got := r.sent(); got != hello {
				t.Errorf("the client got %q", got)
			}
			return
		}
	}
	t.Error("the endpoints never came back")
}
