package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/handover"
	"github.com/myriad-server/myriad/internal/proc"
)

// TestHandOverInVain hands over to one that goes away, again and again, while somebody asks for the listeners: they are
// listened on as before, under numbers that all tell.
func TestHandOverInVain(t *testing.T) {
	r := start(t, "routes=[{respond: {body: x}}]")
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		for ctx.Err() == nil {
			for i, l := range r.Listeners() {
				if l.Protocol != "http" {
					t.Errorf("listener %d is %+v", i, l)
					return
				}
			}
		}
	})
	const attempts = 5
	for n := 1; n <= attempts; n++ {
		handOverInVain(t, r, nil)
		if status, body, _ := r.get("/"); status != 200 || body != "x" {
			t.Errorf("afterwards the answer is %d %q", status, body)
		}
		if got := len(r.Listeners()); got != n+1 {
			t.Errorf("after %d attempts there are %d listeners", n, got)
		}
	}
}

// handOverInVain hands over to one that says hello, and goes away behind what it does then; nil: nothing.
func handOverInVain(t *testing.T, r *running, then func(other *proc.Channel)) {
	t.Helper()
	channel, end, err := proc.NewPair()
	if err != nil {
		t.Fatal(err)
	}
	other, err := proc.NewChannel(end)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		defer other.Close()
		hello, _ := r.now().hello()
		if _, _, err := handover.Ask(t.Context(), other, hello); err != nil {
			t.Error(err)
		}
		if then != nil {
			then(other)
		}
	})
	moved, err := r.HandOver(t.Context(), channel)
	channel.Close()
	if err == nil {
		t.Fatalf("handed over to nobody: %+v", *moved)
	}
}

// TestSessionsComeBack hands sessions of datagrams over to one that goes away before it has acknowledged any: they go
// on where they were.
func TestSessionsComeBack(t *testing.T) {
	far, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	r := start(t, fmt.Sprintf(`listeners=[{address: "udp://127.0.0.1:0", protocol: udp, to: ["%s"]}]`,
		far.LocalAddr()))
	clients, names := make([]net.Conn, 10), make([]string, 10)
	ask := func(c net.Conn) string {
		t.Helper()
		p := make([]byte, 10)
		_ = far.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_, from, err := far.ReadFrom(p)
		if err != nil {
			t.Fatal(err)
		}
		return from.String()
	}
	for i := range clients {
		if clients[i], err = net.Dial("udp", strings.TrimPrefix(r.Listeners()[0].Address, "udp://")); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
		names[i] = ask(clients[i])
	}
	for range 3 {
		handOverInVain(t, r, func(other *proc.Channel) {
			if m, err := other.Receive(t.Context()); err != nil {
				t.Error(err)
			} else {
				m.Close()
			}
		})
		for i, c := range clients {
			if name := ask(c); name != names[i] {
				t.Errorf("a client was %s and is %s", names[i], name)
			}
		}
	}
}

// TestReloadWhileUpgrading asks for a reload while another process is being started, which may have read the
// configuration already: it is refused, and possible again when the upgrade has failed.
func TestReloadWhileUpgrading(t *testing.T) {
	r := start(t, "routes=[{respond: {body: x}}]")
	failure := errors.New("there is no such program")
	_, err := r.Upgrade(t.Context(), Successor{Start: func(int) (*proc.Child, error) {
		if _, err := r.Reload(r.now().plan); !errors.Is(err, ErrUpgrading) {
			t.Errorf("a reload while another process takes over: %v", err)
		}
		if _, err := r.Preview(r.now().plan); !errors.Is(err, ErrUpgrading) {
			t.Errorf("the preview of a reload while another process takes over: %v", err)
		}
		if _, err := r.Upgrade(t.Context(), Successor{}); !errors.Is(err, ErrUpgrading) {
			t.Errorf("an upgrade while another process takes over: %v", err)
		}
		return nil, failure
	}})
	if !errors.Is(err, failure) {
		t.Fatalf("the upgrade: %v", err)
	}
	if _, err := r.Reload(r.now().plan); err != nil {
		t.Errorf("a reload behind an upgrade that has failed: %v", err)
	}
}
