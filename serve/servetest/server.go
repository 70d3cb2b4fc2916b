package servetest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/serve"
)

// patience is how long anything may take that is going to happen, such as a conversation. It is far more than that
// takes, as the machine may have other things to do. leaving is how long connections of a listener that goes may last.
const (
	patience = 40 * time.Second
	leaving  = 10 * time.Second
)

// server is a site being served.
type server struct {
	t       testing.TB
	record  *record
	address listen.Spec
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // of Serve, once ended
	once    sync.Once
	before  footprint
	mu      sync.Mutex
	clients []net.Conn
}

// start serves handlers made by make on a TCP socket.
func start(t testing.TB, s Suite, configure func(*serve.Site), handler func() script) *server {
	t.Helper()
	return startAt(t, s, "127.0.0.1:0", configure, handler)
}

func startAt(t testing.TB, s Suite, address string, configure func(*serve.Site), handler func() script) *server {
	t.Helper()
	v := &server{t: t, record: &record{t: t, lives: map[uint64]*life{}}}
	l, group := v.listener(s, address)
	l.Handler = func() conn.Handler { return &watched{script: handler(), record: v.record} }
	v.serve(s, func(site *serve.Site) {
		site.Listeners = append(site.Listeners, l)
		if configure != nil {
			configure(site)
		}
	})
	v.address = group.Spec()
	return v
}

// listener is one at an address, without a handler.
func (v *server) listener(s Suite, address string) (serve.Listener, *listen.Group) {
	v.t.Helper()
	spec, err := listen.Parse(address)
	if err != nil {
		v.t.Fatal(err)
	}
	spec.ReusePort = spec.Network != "unix" && s.Site.Accept == serve.ReusePort
	group := listen.NewGroup(spec)
	return serve.Listener{Name: address, Network: spec.Network, Open: group.Open, Closed: group.Closed}, group
}

// serve starts the model and returns when it is ready.
func (v *server) serve(s Suite, configure func(*serve.Site)) {
	v.t.Helper()
	v.before = measure(v.t)
	ready := make(chan struct{})
	site := s.Site
	site.Ready = func() { close(ready) }
	configure(&site)
	var ctx context.Context
	ctx, v.cancel = context.WithCancel(context.Background())
	v.ended = make(chan struct{})
	go func() {
		defer close(v.ended)
		v.err = s.Model.Serve(ctx, &site)
	}()
	v.t.Cleanup(v.stop)
	select {
	case <-ready:
	case <-v.ended:
		v.t.Fatalf("Serve: %v", v.err)
	case <-time.After(patience):
		v.t.Fatal("Ready was not called")
	}
}

// stop ends the site and looks for what it left behind.
func (v *server) stop() {
	v.once.Do(func() {
		v.cancel()
		v.awaitEnd()
		if v.err != nil {
			v.t.Errorf("Serve: %v", v.err)
		}
		v.mu.Lock()
		for _, c := range v.clients {
			_ = c.Close()
		}
		v.mu.Unlock()
		v.record.checkAllClosed()
		v.before.checkGone(v.t)
	})
}

func (v *server) awaitEnd() {
	v.t.Helper()
	select {
	case <-v.ended:
	case <-time.After(2 * patience):
		stacks := make([]byte, 1<<20)
		v.t.Fatalf("Serve did not return\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// dial connects a client that gives up in time.
func (v *server) dial() net.Conn {
	v.t.Helper()
	c, err := v.tryDial()
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

func (v *server) tryDial() (net.Conn, error) {
	network, address := v.address.Network, v.address.Address.String()
	if network == "unix" {
		address = v.address.Name
	}
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.clients = append(v.clients, c)
	v.mu.Unlock()
	return c, c.SetDeadline(time.Now().Add(patience))
}

// footprint is what a process holds.
type footprint struct {
	descriptors, goroutines int
}

func measure(t testing.TB) footprint {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return footprint{len(entries), runtime.NumGoroutine()}
}

// checkGone fails if there is more than there was. Goroutines that have done their work may take a moment to end, and
// so may clients of the test.
func (f footprint) checkGone(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Second); ; <-tick.C {
		now := measure(t)
		if now.descriptors <= f.descriptors && now.goroutines <= f.goroutines {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Errorf("left behind: %+v, there were %+v before\n%s", now, f, stacks[:runtime.Stack(stacks, true)])
			return
		}
	}
}

// send writes all of p.
func send(t testing.TB, c net.Conn, p []byte) {
	t.Helper()
	if _, err := c.Write(p); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// want reads exactly what is wanted.
func want(t testing.TB, c net.Conn, wanted string) {
	t.Helper()
	got := make([]byte, len(wanted))
	n, err := io.ReadFull(c, got)
	if err != nil || string(got) != wanted {
		t.Fatalf("read %q, %v; want %q", got[:n], err, wanted)
	}
}

// wantEnd reads the peer's orderly end.
func wantEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d bytes, %v; want the end", n, err)
	}
}

// wantReset reads until the connection ends, which must be by a reset.
func wantReset(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection ended with %v; want a reset", err)
	}
}

// await takes the next value, which must come in time.
func await[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		t.Fatalf("%s: nothing came\n%s", what, stacks[:runtime.Stack(stacks, true)])
		panic("unreachable")
	}
}

// none checks that no value comes within d.
func none[T any](t testing.TB, from <-chan T, d time.Duration, what string) {
	t.Helper()
	select {
	case v := <-from:
		t.Fatalf("%s: %v came", what, v)
	case <-time.After(d):
	}
}

// fill writes the stream's bytes from position at on; each depends on its position.
func fill(p []byte, at int64) {
	for i := range p {
		p[i] = pattern(at + int64(i))
	}
}

func pattern(at int64) byte { return byte(at ^ at>>8*31 ^ at>>16*17) }

// check returns the index of the first byte that is not the stream's, or -1.
func check(p []byte, at int64) int {
	for i := range p {
		if p[i] != pattern(at+int64(i)) {
			return i
		}
	}
	return -1
}

// wantStream reads n bytes of the stream from position at on, as slowly as the buffer is small.
func wantStream(c io.Reader, at, n int64) error {
	buffer := make([]byte, 32<<10)
	for end := at + n; at < end; {
		k, err := c.Read(buffer[:min(int64(len(buffer)), end-at)])
		if wrong := check(buffer[:k], at); wrong >= 0 {
			return errors.New("wrong byte at " + strconv.FormatInt(at+int64(wrong), 10))
		}
		at += int64(k)
		if err != nil && at < end {
			return errors.New(err.Error() + " at " + strconv.FormatInt(at, 10))
		}
	}
	return nil
}
