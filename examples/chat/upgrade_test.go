package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/handover"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/web/socket"
)

// talkers are 100 people in a room, four of whom talk. What is done when the first of them has been heard a few times
// ends before this one says more, so that all live through it.
func talkers(address string, disturb func()) *crowd {
	return &crowd{
		Address: []string{address}, Users: 100, Rooms: 1, Talkers: 4, Every: 10 * time.Millisecond, Words: 80,
		Within: 6 * hang,
		spoken: func(number int) {
			if number == 10 {
				disturb()
			}
		},
	}
}

// nobodyReturns has people talk, who keep their connections.
func nobodyReturns(t *testing.T, people *crowd) {
	t.Helper()
	f := everybodyHears(t, people, 4*80, 100)
	if n := f.returns.Load(); n > 0 {
		t.Errorf("%d times somebody had to come back; %v", n, f.cause())
	}
}

// says waits until a program, or one behind it, has said something so often.
func says(p *apptest.Program, what string, times int) bool {
	limit := time.After(3 * hang)
	for {
		n, changed := p.Log.Count(what)
		if n >= times {
			return true
		}
		select {
		case <-changed:
		case <-limit:
			return false
		}
	}
}

// launch starts a copy of the program, a server of one process.
func launch(t *testing.T) (p *apptest.Program, path, address string) {
	t.Helper()
	t.Setenv(asProgram, "1")
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	path, address = filepath.Join(t.TempDir(), "chat"), freeAddress(t)
	if err := os.WriteFile(path, program, 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	p = apptest.LaunchFile(t, path, folder, "serve", "--listen", address)
	p.Await(t, "open for everybody", 1)
	return p, path, address
}

// TestUpgrade has a server of one process go on in another one while people talk, twice, with its bus.
func TestUpgrade(t *testing.T) {
	p, _, address := launch(t)
	for round := 1; round <= 2; round++ {
		old := p.Members()
		nobodyReturns(t, talkers(address, func() {
			apptest.Tell(syscall.SIGUSR2, old...)
			if !says(p, "the process before has ended", round) {
				t.Errorf("no process has taken over\n%s", p.Log)
			}
		}))
		if round == 1 {
			<-p.Ended
		}
		if now := p.Members(); len(old) != 1 || !slices.ContainsFunc(now, func(n int) bool { return n != old[0] }) {
			t.Fatalf("behind %v there are %v\n%s", old, now, p.Log)
		}
	}
	if p.Outcome() != nil {
		t.Error(p.Outcome())
	}
}

// TestNoSuccessor has an upgrade fail, as the program is another one: people talk on with the process that there is.
func TestNoSuccessor(t *testing.T) {
	p, path, address := launch(t)
	next := path + ".next"
	err := os.WriteFile(next, []byte("#!/bin/sh\nexit 3\n"), 0o700) //nolint:gosec // it is to be run
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	nobodyReturns(t, talkers(address, func() {
		apptest.Tell(syscall.SIGUSR2, p.Process.Pid)
		if !says(p, "this process serves on", 1) {
			t.Errorf("the upgrade does not fail\n%s", p.Log)
		}
	}))
}

// TestComeBack has the other process go in the middle: people go on where they were, and others can come.
func TestComeBack(t *testing.T) {
	p := serveChat(t, oneBus(t))
	ann := p.enter("ann", "")
	ann.say("hello", "1")
	ann.hears("ann", "hello")
	channel, fd, err := proc.NewPair()
	if err != nil {
		t.Fatal(err)
	}
	defer channel.Close()
	other, err := proc.NewChannel(fd)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan error, 1)
	go func() {
		_, _, err := handover.Ask(t.Context(), other, handover.Hello{Listeners: []string{"chat"}})
		other.Close()
		said <- err
	}()
	if _, err := p.host.give(t.Context(), channel, nil); err == nil {
		t.Error("a hand-over to nobody went well")
	}
	if err := <-said; err != nil {
		t.Error(err)
	}
	bob := p.enter("bob", "")
	bob.hears("ann", "hello")
	ann.say("still here", "2")
	ann.hears("ann", "still here")
	bob.hears("ann", "still here")
}

// TestReplaced has workers go on in others while people talk.
func TestReplaced(t *testing.T) {
	c := startTeam(t, 2)
	c.await(c.bus)
	before := []int{c.await(c.ready), c.await(c.ready)}
	nobodyReturns(t, talkers(c.address, func() {
		c.upgrade <- syscall.SIGUSR2
		select {
		case err := <-c.rolled:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(3 * hang):
			t.Error("the workers are not replaced")
		}
	}))
	for range before {
		if pid := c.await(c.ready); slices.Contains(before, pid) {
			t.Errorf("worker %d is one of %v", pid, before)
		}
	}
}

// TestUnpack refuses what no process of this program has packed.
func TestUnpack(t *testing.T) {
	c := newChat(slog.New(slog.DiscardHandler))
	defer c.close()
	whole := []byte("\x01\x01a\x03ann\x07\x01\x05hello\x012")
	for n := range len(whole) {
		if err := c.Unpack(new(socket.Conn), whole[:n]); !errors.Is(err, conn.ErrState) {
			t.Errorf("%q: %v", whole[:n], err)
		}
	}
	for _, state := range []string{"\x02\x01a\x03ann\x07\x00", "\x01\x01.\x03ann\x07\x00", "\x01\x01a\x03ann\x07\x00x"} {
		if err := c.Unpack(new(socket.Conn), []byte(state)); !errors.Is(err, conn.ErrState) {
			t.Errorf("%q: %v", state, err)
		}
	}
}
