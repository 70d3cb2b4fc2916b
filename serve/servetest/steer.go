package servetest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/serve"
)

// steered is a server whose listeners change.
type steered struct {
	*server
	suite Suite
	serve.Steering
}

// steer starts a server with one listener that echoes.
func steer(t *testing.T, s Suite) *steered {
	t.Helper()
	v := &steered{suite: s}
	v.server = start(t, s, func(site *serve.Site) {
		site.Steer = func(s serve.Steering) { v.Steering = s }
	}, same(naming("")))
	if v.Steering == nil {
		t.Fatal("Steer was not called before Ready")
	}
	return v
}

// naming answers with what came behind a name, and lets idle connections go at a stop.
func naming(name string) script {
	return script{
		opened: func(c conn.Conn) { c.SetIdle(true) },
		received: func(c conn.Conn, in []byte) int {
			c.Write(append([]byte(name), in...))
			return len(in)
		},
		stopped: func(c conn.Conn) { c.Drain() },
	}
}

// begin serves one more listener with a script, and returns its number and where it is.
func (v *steered) begin(address string, handler script) (int, listen.Spec) {
	v.t.Helper()
	l, group := v.listener(v.suite, address)
	l.Handler = func() conn.Handler { return &watched{script: handler, record: v.record} }
	number, err := v.Listen(l)
	if err != nil {
		v.t.Fatalf("Listen: %v", err)
	}
	return number, group.Spec()
}

// at dials another listener of the server.
func (v *steered) at(spec listen.Spec) net.Conn {
	v.t.Helper()
	first := v.address
	defer func() { v.address = first }()
	v.address = spec
	return v.dial()
}

// leave gives a listener up, and returns what is told when its last connection is gone.
func (v *steered) leave(number int, drain time.Duration) <-chan struct{} {
	gone := make(chan struct{})
	v.Leave(number, drain, func() { close(gone) })
	return gone
}

// beginAndLeave has a second listener come and go, twice, while the first one serves.
func beginAndLeave(t *testing.T, s Suite) {
	v := steer(t, s)
	path := filepath.Join(t.TempDir(), "s")
	for i, address := range []string{"127.0.0.1:0", "unix:" + path, "unix:" + path} {
		number, spec := v.begin(address, naming("second "))
		if number != i+1 {
			t.Errorf("the %d. further listener has the number %d", i+1, number)
		}
		c := v.at(spec)
		send(t, c, []byte("hello"))
		want(t, c, "second hello")
		if s.AtOnce > 1 {
			first := v.dial()
			send(t, first, []byte("hello"))
			want(t, first, "hello")
			_ = first.Close()
		}
		gone := v.leave(number, leaving)
		wantEnd(t, c)
		_ = c.Close()
		await(t, gone, "gone")
		eventually(t, address+" is still listened on", func() bool {
			again, err := net.Dial(spec.Network, nameOf(spec))
			if err == nil {
				_ = again.Close()
			}
			return err != nil
		})
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file of the socket that was left is there: %v", err)
	}
	v.stop()
}

// eventually looks again and again until something is so: a descriptor that is closed may be in use for a moment more,
// by an operation of the kernel that is being cancelled.
func eventually(t *testing.T, otherwise string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Error(otherwise)
			return
		}
	}
}

// nameOf is the address of a socket for package net.
func nameOf(s listen.Spec) string {
	if s.Network == "unix" {
		return s.Name
	}
	return s.Address.String()
}

// leaveAmong leaves a listener with connections at rest and at work, and looks at those of the other one.
func leaveAmong(t *testing.T, s Suite) {
	v := steer(t, s)
	told := make(chan bool, 16)
	second := naming("")
	second.received = func(c conn.Conn, in []byte) int {
		if c.SetIdle(string(in) != "work"); string(in) == "work" {
			c.Attach(true)
		}
		c.Write(in)
		if c.Stopping() {
			c.Drain()
		}
		return len(in)
	}
	second.stopped = func(c conn.Conn) {
		if told <- true; c.Attached() == nil {
			c.Drain()
		}
	}
	number, spec := v.begin("127.0.0.1:0", second)
	n := min(4, s.AtOnce)
	var stays net.Conn
	if n > 1 {
		n--
		stays = v.dial()
		send(t, stays, []byte("stays"))
		want(t, stays, "stays")
	}
	clients := make([]net.Conn, n)
	for i := range clients {
		clients[i] = v.at(spec)
		text := "rest"
		if i == 0 {
			text = "work"
		}
		send(t, clients[i], []byte(text))
		want(t, clients[i], text)
	}
	gone := v.leave(number, leaving)
	for range clients {
		await(t, told, "Stopped")
	}
	for _, c := range clients[1:] {
		wantEnd(t, c)
		_ = c.Close()
	}
	select {
	case <-gone:
		t.Error("a connection is at work, and the listener is gone")
	default:
	}
	send(t, clients[0], []byte("done"))
	want(t, clients[0], "done")
	wantEnd(t, clients[0])
	_ = clients[0].Close()
	await(t, gone, "gone")
	if stays != nil {
		send(t, stays, []byte("still"))
		want(t, stays, "still")
		_ = stays.Close()
	}
	v.stop()
}

// leaveDeadline leaves a listener whose connection does not end by itself.
func leaveDeadline(t *testing.T, s Suite) {
	v := steer(t, s)
	closed := make(chan error, 1)
	stubborn := naming("")
	stubborn.stopped = func(conn.Conn) {}
	stubborn.closed = func(_ conn.Conn, why error) { closed <- why }
	number, spec := v.begin("127.0.0.1:0", stubborn)
	c := v.at(spec)
	send(t, c, []byte("hello"))
	want(t, c, "hello")
	gone := v.leave(number, 20*time.Millisecond)
	wantReset(t, c)
	if why := await(t, closed, "Closed"); why != conn.ErrStopping {
		t.Errorf("the connection ended with %v; want %v", why, conn.ErrStopping)
	}
	await(t, gone, "gone")
	v.stop()
}

// leaveBacklog leaves a listener right after clients have connected: the kernel has accepted them, and they are served.
func leaveBacklog(t *testing.T, s Suite) {
	v := steer(t, s)
	for range 5 {
		polite := naming("")
		polite.stopped = func(c conn.Conn) { c.Write([]byte("bye")); c.Drain() }
		number, spec := v.begin("127.0.0.1:0", polite)
		clients := make([]net.Conn, min(8, s.AtOnce))
		for i := range clients {
			clients[i] = v.at(spec)
		}
		gone := v.leave(number, leaving)
		for _, c := range clients {
			want(t, c, "bye")
			wantEnd(t, c)
			_ = c.Close()
		}
		await(t, gone, "gone")
	}
	v.stop()
}

// beginInVain begins listeners that cannot be served: nothing of them may stay.
func beginInVain(t *testing.T, s Suite) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	v := steer(t, s)
	l, _ := v.listener(s, taken.Addr().String())
	l.Handler = func() conn.Handler { t.Error("a handler is made for nothing"); return nil }
	if number, err := v.Listen(l); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("listening where another one does: %d, %v", number, err)
	}
	if _, err := v.Listen(serve.Listener{Name: "empty"}); err == nil {
		t.Error("a listener of nothing is served")
	}
	number, spec := v.begin("127.0.0.1:0", naming("after "))
	c := v.at(spec)
	send(t, c, []byte("that"))
	want(t, c, "after that")
	_ = c.Close()
	await(t, v.leave(number, leaving), "gone")
	v.Leave(number, leaving, func() { t.Error("it was gone already") })
	v.stop()
	if _, err := v.Listen(l); err == nil {
		t.Error("a site that has ended serves one more listener")
	}
}

// beginDatagrams has a listener of datagrams come and go.
func beginDatagrams(t *testing.T, s Suite) {
	v := steer(t, s)
	for range 2 {
		l, group := v.listener(s, "udp://127.0.0.1:0")
		l.Datagram = func() conn.DatagramHandler { return answering{t} }
		number, err := v.Listen(l)
		if err != nil {
			t.Fatal(err)
		}
		c := v.at(group.Spec())
		if got, wanted := ask(t, c, "x"), ":x"; !strings.HasSuffix(got, wanted) {
			t.Errorf("the answer is %q; want one that ends with %q", got, wanted)
		}
		await(t, v.leave(number, leaving), "gone")
		eventually(t, "the address that was left is taken", func() bool {
			again, err := net.ListenPacket("udp", nameOf(group.Spec()))
			if err == nil {
				_ = again.Close()
			}
			return err == nil
		})
	}
	v.stop()
}

// leaveAndStop stops a site while a listener is being left.
func leaveAndStop(t *testing.T, s Suite) {
	v := steer(t, s)
	told := make(chan bool, 2)
	slow := naming("")
	slow.stopped = func(conn.Conn) { told <- true }
	slow.received = func(c conn.Conn, in []byte) int {
		c.Write(in)
		c.Drain()
		return len(in)
	}
	number, spec := v.begin("127.0.0.1:0", slow)
	c := v.at(spec)
	v.Leave(number, time.Hour, nil)
	await(t, told, "Stopped")
	v.cancel()
	send(t, c, []byte("end"))
	want(t, c, "end")
	wantEnd(t, c)
	_ = c.Close()
	v.stop()
	if len(told) > 0 {
		t.Error("Stopped was called twice")
	}
}

// succeed has other handlers take a listener over, twice, with a connection of each: all are told when it is left.
func succeed(t *testing.T, s Suite) {
	v := steer(t, s)
	number, spec := v.begin("127.0.0.1:0", naming("0 "))
	var clients []net.Conn
	for i, name := range []string{"0 ", "1 ", "2 "} {
		if i > 0 {
			script := naming(name)
			if err := v.Succeed(number, func() conn.Handler { return &watched{script: script, record: v.record} }); err != nil {
				t.Fatal(err)
			}
		}
		if len(clients) == s.AtOnce {
			_ = clients[0].Close()
			clients = nil
		}
		c := v.at(spec)
		send(t, c, []byte("hello"))
		want(t, c, name+"hello")
		clients = append(clients, c)
	}
	for i, c := range clients {
		send(t, c, []byte("still"))
		want(t, c, string(rune('0'+3-len(clients)+i))+" still")
	}
	gone := v.leave(number, leaving)
	for _, c := range clients {
		wantEnd(t, c)
		_ = c.Close()
	}
	await(t, gone, "gone")
	if err := v.Succeed(number, func() conn.Handler { t.Error("a handler is made for nothing"); return nil }); err == nil {
		t.Error("a listener that is left is succeeded")
	}
	v.stop()
}
