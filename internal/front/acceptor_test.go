package front

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what only a hang can take.
const patience = 30 * time.Second

// rig is an acceptor at a listening socket.
type rig struct {
	*Acceptor
	t      *testing.T
	at     string
	socket *listen.Socket
	staff  sync.WaitGroup
}

func newRig(t *testing.T, policy balance.Policy) *rig {
	t.Helper()
	leaksNothing(t)
	socket, err := listen.Open(listen.Spec{Network: "tcp", Address: netip.MustParseAddrPort("127.0.0.1:0"), Backlog: 1024})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Acceptor: New(Options{Policy: policy}), t: t, at: socket.Spec.Address.String(), socket: socket}
	if err := r.Listen("web", socket.FD); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		r.staff.Wait()
		if err := socket.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// leaksNothing checks at the test's end that as many descriptors are open as now.
func leaksNothing(t *testing.T) {
	t.Helper()
	read, write, err := os.Pipe() // the poller of the runtime has descriptors of its own, from its first use on
	if err != nil {
		t.Fatal(err)
	}
	_, _ = read.Close(), write.Close()
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := count()
	t.Cleanup(func() {
		if after := count(); after > before && !t.Failed() {
			t.Errorf("%d descriptors are open, %d before", after, before)
		}
	})
}

// staff is a worker in this process. It answers every connection with its own letter.
type staff struct {
	letter  byte
	channel *proc.Channel
	taken   atomic.Int64
	full    atomic.Bool
	ended   chan struct{}
}

// pair joins a worker whose other end the test has.
func (r *rig) pair(id uint64) *proc.Channel {
	r.t.Helper()
	ours, theirs, err := proc.NewPair()
	if err != nil {
		r.t.Fatal(err)
	}
	other, err := proc.NewChannel(theirs)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Join(Worker{ID: id, Channel: ours})
	return other
}

func (r *rig) hire(letter byte) *staff {
	r.t.Helper()
	return r.begin(letter, r.pair(uint64(letter)))
}

func (r *rig) begin(letter byte, c *proc.Channel) *staff {
	s := &staff{letter: letter, channel: c, ended: make(chan struct{})}
	r.staff.Go(func() {
		defer close(s.ended)
		if err := Receive(s.channel, s.arrive); err != nil {
			r.t.Errorf("worker %c: %v", s.letter, err)
		}
	})
	return s
}

func (s *staff) arrive(listener string, fds []int) (back []int) {
	if listener != "web" || s.full.Load() {
		return fds
	}
	for _, fd := range fds {
		s.taken.Add(1)
		file := os.NewFile(uintptr(fd), "connection")
		_, _ = file.Write([]byte{s.letter})
		_ = file.Close()
	}
	return nil
}

// dial connects, and gives what is answered, 0 if that is nothing.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.DialTimeout("tcp", r.at, patience)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (r *rig) letter(c net.Conn) byte {
	r.t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	var p [1]byte
	if _, err := io.ReadFull(c, p[:]); err != nil {
		r.t.Fatalf("it is not served: %v", err)
	}
	return p[0]
}

func (r *rig) ask() byte {
	r.t.Helper()
	return r.letter(r.dial())
}

// TestTurns places by turns, and by what the workers have.
func TestTurns(t *testing.T) {
	r := newRig(t, balance.RoundRobin{})
	for _, letter := range []byte("ab") {
		r.hire(letter)
	}
	counts := map[byte]int{}
	for range 20 {
		counts[r.ask()]++
	}
	if counts['a'] != 10 || counts['b'] != 10 {
		t.Errorf("20 connections went to %v", counts)
	}
}

// TestLeastConnections prefers who has shown the fewest, and counts what has been given since.
func TestLeastConnections(t *testing.T) {
	r := newRig(t, balance.LeastConnections{})
	for _, letter := range []byte("ab") {
		ours, theirs, err := proc.NewPair()
		if err != nil {
			t.Fatal(err)
		}
		other, err := proc.NewChannel(theirs)
		if err != nil {
			t.Fatal(err)
		}
		open := int64(10 * (letter - 'a'))
		r.Join(Worker{ID: uint64(letter), Channel: ours, Shown: func() (int64, time.Duration) { return open, 1 }})
		r.begin(letter, other)
	}
	counts := map[byte]int{}
	for range 20 {
		counts[r.ask()]++
	}
	if counts['a'] != 15 || counts['b'] != 5 {
		t.Errorf("20 connections went to %v, want 15 and 5", counts)
	}
}

// TestCrowd has many come at once, before there is anybody: all are served, by whoever is there first.
func TestCrowd(t *testing.T) {
	r := newRig(t, nil)
	const crowd = 500
	var clients []net.Conn
	for range crowd {
		clients = append(clients, r.dial())
	}
	workers := []*staff{r.hire('a'), r.hire('b')}
	for _, c := range clients {
		r.letter(c)
	}
	if a, b := workers[0].taken.Load(), workers[1].taken.Load(); a+b != crowd {
		t.Errorf("%d and %d were taken of %d", a, b, crowd)
	}
}

// TestNobody accepts nothing while there is no worker.
func TestNobody(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	r.hire('a')
	if got := r.letter(c); got != 'a' {
		t.Errorf("%c has answered", got)
	}
}

// TestDeathBeforeTaking loses no connection of a worker that dies before it has taken what was sent to it.
func TestDeathBeforeTaking(t *testing.T) {
	r := newRig(t, nil)
	dead := r.pair(1)
	var clients []net.Conn
	for range 10 {
		clients = append(clients, r.dial())
	}
	// It has got the first message, and not said so.
	m, err := dead.Receive(context.Background())
	if err != nil || len(m.Descriptors) == 0 {
		t.Fatal(m, err)
	}
	m.Close()
	r.hire('b')
	dead.Close()
	for _, c := range clients {
		if got := r.letter(c); got != 'b' {
			t.Errorf("%c has answered", got)
		}
	}
}

// TestHung gives what waits for a worker that takes nothing to another, and what is under way when it dies.
func TestHung(t *testing.T) {
	r := newRig(t, nil)
	hung := r.pair(1)
	r.hire('b')
	var clients []net.Conn
	for range 100 {
		clients = append(clients, r.dial())
	}
	// All but what is under way are answered before the hung one ends; nobody knows which these are.
	answered := make(chan byte, len(clients))
	for _, c := range clients {
		go func() {
			_ = c.SetDeadline(time.Now().Add(patience))
			var p [1]byte
			_, _ = io.ReadFull(c, p[:])
			answered <- p[0]
		}()
	}
	sure := len(clients) / 2 // at most the other half is under way to the one that hangs
	for range sure {
		if got := <-answered; got != 'b' {
			t.Fatalf("%q has answered", got)
		}
	}
	hung.Close()
	for range len(clients) - sure {
		if got := <-answered; got != 'b' {
			t.Fatalf("%q has answered", got)
		}
	}
}

// TestFull gives what a worker gives back to another; when all are full, nothing is lost, and it goes on afterwards.
func TestFull(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.hire('a'), r.hire('b')
	a.full.Store(true)
	for range 10 {
		if got := r.ask(); got != 'b' {
			t.Errorf("%c has answered", got)
		}
	}
	b.full.Store(true)
	var clients []net.Conn
	for range 100 {
		clients = append(clients, r.dial())
	}
	a.full.Store(false)
	for _, c := range clients {
		if got := r.letter(c); got != 'a' {
			t.Errorf("%c has answered", got)
		}
	}
}

// TestLost gives what did not arrive, for want of descriptors, to another.
func TestLost(t *testing.T) {
	r := newRig(t, nil)
	short := r.pair(1)
	c := r.dial()
	m, err := short.Receive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	number, _, _ := numberOf(m.Payload)
	r.hire('b')
	if err := short.Send(context.Background(), numbered(kindLost, number)); err != nil {
		t.Fatal(err)
	}
	if got := r.letter(c); got != 'b' {
		t.Errorf("%c has answered", got)
	}
	short.Close()
}

// TestRetire has a worker given nothing any more.
func TestRetire(t *testing.T) {
	r := newRig(t, nil)
	a := r.hire('a')
	if got := r.ask(); got != 'a' {
		t.Errorf("%c has answered", got)
	}
	r.hire('b')
	r.Retire('a')
	<-a.ended // its channel has ended in good order
	for range 5 {
		if got := r.ask(); got != 'b' {
			t.Errorf("%c has answered", got)
		}
	}
}

// TestNonsense ends the channel of a worker that says what it should not, and serves on.
func TestNonsense(t *testing.T) {
	for name, m := range map[string]proc.Message{
		"an answer to nothing": numbered(kindTaken, 7),
		"no number":            {Kind: kindTaken, Payload: []byte{1}},
		"another kind":         numbered(99, 1),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			odd := r.pair(1)
			if err := odd.Send(context.Background(), m); err != nil {
				t.Fatal(err)
			}
			if _, err := odd.Receive(context.Background()); !errors.Is(err, io.EOF) {
				t.Errorf("the channel is not closed: %v", err)
			}
			odd.Close()
			r.hire('b')
			r.ask()
		})
	}
}

// TestWorkerBelievesNothing ends the channel of a parent that says what it should not.
func TestWorkerBelievesNothing(t *testing.T) {
	for name, m := range map[string]proc.Message{
		"a gap":        connections(2, "web", nil),
		"no number":    {Kind: kindConnections, Payload: []byte{1}},
		"another kind": numbered(99, 1),
	} {
		t.Run(name, func(t *testing.T) {
			leaksNothing(t)
			ours, theirs, err := proc.NewPair()
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			other, err := proc.NewChannel(theirs)
			if err != nil {
				t.Fatal(err)
			}
			if err := ours.Send(context.Background(), m); err != nil {
				t.Fatal(err)
			}
			if err := Receive(other, func(string, []int) []int { return nil }); !errors.Is(err, ErrProtocol) {
				t.Errorf("it says %v", err)
			}
		})
	}
}

// BenchmarkPass is a connection from the accept to its worker.
func BenchmarkPass(b *testing.B) {
	socket, err := listen.Open(listen.Spec{Network: "tcp", Address: netip.MustParseAddrPort("127.0.0.1:0"), Backlog: 1024})
	if err != nil {
		b.Fatal(err)
	}
	a := New(Options{})
	ours, theirs, err := proc.NewPair()
	if err != nil {
		b.Fatal(err)
	}
	other, err := proc.NewChannel(theirs)
	if err != nil {
		b.Fatal(err)
	}
	a.Join(Worker{ID: 1, Channel: ours})
	var group sync.WaitGroup
	came := make(chan struct{}, 1024)
	group.Go(func() {
		_ = Receive(other, func(_ string, fds []int) []int {
			for _, fd := range fds {
				came <- struct{}{}
				_ = sys.Close(fd)
			}
			return nil
		})
	})
	b.ReportAllocs()
	const together = 64
	for done := 0; done < b.N; done += together {
		b.StopTimer()
		a.Leave("web")
		var clients []net.Conn
		for range together {
			c, err := net.Dial("tcp", socket.Spec.Address.String())
			if err != nil {
				b.Fatal(err)
			}
			clients = append(clients, c)
		}
		b.StartTimer()
		if err := a.Listen("web", socket.FD); err != nil {
			b.Fatal(err)
		}
		for range together {
			<-came
		}
		b.StopTimer()
		for _, c := range clients {
			_ = c.Close()
		}
		b.StartTimer()
	}
	if err := a.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	group.Wait()
	_ = socket.Close()
}
