package servetest

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// answerTime is how long a handler waits behind Ended, asking again and again whether its bytes were delivered.
const answerTime = 100 * time.Millisecond

// inquiry is a connection whose handler watches a request, and what it found out.
type inquiry struct {
	call *call
	c    conn.Conn
	peer net.Conn
	said chan bool // when it was asked in vain for long enough, or at the end
}

// inquire makes a connection: a warm one has had an exchange already.
func (o *office) inquire(l net.Listener, warm bool) *inquiry {
	o.t.Helper()
	q := &inquiry{said: make(chan bool, 8)}
	came := make(chan bool, 1)
	var until int64
	ask := func(c conn.Conn) {
		undelivered := c.Undelivered()
		if !undelivered && c.Now() < until {
			c.SetTimer(int64(8 * time.Millisecond))
			return
		}
		q.said <- undelivered
		c.Abort(errMine)
	}
	sc := script{
		received: func(conn.Conn, []byte) int { came <- true; return 0 },
		expired:  ask,
		ended: func(c conn.Conn) {
			until = c.Now() + int64(answerTime)
			ask(c)
		},
		closed: func(c conn.Conn, _ error) { q.said <- c.Undelivered() },
	}
	target := conn.Target{Address: l.Addr().(*net.TCPAddr).AddrPort()}
	q.call = o.dial(target, sc, "", func(c conn.Conn) { q.c = c })
	peer, err := l.Accept()
	if err != nil {
		o.t.Fatal(err)
	}
	q.peer = peer
	await(o.t, q.call.open, "Opened")
	if warm {
		o.on(func() { q.c.Write([]byte("warm")) })
		want(o.t, peer, "warm")
		send(o.t, peer, []byte("answer"))
		await(o.t, came, "an answer")
	}
	return q
}

// request sends 200 bytes that are watched.
func (q *inquiry) request() {
	q.c.Watch()
	q.c.Write(make([]byte, 200))
}

// reset ends the peer by a reset.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// fate is one way in which a request may meet its end.
type fate struct {
	name  string
	run   func(q *inquiry)
	want  bool
	reset bool // it is closed for ECONNRESET
}

// fates are all of them that can be told apart.
func (o *office) fates() []fate {
	return []fate{
		{"it had closed before", func(q *inquiry) {
			o.on(func() { // the thread hears of nothing meanwhile
				_ = q.peer.Close()
				q.request()
			})
		}, true, false},
		{"it had closed before, and more is sent", func(q *inquiry) {
			o.on(func() {
				_ = q.peer.Close()
				q.request()
				q.c.Ref().Post(func(c conn.Conn) { c.Write([]byte("more")) })
			})
		}, true, false},
		{"it reads and closes", func(q *inquiry) {
			o.on(q.request)
			q.take(200)
			_ = q.peer.Close()
		}, false, false},
		{"it reads, answers a byte and closes", func(q *inquiry) {
			o.on(q.request)
			q.take(200)
			_, _ = q.peer.Write([]byte("x"))
			_ = q.peer.Close()
		}, false, false},
		{"it reads and resets", func(q *inquiry) {
			o.on(q.request)
			q.take(200)
			reset(q.peer)
		}, false, true},
		{"it reads a part and resets", func(q *inquiry) {
			o.on(q.request)
			q.take(100)
			reset(q.peer)
		}, false, true},
		{"it reads nothing and resets", func(q *inquiry) {
			o.on(q.request)
			q.take(0)
			reset(q.peer)
		}, false, true},
		{"it reads a part and closes, which resets", func(q *inquiry) {
			o.on(q.request)
			q.take(100)
			_ = q.peer.Close()
		}, false, true},
	}
}

// take reads n bytes of a request.
func (q *inquiry) take(n int) { _, _ = io.ReadFull(q.peer, make([]byte, n)) }

// evidence looks at each way in which a request may meet its end, with connections that are fresh and warm: only what a
// peer that had closed before has answered with a reset counts as undelivered.
func evidence(t *testing.T, s Suite) {
	const tries = 50
	o := openOffice(t, s, nil)
	if o == nil {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range o.fates() {
		for _, warm := range []bool{false, true} {
			var all [tries]*inquiry
			for i := range all {
				all[i] = o.inquire(l, warm)
			}
			for _, q := range all {
				row.run(q)
			}
			for i, q := range all {
				why, said := q.call.end(), false
				close(q.said)
				for answer := range q.said {
					said = said || answer
				}
				if said != row.want || row.reset != errors.Is(why, syscall.ECONNRESET) {
					t.Errorf("%s, warm %v, try %d: undelivered: %v; closed for %v", row.name, warm, i, said, why)
				}
				_ = q.peer.Close()
			}
		}
	}
	_ = l.Close()
	o.stop()
}

// alive looks at connections whose peer is quiet, has spoken, has ended or is gone, while the thread hears of nothing.
func alive(t *testing.T, s Suite) {
	o := openOffice(t, s, nil)
	if o == nil {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		act  func(c net.Conn)
		want bool
	}{
		{"quiet", func(net.Conn) {}, true},
		{"has spoken", func(c net.Conn) { _, _ = c.Write([]byte("unasked")) }, false},
		{"has ended", func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }, false},
		{"is gone", reset, false},
	} {
		for _, warm := range []bool{false, true} {
			q := o.inquire(l, warm)
			var is bool
			o.on(func() {
				row.act(q.peer)
				is = q.c.Alive()
			})
			if is != row.want {
				t.Errorf("%s, warm %v: alive: %v", row.name, warm, is)
			}
			reset(q.peer)
			_ = q.call.end()
		}
	}
	_ = l.Close()
	o.stop()
}
