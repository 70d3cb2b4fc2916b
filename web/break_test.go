package web_test

import (
	"io"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// TestBreak is an answer that breaks off in the turn in which it began: what there is of it goes out, and then comes an
// end that nobody takes for that of the answer. It makes no difference whether the client had a part of it before.
func TestBreak(t *testing.T) {
	for _, c := range []struct {
		name, in string
		length   int64
		why      error // the reset behind it
	}{
		{"by length", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 9, nil},
		{"in chunks", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", -1, nil},
		{"until the end", "GET / HTTP/1.0\r\n\r\n", -1, io.ErrNoProgress},
	} {
		t.Run(c.name+", begun before", func(t *testing.T) {
			var x *web.Exchange
			s := &web.Server{Root: web.HandlerFunc(func(is *web.Exchange) {
				x = is
				x.Begin(c.length)
				x.Write([]byte("part"))
			})}
			k := webtest.New(s.Handler())
			k.Receive([]byte(c.in))
			k.Turn()
			x.Break(io.ErrNoProgress)
			k.Turn()
			if got := string(k.Sent); !strings.Contains(got, "part") || strings.Contains(got, "0\r\n\r\n") {
				t.Errorf("%q was sent", got)
			}
			if k.State() != conn.Closed || k.Why != c.why || k.Attached() != nil {
				t.Errorf("it is %v, because of %v, with %v", k.State(), k.Why, k.Attached())
			}
		})
		t.Run(c.name, func(t *testing.T) {
			s := &web.Server{Root: web.HandlerFunc(func(x *web.Exchange) {
				x.Begin(c.length)
				x.Write([]byte("part"))
				x.Break(io.ErrNoProgress)
			})}
			k := webtest.New(s.Handler())
			k.Stuck = true
			k.Receive([]byte(c.in))
			if len(k.Sent) > 0 || k.State() == conn.Closed {
				t.Fatalf("it is %v, and %q was sent", k.State(), k.Sent)
			}
			k.Stuck = false
			k.Turn()
			k.Turn()
			if got := string(k.Sent); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.Contains(got, "part") ||
				strings.Contains(got, "0\r\n\r\n") {
				t.Errorf("%q was sent", got)
			}
			k.End()
			if k.State() != conn.Closed || k.Why != c.why || k.Attached() != nil {
				t.Errorf("it is %v, because of %v, with %v", k.State(), k.Why, k.Attached())
			}
		})
	}
}
