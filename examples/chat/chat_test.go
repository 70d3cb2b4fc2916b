package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/bus"
)

// hang is how long anything may take that is going to happen.
const hang = 20 * time.Second

// server is one server of the chat, on a bus that it shares.
type server struct {
	t       *testing.T
	address string
	host    *hosting
	end     func()
}

// serveChat starts a server of the chat.
func serveChat(t *testing.T, own *bus.Server) *server {
	t.Helper()
	b, err := bus.Connect(bus.Options{Server: own})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := newChat(slog.New(slog.DiscardHandler))
	if err := c.open(ctx, b, 1); err != nil {
		t.Fatal(err)
	}
	p := &server{t: t, address: freeAddress(t)}
	at := &place{Listen: p.address, Driver: "auto"}
	group, err := at.sockets(nil)
	if err == nil {
		p.host, err = newHost(c, at, group, loops, c.log)
	}
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.host.serve(ctx, func() { close(ready) }) }()
	p.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		c.close()
		b.Close()
		p.end = func() {}
	}
	t.Cleanup(func() { p.end() })
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return p
}

// client is somebody in a room.
type client struct {
	*line
	t    *testing.T
	last uint64 // the place of what came last
}

// enter goes into a room, as one who is new or who comes back.
func (p *server) enter(name string, query string) *client {
	p.t.Helper()
	l, err := enterRoom(p.t.Context(), new(net.Dialer).DialContext, p.address, "lobby", name, query)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { l.Close() })
	if err := l.SetDeadline(time.Now().Add(hang)); err != nil {
		p.t.Fatal(err)
	}
	return &client{line: l, t: p.t}
}

func (k *client) say(text, id string) {
	k.t.Helper()
	if err := k.line.say(saying{text, id}); err != nil {
		k.t.Fatal(err)
	}
}

// hears waits for the next message.
func (k *client) hears(from, text string) {
	k.t.Helper()
	h, err := k.hear()
	if err != nil {
		k.t.Fatalf("waiting for %q: %v", text, err)
	}
	if h.From != from || h.Text != text || h.Place <= k.last {
		k.t.Fatalf("heard %+v behind %d; want %q of %s", h, k.last, text, from)
	}
	k.last = h.Place
}

func oneBus(t *testing.T) *bus.Server {
	t.Helper()
	s, err := bus.Serve(bus.ServerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestTwoServers has people on two servers talk, one of them go to the other server when theirs ends, and miss nothing.
func TestTwoServers(t *testing.T) {
	own := oneBus(t)
	first, second := serveChat(t, own), serveChat(t, own)
	ann, bob := first.enter("ann", ""), second.enter("bob", "")
	ann.say("hello", "1")
	ann.hears("ann", "hello")
	bob.hears("ann", "hello")
	bob.say("hi", "1")
	ann.hears("bob", "hi")
	bob.hears("bob", "hi")
	ann.Close()
	first.end()
	for i := range 20 {
		bob.say(fmt.Sprint("missed ", i), fmt.Sprint("m", i))
		bob.hears("bob", fmt.Sprint("missed ", i))
	}
	again := second.enter("ann", fmt.Sprint("&after=", ann.last))
	again.last = ann.last
	for i := range 20 {
		again.hears("bob", fmt.Sprint("missed ", i))
	}
	again.say("back", "2")
	again.hears("ann", "back")
	bob.hears("ann", "back")
}

// TestSaidTwice sends a message again, as a client does that has heard nothing of it: it is heard once.
func TestSaidTwice(t *testing.T) {
	p := serveChat(t, oneBus(t))
	ann := p.enter("ann", "")
	ann.say("once", "7")
	ann.say("once", "7")
	ann.say("then", "8")
	ann.hears("ann", "once")
	ann.hears("ann", "then")
}

// TestNewcomer is shown what was said before.
func TestNewcomer(t *testing.T) {
	own := oneBus(t)
	p := serveChat(t, own)
	ann := p.enter("ann", "")
	for i := range shown + 10 {
		ann.say(fmt.Sprint(i), fmt.Sprint(i))
		ann.hears("ann", fmt.Sprint(i))
	}
	bob := p.enter("bob", "")
	for i := 10; i < shown+10; i++ {
		bob.hears("ann", fmt.Sprint(i))
	}
	late := serveChat(t, own).enter("cy", fmt.Sprint("&after=", ann.last-3)) // whose server hears of the room now
	late.last = ann.last - 3
	for i := shown + 7; i < shown+10; i++ {
		late.hears("ann", fmt.Sprint(i))
	}
}

// TestRefused looks at what is not let in.
func TestRefused(t *testing.T) {
	p := serveChat(t, oneBus(t))
	for target, want := range map[string]int{
		"/": 200, "/elsewhere": 404, "/rooms/a?name=": 400, "/rooms/a.b?name=x": 400, "/rooms/a?name=x&after=-1": 400,
		"/rooms/a?name=x": 426,
	} {
		answer, err := http.Get("http://" + p.address + target)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s is answered with %d; want %d", target, answer.StatusCode, want)
		}
	}
}
