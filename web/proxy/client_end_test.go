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

// finishing goes on with exchanges whose client has ended its side.
var finishing = with(func(o *proxy.Options) { o.Finish = true })

// crowded is one endpoint that takes one connection at a time.
func crowded(_ *proxy.Options, u *upstream.Options, _ *web.Server) {
	u.Endpoints = []upstream.EndpointOptions{{Address: "127.0.0.1:9001", Connections: 1}}
}

// TestClientEnd is a client that closes in order while its request waits.
func TestClientEnd(t *testing.T) {
	for _, c := range []struct {
		name, in string
		status   int
		sent     string
	}{
		{"before the answer", get, 499, ""},
		{"a request with content", post, 499, ""},
		{"behind an interim answer", get, 499, "HTTP/1.1 103 Early Hints\r\n\r\n"},
		{"in silence within the answer", get, 200, strings.TrimSuffix(hello, "ello")},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint)
			r.send(c.in)
			if c.sent != "" {
				r.answer(c.sent)
			}
			r.client.End()
			r.turn()
			if got := r.sent(); got != c.sent {
				t.Errorf("the client got %q", got)
			}
			if r.client.State() != conn.Closed || r.upstream(0).State() != conn.Closed {
				t.Errorf("the client is %v, the upstream %v", r.client.State(), r.upstream(0).State())
			}
			if len(r.records) != 1 || r.records[0].Status != c.status || r.cause() != "client_gone" {
				t.Errorf("the log was told %+v", r.records)
			}
			if cut := c.status == 200; cut != (r.client.Why != nil) {
				t.Errorf("the client's connection ended with %v", r.client.Why)
			}
		})
	}
}

// TestClientEndInQueue has clients go that wait for a free connection: the upstream is never asked for them.
func TestClientEndInQueue(t *testing.T) {
	for _, in := range []string{get, post} {
		r := newRig(t, plain, crowded)
		first := r.client
		r.send(get)
		r.asked(0)
		r.client = r.connect()
		r.send(in)
		r.client.End()
		r.turn()
		if r.client.State() != conn.Closed || r.cause() != "client_gone" {
			t.Errorf("the client is %v, the log was told %q", r.client.State(), r.cause())
		}
		r.client = first
		r.answer(hello)
		if got := r.sent(); got != hello {
			t.Errorf("the first client got %q", got)
		}
		if got := r.asked(0); got != "" {
			t.Errorf("the upstream was asked for a client that had gone: %q", got)
		}
	}
}

// TestClientEndTogether is an end that comes with the request.
func TestClientEndTogether(t *testing.T) {
	r := newRig(t, plain, oneEndpoint)
	r.client.Receive([]byte(get))
	r.client.End()
	r.turn()
	if got := r.sent(); got != "" || r.client.State() != conn.Closed || r.cause() != "client_gone" {
		t.Errorf("the client got %q, is %v, and the log was told %q", got, r.client.State(), r.cause())
	}
}

// TestClientEndFinished is for clients that end their side and wait.
func TestClientEndFinished(t *testing.T) {
	r := newRig(t, plain, oneEndpoint, finishing)
	r.send(get)
	r.client.End()
	r.turn()
	r.answer(hello)
	if got := r.sent(); got != strings.Replace(hello, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1) {
		t.Errorf("the client got %q", got)
	}
	if r.client.State() != conn.Closed || r.client.Why != nil || r.cause() != "" {
		t.Errorf("the client is %v, %v, and the log was told %q", r.client.State(), r.client.Why, r.cause())
	}
}

// TestTrickledHead is an upstream that sends the head of its answer byte by byte.
func TestTrickledHead(t *testing.T) {
	r := newRig(t, plain, never, timeouts)
	r.send(get)
	for _, b := range []byte("HTTP/1") {
		r.advance(time.Second)
		if len(r.client.Sent) > 0 {
			break
		}
		r.answer(string(b))
	}
	if got := r.sent(); !strings.HasPrefix(got, "HTTP/1.1 504 ") || r.cause() != "first_byte_timeout" {
		t.Errorf("the client got %q, and the log was told %q", got, r.cause())
	}
	r = newRig(t, plain, never, timeouts)
	r.send(get)
	for range 3 {
		r.advance(4 * time.Second)
		r.answer("HTTP/1.1 102 Processing\r\n\r\n")
	}
	r.answer(hello)
	if got := r.sent(); !strings.HasSuffix(got, "hello") {
		t.Errorf("with interim answers the client got %q", got)
	}
}

// TestClientReset is one that does not close in order.
func TestClientReset(t *testing.T) {
	r := newRig(t, plain, oneEndpoint, finishing)
	r.send(get)
	r.client.Abort(syscall.ECONNRESET)
	r.turn()
	if r.upstream(0).State() != conn.Closed || r.cause() != "client_gone" {
		t.Errorf("the upstream is %v, the log was told %q", r.upstream(0).State(), r.cause())
	}
}
