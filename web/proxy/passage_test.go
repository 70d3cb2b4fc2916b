package proxy_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/web"
)

// TestPassage is what the log is told of how long the upstream's part took.
func TestPassage(t *testing.T) {
	const none = time.Duration(-1)
	begun := lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 5") + "he"
	for _, c := range []struct {
		name string
		do   func(r *rig)
		want web.Record
	}{
		{"an answer in two pieces", func(r *rig) {
			r.dialer.Held = true
			r.send(get)
			r.advance(time.Second)
			r.dialer.Held = false
			r.upstream(0).Open()
			r.advance(2 * time.Second)
			r.answer(begun)
			r.advance(4 * time.Second)
			r.answer("llo")
		}, web.Record{Status: 200, Attempts: 1, Wait: time.Second, FirstByte: 2 * time.Second, Passed: 7 * time.Second}},
		{"a second attempt", func(r *rig) {
			r.send(get)
			r.advance(time.Second)
			r.upstream(-1).Abort(syscall.ECONNRESET)
			r.turn()
			r.advance(2 * time.Second)
			r.answer(hello)
		}, web.Record{Status: 200, Attempts: 2, Wait: time.Second, FirstByte: 2 * time.Second, Passed: 3 * time.Second}},
		{"no connection", func(r *rig) {
			r.dialer.Refuse = syscall.ECONNREFUSED
			r.send(get)
			r.dialer.Refuse = nil
		}, web.Record{Status: 502, Attempts: 1, Wait: none, FirstByte: none}},
		{"no answer", func(r *rig) {
			r.send(get)
			r.advance(time.Minute)
		}, web.Record{Status: 504, Attempts: 1, FirstByte: none, Passed: time.Minute}},
		{"a client that goes", func(r *rig) {
			r.send(get)
			r.advance(time.Second)
			r.answer(begun)
			r.advance(time.Second)
			r.client.Abort(syscall.ECONNRESET)
			r.turn()
			r.client = r.connect()
		}, web.Record{Status: 200, Attempts: 1, FirstByte: time.Second, Passed: 2 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint)
			r.advance(time.Second)
			if c.do(r); len(r.records) != 1 {
				t.Fatalf("the log was told %+v", r.records)
			}
			got, w := r.records[0], c.want
			if got.Status != w.Status || got.Attempts != w.Attempts || got.Reused || got.Wait != w.Wait ||
				got.FirstByte != w.FirstByte || got.Passed != w.Passed {
				t.Errorf("%d, %d attempts: %v, %v, %v; want %+v", got.Status, got.Attempts, got.Wait, got.FirstByte,
					got.Passed, w)
			}
			for range 3 { // what came before is nothing to the next
				r.send(get)
				r.answer(hello)
			}
			if last := r.records[3]; !last.Reused || last.Wait != 0 || last.FirstByte != 0 || last.Passed != 0 {
				t.Errorf("a connection that was used before: %+v", last)
			}
		})
	}
}

// TestNoPassage is an answer of the server itself.
func TestNoPassage(t *testing.T) {
	r := newRig(t, plain)
	r.send("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")
	if last := r.records[0]; last.Wait >= 0 || last.FirstByte >= 0 || last.Passed >= 0 || last.Reused {
		t.Errorf("the log was told %+v", last)
	}
}
