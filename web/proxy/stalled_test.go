package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web/proxy"
)

// TestStalledEndpoint has memory be short, and an endpoint take nothing of a request.
func TestStalledEndpoint(t *testing.T) {
	r := newRig(t, plain, oneEndpoint)
	r.send(lines("PUT / HTTP/1.1", "Host: a", "Content-Length: 100000") + "content")
	r.upstream(0).Abort(conn.ErrStalled)
	r.turn()
	if status, _, _, err := r.status("PUT"); status != 504 || err != nil || r.cause() != "send_timeout" {
		t.Errorf("%d, %v, %q", status, err, r.cause())
	}
	if len(r.dialer.Conns) != 1 {
		t.Errorf("it was sent again: %d connections", len(r.dialer.Conns))
	}
}

// TestStalled is an endpoint whose machine acknowledges less than the kernel takes for it, or more.
func TestStalled(t *testing.T) {
	put := lines("PUT / HTTP/1.1", "Host: a", "Content-Length: 100000")
	send := with(func(o *proxy.Options) { o.Timeouts.Send = 10 * time.Second })
	for _, c := range []struct {
		name   string
		stuck  bool                              // the kernel takes nothing more after the head
		behind func(taken int64, step int) int64 // what is not acknowledged after a step of two seconds
		writes int                               // steps in which the client sends
		cause  string
	}{
		{"gone", false, func(taken int64, _ int) int64 { return taken }, 50, "send_timeout"},
		{"gone later", false, func(taken int64, step int) int64 { return taken - min(int64(step), 20) }, 50, "send_timeout"},
		{"stuck", true, func(taken int64, _ int) int64 { return taken }, 50, "send_timeout"},
		{"stuck, and slow", true, func(taken int64, step int) int64 { return taken - int64(step) }, 50, ""},
		{"slow", false, func(taken int64, step int) int64 { return taken - int64(step) }, 50, ""},
		{"there", false, func(int64, int) int64 { return 0 }, 50, ""},
		{"there, and the client is silent", false, func(int64, int) int64 { return 0 }, 10, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint, never, send)
			r.send(put)
			u := r.upstream(0)
			u.Stuck = c.stuck
			for step := range 50 {
				if step < c.writes {
					r.send("content")
				} else if step%10 == 0 {
					r.send("x") // within timeouts.body
				}
				u.Taken = c.behind(int64(len(u.Sent)), step)
				if r.advance(2 * time.Second); len(r.records) > 0 {
					break
				}
			}
			if c.cause == "" {
				if len(r.records) > 0 || len(r.client.Sent) > 0 {
					t.Errorf("given up: %q, %q", r.cause(), r.client.Sent)
				}
				return
			}
			if status, _, _, err := r.status("PUT"); status != 504 || err != nil || r.cause() != c.cause {
				t.Errorf("%d, %v, %q", status, err, r.cause())
			}
			if got := r.asked(0); !strings.HasPrefix(got, "PUT / ") {
				t.Errorf("the endpoint got %q", got)
			}
		})
	}
}
