package servetest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/serve"
)

// exchange sends some bytes of the stream and reads them back.
func exchange(c net.Conn, at int64) error {
	p := make([]byte, 700)
	fill(p, at)
	if _, err := c.Write(p); err != nil {
		return err
	}
	return wantStream(c, at, int64(len(p)))
}

func manyAtOnce(t *testing.T, s Suite) {
	const n = 200
	together := s.AtOnce >= n
	v := start(t, s, nil, echoing)
	errs := make(chan error, n)
	var half sync.WaitGroup
	half.Add(n)
	for i := range n {
		go func() {
			c, err := v.tryDial()
			if err == nil {
				err = exchange(c, int64(i))
			}
			half.Done()
			if together {
				half.Wait() // all are open now
			}
			if err == nil {
				err = exchange(c, int64(i+1000))
			}
			if c != nil {
				_ = c.Close()
			}
			errs <- err
		}()
	}
	for range n {
		if err := await(t, errs, "an exchange"); err != nil {
			t.Error(err)
		}
	}
	v.stop()
	if got := v.record.count(); got != n {
		t.Errorf("%d connections were opened; want %d", got, n)
	}
}

func churn(t *testing.T, s Suite) {
	const workers, each = 8, 60
	v := start(t, s, nil, echoing)
	errs := make(chan error, workers)
	for range workers {
		go func() {
			var failed error
			for i := range each {
				c, err := v.tryDial()
				if err == nil {
					err = exchange(c, int64(i))
					if i%3 == 0 && err == nil {
						err = c.(*net.TCPConn).SetLinger(0)
					}
					_ = c.Close()
				}
				failed = errors.Join(failed, err)
			}
			errs <- failed
		}()
	}
	for range workers {
		if err := await(t, errs, "the exchanges"); err != nil {
			t.Error(err)
		}
	}
	v.stop()
	if got := v.record.count(); got != workers*each {
		t.Errorf("%d connections were opened; want %d", got, workers*each)
	}
}

func twoListeners(t *testing.T, s Suite) {
	v := &server{t: t, record: &record{t: t, lives: map[uint64]*life{}}}
	first, firstGroup := v.listener(s, "127.0.0.1:0")
	second, secondGroup := v.listener(s, "127.0.0.1:0")
	saying := func(word string) func() conn.Handler {
		return func() conn.Handler {
			return &watched{record: v.record, script: script{opened: func(c conn.Conn) {
				c.Write([]byte(word))
				c.Drain()
			}}}
		}
	}
	first.Handler, second.Handler = saying("first"), saying("second")
	v.serve(s, func(site *serve.Site) { site.Listeners = []serve.Listener{first, second} })
	for range 3 {
		v.address = firstGroup.Spec()
		c := v.dial()
		want(t, c, "first")
		_ = c.Close()
		v.address = secondGroup.Spec()
		c = v.dial()
		want(t, c, "second")
		_ = c.Close()
	}
	v.stop()
}

// few configures a site for so few connections at a time, and returns how many.
func few(s Suite) (int, func(*serve.Site)) {
	n := min(3, s.AtOnce)
	return n, func(site *serve.Site) {
		l := &site.Limits
		l.Loops, l.Workers, l.Queue, l.Connections = 1, n, 1, n
	}
}

// connectionLimit opens connections until one is not served. A few more than the limit may be: those that were
// accepted together with the last.
func connectionLimit(t *testing.T, s Suite) {
	const together = 2
	n, configure := few(s)
	v := start(t, s, configure, echoing)
	var clients []net.Conn
	waiting := make(chan error, 1)
	for stalled := false; !stalled; {
		c := v.dial() // where it is not accepted, the backlog takes it
		clients = append(clients, c)
		go func() { waiting <- exchange(c, 0) }()
		select {
		case err := <-waiting:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(150 * time.Millisecond):
			stalled = true
		}
		if len(clients) > n+together+1 {
			t.Fatalf("%d connections are served; the limit is %d", len(clients), n)
		}
	}
	served := clients[:len(clients)-1]
	if len(served) < n {
		t.Errorf("%d connections are served; the limit is %d", len(served), n)
	}
	for _, c := range served {
		if err := exchange(c, 99); err != nil {
			t.Errorf("a connection at work: %v", err)
		}
	}
	for _, c := range served[:len(served)-n+1] {
		_ = c.Close()
	}
	if err := await(t, waiting, "the connection that waited"); err != nil {
		t.Error(err)
	}
	for _, c := range clients {
		_ = c.Close()
	}
	v.stop()
}

func idleMakeRoom(t *testing.T, s Suite) {
	n, configure := few(s)
	ends := make(chan error, 2*n)
	handler := script{
		received: func(c conn.Conn, in []byte) int {
			c.Write(in)
			c.SetIdle(true)
			return len(in)
		},
		closed: func(_ conn.Conn, why error) { ends <- why },
	}
	v := start(t, s, configure, same(handler))
	clients := make([]net.Conn, n)
	for i := range clients {
		clients[i] = v.dial()
		if err := exchange(clients[i], 0); err != nil {
			t.Fatal(err)
		}
	}
	more := v.dial()
	if err := exchange(more, 0); err != nil {
		t.Fatalf("a connection that needs room: %v", err)
	}
	if why := await(t, ends, "Closed"); !errors.Is(why, conn.ErrPressure) {
		t.Errorf("a connection ended with %v; want %v", why, conn.ErrPressure)
	}
	if _, err := clients[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection that has been idle for longest: %v; want its end", err)
	}
	for _, c := range append(clients, more) {
		_ = c.Close()
	}
	v.stop()
}

// idleWithOutput looks at connections that call themselves idle while their last answer is still on its way: they make
// room, but not before all of it has been taken.
func idleWithOutput(t *testing.T, s Suite) {
	const size = 12 << 20
	f := makeFile(t, size)
	n, configure := few(s)
	v := start(t, s, configure, same(script{received: func(c conn.Conn, in []byte) int {
		f.Hold()
		c.SendFile(f, 0, size)
		c.SetIdle(true)
		return len(in)
	}}))
	ask := func(c net.Conn) error {
		if _, err := c.Write([]byte("go")); err != nil {
			return err
		}
		return wantStream(c, 0, size)
	}
	clients := make([]net.Conn, n)
	for i := range clients {
		clients[i] = v.dial()
		send(t, clients[i], []byte("go"))
		if err := wantStream(clients[i], 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	results := make(chan error, n+1)
	more := v.dial()
	go func() { results <- ask(more) }()
	select { // the pressure is on for a while
	case err := <-results:
		results <- err // by one that a turn of accepts brought beyond the limit
	case <-time.After(250 * time.Millisecond):
	}
	for _, c := range clients {
		go func() { results <- wantStream(c, 1, size-1) }()
	}
	for range n + 1 {
		if err := await(t, results, "all of a file"); err != nil {
			t.Error(err)
		}
	}
	for _, c := range append(clients, more) {
		_ = c.Close()
	}
	v.stop()
	if n := f.holds.Load(); n != 0 {
		t.Errorf("the file is held %d times more often than released", n)
	}
}

func unixPath(t *testing.T, s Suite) { unixEcho(t, s, "unix:"+shortFolder(t)+"/socket") }

func unixAbstract(t *testing.T, s Suite) {
	unixEcho(t, s, fmt.Sprintf("unix:@myriad-servetest-%d", time.Now().UnixNano()))
}

func unixEcho(t *testing.T, s Suite, address string) {
	// A Unix socket cannot be shared as SO_REUSEPORT shares an address: one loop opens it.
	configure := func(site *serve.Site) {
		site.Accept = serve.OneAcceptor
		site.Listeners[0].Network = "unix"
	}
	handler := echoing()
	handler.opened = func(c conn.Conn) {
		if c.Local().IsValid() || c.Remote().IsValid() {
			t.Errorf("a Unix socket has the addresses %v and %v", c.Local(), c.Remote())
		}
	}
	v := startAt(t, s, address, configure, same(handler))
	c := v.dial()
	for _, text := range []string{"a", strings.Repeat("0123456789", 10000)} {
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write([]byte(text))
			sent <- err
		}()
		want(t, c, text)
		if err := await(t, sent, "sending"); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	v.stop()
	if c, err := v.tryDial(); err == nil {
		_ = c.Close()
		t.Error("the name is still listened on")
	}
}
