package matrix

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/myriad-server/myriad/web"
)

// times is how long anything may take. The limits are short, and awaited by reading.
var times = []behaviour{
	{name: "head that does not come", check: headTimeout},
	{name: "head that trickles", check: headTrickles},
	{name: "content that does not come", check: bodyTimeout},
	{name: "idle connection", check: idleTimeout},
	{name: "connection without a request", check: silentTimeout},
	{name: "client that does not read", check: writeTimeout},
	{name: "client that reads slowly", check: slowlyRead},
	{name: "answer that does not come", check: requestTimeout},
}

// soon is a limit that a test can wait for and a busy machine keeps, and early how much sooner it may come: clocks of
// loops have ticks.
const (
	soon  = 250 * time.Millisecond
	early = 25 * time.Millisecond
)

// late fails if something took less than the limit.
func late(t *testing.T, since time.Time) {
	t.Helper()
	if took := time.Since(since); took < soon-early {
		t.Errorf("it came after %v already", took)
	}
}

func headTimeout(t *testing.T, s *suite) {
	c := s.start(t, fmt.Sprint("timeouts.head=", soon)).dial()
	c.get("/hello").want(200)
	begun := time.Now()
	c.send("GET /hello HTTP/1.1\r\nHost: a\r\n")
	c.answer("GET").want(408).wantField("Connection", "close")
	late(t, begun)
	c.halfClose()
	c.wantEnd()
}

// headTrickles sends bytes all the time: the limit is for the whole head.
func headTrickles(t *testing.T, s *suite) {
	c := s.start(t, fmt.Sprint("timeouts.head=", soon), "timeouts.linger=0s").dial()
	begun := time.Now()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		a, err := c.read("GET")
		if err != nil || a.status != 408 {
			t.Errorf("%v: %+v", err, a)
		}
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	c.send("GET /hello HTTP/1.1\r\nX: ")
	for {
		select {
		case <-answered:
			late(t, begun)
			return
		case <-tick.C:
			_, _ = c.Write([]byte("a")) // it may come too late
		}
	}
}

func bodyTimeout(t *testing.T, s *suite) {
	c := s.serve(t, &web.Server{Root: web.HandlerFunc(collect), Timeouts: web.Timeouts{Body: soon}}).dial()
	c.send(request("POST", "/", "Content-Length: 10") + "abc")
	c.silent(soon / 4)
	begun := time.Now()
	c.send("d")
	c.answer("POST").want(408).wantField("Connection", "close")
	late(t, begun)
	c.halfClose()
	c.wantEnd()
}

func idleTimeout(t *testing.T, s *suite) {
	c := s.start(t, fmt.Sprint("timeouts.idle=", soon)).dial()
	c.get("/hello").want(200)
	c.silent(soon / 4)
	begun := time.Now()
	c.get("/hello").want(200).wantField("Connection", "")
	c.wantEnd()
	late(t, begun)
}

func silentTimeout(t *testing.T, s *suite) {
	begun := time.Now()
	c := s.start(t, fmt.Sprint("timeouts.idle=", soon)).dial()
	c.wantEnd()
	late(t, begun)
}

// writeTimeout wants a client to be cut off that takes nothing of a large answer, and not one that takes little.
func writeTimeout(t *testing.T, s *suite) {
	c := narrow(t, s.start(t, narrowly, fmt.Sprint("timeouts.write=", soon)).dial())
	c.send(request("GET", "/large.bin"))
	head, err := c.readHead()
	if err != nil {
		t.Fatal(err)
	}
	head.want(200)
	begun := time.Now()
	// Nothing is read until the server is done with the connection: it then takes nothing either.
	for {
		if time.Since(begun) > patience/2 {
			t.Fatal("the client is not cut off")
		}
		if _, err := c.Write([]byte("G")); err != nil {
			break
		}
		wait := time.NewTimer(10 * time.Millisecond)
		<-wait.C
	}
	late(t, begun)
	if n := c.wantGone(); n >= largeBytes {
		t.Errorf("all of %d bytes came", n)
	}
}

// slowlyRead wants a client to get all of an answer that it takes little by little, while the kernel, whose buffer is
// large, takes nothing for far longer than the limit. On loopback a window opens by 64 KiB at a time, which is every
// third of a second here.
func slowlyRead(t *testing.T, s *suite) {
	c := narrow(t, s.start(t, "listeners[0].send_buffer=1MiB", "timeouts.write=900ms").dial())
	c.send(request("GET", "/large.bin", "Connection: close"))
	head, err := c.readHead()
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 0, largeBytes)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < 3*time.Second; <-tick.C {
		n, err := io.ReadFull(c.r, body[len(body):len(body)+4<<10])
		if err != nil {
			t.Fatalf("%v after %d bytes and %v", err, len(body)+n, time.Since(begun))
		}
		body = body[:len(body)+n]
	}
	n, err := io.ReadFull(c.r, body[len(body):largeBytes])
	if err != nil {
		t.Fatal(err)
	}
	head.body = body[:len(body)+n]
	head.want(200).wantBody(content(3, largeBytes))
	c.wantEnd()
}

// requestTimeout wants the connection to end though the handler never answers, and the handler to hear of it.
func requestTimeout(t *testing.T, s *suite) {
	told := make(chan error, 1)
	v := s.serve(t, &web.Server{
		Root:     web.HandlerFunc(func(x *web.Exchange) { x.OnClosed(func(why error) { told <- why }) }),
		Timeouts: web.Timeouts{Request: soon},
	})
	c := v.dial()
	begun := time.Now()
	c.send(request("GET", "/"))
	c.wantEnd()
	late(t, begun)
	select {
	case why := <-told:
		if why == nil {
			t.Error("the handler is not told why")
		}
	case <-time.After(patience):
		t.Error("the handler is not told")
	}
}
