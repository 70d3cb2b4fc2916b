package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

// asProgram has the test be the program itself.
const asProgram = "CHAT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if proc.IsChild() || os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// team is a chat of several processes.
type team struct {
	t       *testing.T
	address string
	ready   chan int // numbers of processes
	bus     chan int
	upgrade chan os.Signal
	rolled  chan error // the outcomes of upgrades
}

// freeAddress is one at which nobody listens. Clients of this machine have ports at 127.0.0.1: none takes this one
// before the server does.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.24:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func startTeam(t *testing.T, workers int) *team {
	t.Helper()
	c := &team{
		t: t, address: freeAddress(t), ready: make(chan int, 64), bus: make(chan int, 64),
		upgrade: make(chan os.Signal, 1), rolled: make(chan error, 1),
	}
	s := &serving{place: place{Listen: c.address, Driver: "auto", Copies: 1}, Workers: workers}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.supervise(ctx, slog.New(slog.DiscardHandler), c.upgrade, func(crew string, e supervise.Event) {
			switch {
			case e.Kind == supervise.RollDone:
				c.rolled <- nil
			case e.Kind == supervise.RollFailed:
				c.rolled <- errors.New(e.Text)
			case e.Kind != supervise.WorkerReady:
			case crew == supervise.BusName:
				c.bus <- e.PID
			default:
				c.ready <- e.PID
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * hang):
			t.Error("the processes do not end")
		}
	})
	return c
}

func (c *team) await(from <-chan int) (pid int) {
	c.t.Helper()
	select {
	case pid = <-from:
	case <-time.After(2 * hang):
		c.t.Fatal("a process is not ready")
	}
	return pid
}

func kill(t *testing.T, pid int) {
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Error(err)
	}
}

// everybodyHears has people talk until everything is said, and heard by as many as there are in a room.
func everybodyHears(t *testing.T, people *crowd, said, room int64) *finding {
	t.Helper()
	f, err := people.talk(t.Context())
	var text bytes.Buffer
	if f != nil {
		f.print(&text, people)
	}
	t.Log(text.String())
	if err != nil {
		t.Fatal(err)
	}
	if f.said.Load() != said || f.heard.Load() != said*room {
		t.Errorf("%d were said and %d heard; want %d and %d", f.said.Load(), f.heard.Load(), said, said*room)
	}
	return f
}

// TestKilled has 200 people talk over four workers while processes are killed. Nobody misses anything.
func TestKilled(t *testing.T) {
	c := startTeam(t, 4)
	bus := c.await(c.bus)
	var workers [4]int
	for i := range workers {
		workers[i] = c.await(c.ready)
	}
	people := &crowd{
		Address: []string{c.address}, Users: 200, Rooms: 4, Talkers: 2, Every: 20 * time.Millisecond, Words: 40,
		Within: 2 * hang,
	}
	victims := map[int]int{5: workers[0], 15: bus, 25: workers[1]}
	people.spoken = func(number int) {
		if pid := victims[number]; pid != 0 {
			kill(t, pid)
		}
	}
	f := everybodyHears(t, people, 4*2*40, 50)
	if f.returns.Load() == 0 {
		t.Error("nobody has lost a connection")
	}
	for range 2 {
		c.await(c.ready)
	}
	c.await(c.bus)
}

// TestNoBus ends while a worker waits for a bus that is not there.
func TestNoBus(t *testing.T) {
	s := &serving{place: place{Listen: freeAddress(t), Driver: "auto", Bus: "nats://127.0.0.1:1"}, Workers: 1}
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan bool, 64)
	ended := make(chan error, 1)
	go func() {
		ended <- s.supervise(ctx, slog.New(slog.DiscardHandler), nil, func(_ string, e supervise.Event) {
			started <- e.Kind == supervise.WorkerStarting
		})
	}()
	if !<-started {
		t.Error("no worker was started")
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * hang):
		t.Error("a worker that waits for the bus does not end")
	}
}
