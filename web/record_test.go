package web_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// lines is a log in memory.
type lines []web.Record

func (l *lines) Log(r *web.Record) { *l = append(*l, *r) }

// TestLogOfWhatWasSent has large answers cut off, or not, and wants the log to say when, how much of them left, and why
// no more.
func TestLogOfWhatWasSent(t *testing.T) {
	const size = 1_000_000
	large := []byte(strings.Repeat("0123456789", size/10))
	answer := web.NewAnswer(200, "", large)
	file := open(t, string(large))
	for name, way := range map[string]func(x *web.Exchange){
		"an answer": func(x *web.Exchange) { x.Respond(answer) },
		"a reply":   func(x *web.Exchange) { x.Reply(large) },
		"a file":    func(x *web.Exchange) { file.Hold(); x.ReplyFile(file, 0, size) },
	} {
		for _, end := range []struct {
			name  string
			act   func(c *webtest.Conn)
			left  int
			cause string
		}{
			{"taken", func(c *webtest.Conn) { c.Stuck = false; c.Turn() }, size, ""},
			{"gone", func(c *webtest.Conn) { c.Abort(conn.ErrAborted); c.Turn() }, 50_000, "client_gone"},
			{"stalled", func(c *webtest.Conn) { c.Advance(time.Hour) }, 50_000, "client_timeout"},
			{"out of memory", func(c *webtest.Conn) { c.Abort(syscall.ENOBUFS); c.Turn() }, 50_000, "no_memory"},
			{"stopped", func(c *webtest.Conn) { c.Abort(conn.ErrStopping); c.Turn() }, 50_000, "stopping"},
		} {
			var log lines
			s := &web.Server{Root: web.HandlerFunc(way), Log: &log, LogSample: 1}
			c := webtest.New(s.Handler())
			c.Receive([]byte("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")) // something before it on the connection
			c.Stuck = true
			before := len(c.Sent)
			c.Receive([]byte(request("GET /", "")))
			c.Advance(time.Second)
			c.Leave(50_000)
			head := strings.Index(string(c.Sent[before:]), "\r\n\r\n") + 4
			if len(log) != 1 {
				t.Fatalf("%s, %s: logged before it has left", name, end.name)
			}
			end.act(c)
			want := int64(end.left)
			if end.left < size {
				want -= int64(head)
			}
			if len(log) != 2 || log[1].Bytes != want || log[1].Cause != end.cause || log[1].Duration < time.Second {
				t.Errorf("%s, %s: %+v; want %d bytes, %q", name, end.name, log[1:], want, end.cause)
			}
		}
	}
}

// TestLogOfMalformedRequests wants them to be logged with the version of the answer.
func TestLogOfMalformedRequests(t *testing.T) {
	var log lines
	c := webtest.New((&web.Server{Root: web.HandlerFunc(nil), Log: &log, LogSample: 1}).Handler())
	c.Receive([]byte("GET / HTTP/1.1\r\nHost : a\r\n\r\n"))
	if !slices.ContainsFunc(log, func(r web.Record) bool { return r.Status == 400 && r.Minor == 1 }) {
		t.Errorf("%+v", log)
	}
}
