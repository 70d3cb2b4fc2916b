package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// saying is a server that answers everything with a text, and counts in done.
func saying(text string, done *int) *web.Server {
	answer := web.NewAnswer(200, "text/plain", []byte(text))
	return &web.Server{
		Root: web.HandlerFunc(func(x *web.Exchange) { x.Respond(answer) }),
		Name: text,
		Done: func(*web.Exchange) { *done++ },
	}
}

const plainGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// TestReplace replaces a server under a connection that is open: what it asks next is answered by the next server.
func TestReplace(t *testing.T) {
	var first, second, third int
	old := saying("first", &first)
	c := webtest.New(old.Handler())
	for i, ask := range []func(){
		func() {},
		func() { old.Replace(saying("second", &second)) },
		func() { old.Replace(saying("third", &third)) },
	} {
		ask()
		c.Receive([]byte(plainGet))
		c.Turn()
		want := []string{"first", "second", "third"}[i]
		got := string(c.Sent)
		if c.Sent = nil; !strings.HasSuffix(got, want) || !strings.Contains(got, "Server: "+want+"\r\n") {
			t.Errorf("answer %d is %q; it should be that of the %s server", i, got, want)
		}
	}
	if first != 1 || second != 1 || third != 1 {
		t.Errorf("the servers were told of %d, %d and %d requests; each had one", first, second, third)
	}
}

// TestReplaceBetween replaces a server while a request is being answered, with another behind it: the first ends as it
// began, with the time that it had, and the second is the next server's.
func TestReplaceBetween(t *testing.T) {
	var first, second int
	var held *web.Exchange
	old := saying("first", &first)
	old.Timeouts.Request = time.Hour
	old.Root = web.HandlerFunc(func(x *web.Exchange) { held = x })
	next := saying("second", &second)
	next.Timeouts.Request = time.Second
	c := webtest.New(old.Handler())
	c.Receive([]byte(plainGet + plainGet))
	c.Turn()
	old.Replace(next)
	other := webtest.New(next.Handler())
	other.Receive([]byte(plainGet))
	c.Advance(time.Minute)
	if len(c.Sent) > 0 {
		t.Fatalf("the request that began before has been answered with %q", c.Sent)
	}
	held.Respond(web.NewAnswer(200, "text/plain", []byte("late")))
	c.Turn()
	got := string(c.Sent)
	if !strings.Contains(got, "late") || !strings.HasSuffix(got, "second") {
		t.Errorf("the connection was sent %q; it should be the late answer, and the second server's", got)
	}
	if first != 1 || second != 2 {
		t.Errorf("the servers were told of %d and %d requests; it should be 1 and 2", first, second)
	}
}

// TestReplaceLimits looks at the limits of parsing, which go for the next request too.
func TestReplaceLimits(t *testing.T) {
	var n int
	old, next := saying("first", &n), saying("second", &n)
	next.Limits.HeadBytes = 64
	c := webtest.New(old.Handler())
	long := "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64) + "\r\n\r\n"
	c.Receive([]byte(long))
	c.Turn()
	old.Replace(next)
	c.Receive([]byte(long))
	c.Turn()
	got := string(c.Sent)
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(got, "HTTP/1.1 431 ") {
		t.Errorf("the answers are %q; they should be 200 and, with the new limit, 431", got)
	}
}
