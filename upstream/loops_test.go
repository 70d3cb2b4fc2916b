package upstream_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/upstream"
)

const patience = 20 * time.Second

// rig is real loops with an agent each. Their clients are callers, who live on the loops.
type rig struct {
	t      testing.TB
	group  *upstream.Group
	loops  []*loop.Loop
	agents []*upstream.Agent
	ended  sync.WaitGroup
	close  sync.Once
}

// starter learns the dialer of a loop, and has nobody to serve.
type starter struct {
	conn.Handler
	started func(conn.Dialer)
}

func (s *starter) Started(d conn.Dialer) { s.started(d) }

// newRig starts loops with agents of one group.
func newRig(t testing.TB, loops int, o upstream.Options) *rig {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	g, err := upstream.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, group: g}
	for i := range loops {
		r.run(i)
	}
	t.Cleanup(func() {
		r.stop()
		goleak.VerifyNone(t, leaks)
	})
	return r
}

// stop ends the loops, and after them the group.
func (r *rig) stop() {
	r.close.Do(func() {
		for _, l := range r.loops {
			l.Stop(false)
		}
		r.ended.Wait()
		r.group.Close()
		for _, e := range r.group.Snapshot().Endpoints {
			if e.Open != 0 || e.Leased != 0 || e.Idle != 0 {
				r.t.Errorf("after the end %s has %d connections, %d leased, %d idle", e.Address, e.Open, e.Leased, e.Idle)
			}
		}
	})
}

// run starts one loop.
func (r *rig) run(number int) {
	spec, err := listen.Parse("127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	listener := listen.NewGroup(spec)
	fd, err := listener.Open(0)
	if err != nil {
		r.t.Fatal(err)
	}
	ready := make(chan *upstream.Agent, 1)
	failed := make(chan error, 1)
	r.ended.Add(1)
	go func() {
		defer r.ended.Done()
		runtime.LockOSThread() // and never unlock: drivers leave marks on the thread
		defer listener.Closed(0)
		blocks, err := buf.NewPool(4<<10, 1024, buf.Heap)
		if err != nil {
			failed <- err
			return
		}
		d, err := openPoller(driver.Options{Blocks: blocks, Ops: 8 << 10})
		if err != nil {
			failed <- err
			return
		}
		l, err := loop.New(loop.Options{
			Driver: d, Blocks: blocks, Meter: new(meter.Set), Connections: 4000, OutputBytes: 1 << 20,
		})
		if err == nil {
			_, err = l.Listen(fd, &starter{started: func(d conn.Dialer) { ready <- r.group.Agent(d) }})
		}
		if err != nil {
			failed <- err
			return
		}
		r.loops = append(r.loops, l)
		if err := l.Run(); err != nil {
			r.t.Errorf("loop %d: %v", number, err)
		}
		if err := l.Close(); err != nil {
			r.t.Errorf("loop %d: %v", number, err)
		}
		if n := blocks.Lent(); n != 0 {
			r.t.Errorf("loop %d leaves %d blocks", number, n)
		}
	}()
	select {
	case a := <-ready:
		r.agents = append(r.agents, a)
	case err := <-failed:
		r.t.Fatal(err)
	}
}

// do runs f on a loop and waits for it.
func (r *rig) do(number int, f func()) {
	r.t.Helper()
	done := make(chan struct{})
	if !r.loops[number].Do(func() { f(); close(done) }) {
		r.t.Fatal("the loop has ended")
	}
	r.await(done, "a function on a loop")
}

func (r *rig) await(done <-chan struct{}, what string) {
	r.t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		r.t.Fatalf("%s did not end; %+v", what, r.group.Snapshot())
	}
}

// caller asks one question after the other, each on a link of its own.
type caller struct {
	upstream.Want
	agent  *upstream.Agent
	link   *upstream.Link
	left   int
	lost   int // links that ended while they were in use
	denied error
	answer string
	done   chan struct{}
}

// call has a caller ask n questions on a loop; done is closed after the last.
func (r *rig) call(number, n int) *caller {
	c := &caller{agent: r.agents[number], left: n, done: make(chan struct{})}
	c.Handler, c.Owner, c.Waiter = c, c, c
	r.do(number, func() { c.agent.Acquire(&c.Want) })
	return c
}

func (c *caller) Granted(l *upstream.Link) {
	c.link = l
	l.Conn.Write([]byte("question\n"))
}

func (c *caller) Denied(why error) {
	c.denied = why
	close(c.done)
}

func (c *caller) Received(_ conn.Conn, in []byte) int {
	c.answer += string(in)
	if c.answer[len(c.answer)-1] != '\n' {
		return len(in)
	}
	c.answer = ""
	l := c.link
	c.link = nil
	c.agent.Release(l, true)
	c.agent.Report(l.Endpoint, upstream.Success)
	if c.left--; c.left == 0 {
		close(c.done)
	} else {
		c.agent.Acquire(&c.Want)
	}
	return len(in)
}

func (c *caller) Closed(conn.Conn, error) {
	c.link = nil
	c.lost++
	c.agent.Acquire(&c.Want)
}
func (c *caller) Opened(conn.Conn)  {}
func (c *caller) Ended(k conn.Conn) { k.Drain() }
func (c *caller) Flushed(conn.Conn) {}
func (c *caller) Expired(conn.Conn) {}
func (c *caller) Stopped(conn.Conn) {}

// answerer is a server that answers each line.
type answerer struct {
	stopped  bool // under mu
	listener net.Listener
	idle     time.Duration // after which it ends a connection; 0: never
	mu       sync.Mutex
	open     map[net.Conn]bool
	ended    sync.WaitGroup
}

func answer(t testing.TB, network string, idle time.Duration) *answerer {
	t.Helper()
	at := "127.0.0.23:0" // where no client takes the port of one that is gone
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	s := &answerer{listener: l, idle: idle, open: map[net.Conn]bool{}}
	s.ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.admit(c)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// admit serves a connection, unless the server has ended while it was accepted.
func (s *answerer) admit(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		c.Close()
		return
	}
	s.open[c] = true
	s.ended.Go(func() { s.serve(c) })
}

func (s *answerer) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	}()
	for lines := bufio.NewReader(c); ; {
		if s.idle > 0 {
			c.SetReadDeadline(time.Now().Add(s.idle))
		}
		if _, err := lines.ReadString('\n'); err != nil {
			return
		}
		if _, err := c.Write([]byte("answer\n")); err != nil {
			return
		}
	}
}

// stop ends the server and its connections.
func (s *answerer) stop() {
	s.listener.Close()
	s.mu.Lock()
	s.stopped = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.ended.Wait()
}

func (s *answerer) address() string {
	if s.listener.Addr().Network() == "unix" {
		return "unix:" + s.listener.Addr().String()
	}
	return s.listener.Addr().String()
}

func to(servers ...*answerer) (list []upstream.EndpointOptions) {
	for _, s := range servers {
		list = append(list, upstream.EndpointOptions{Address: s.address()})
	}
	return list
}

func TestReuseUnderLoad(t *testing.T) {
	const loops, callers, warming, questions = 2, 24, 50, 500
	r := newRig(t, loops, upstream.Options{Endpoints: to(answer(t, "tcp", 0), answer(t, "unix", 0))})
	var before upstream.Counts
	for _, n := range []int{warming, questions} {
		before = r.group.Snapshot().Counts
		var all []*caller
		for i := range callers {
			all = append(all, r.call(i%loops, n))
		}
		for _, c := range all {
			r.await(c.done, "a caller")
			if c.denied != nil || c.lost != 0 {
				t.Fatalf("denied with %v, %d links were lost", c.denied, c.lost)
			}
		}
	}
	after := r.group.Snapshot().Counts
	acquired := after[upstream.Acquired] - before[upstream.Acquired]
	reused := after[upstream.Reused] - before[upstream.Reused]
	// Nobody ever needs more than a link to each endpoint for each caller: that many questions may be somebody's first.
	if acquired != callers*questions || acquired-reused > 2*callers {
		t.Errorf("%d links were granted, %d of them for another time", acquired, reused)
	}
	if dialled := after[upstream.Dialled]; dialled > 2*callers {
		t.Errorf("%d links were dialled for %d callers", dialled, callers)
	}
	t.Logf("%d granted, %d reused, %d dialled, %d borrowed", acquired, reused, after[upstream.Dialled],
		after[upstream.Borrowed])
}

func TestLinkMovesBetweenLoops(t *testing.T) {
	r := newRig(t, 3, upstream.Options{Endpoints: to(answer(t, "tcp", 0))})
	for n := range 30 {
		c := r.call(n%3, 1)
		r.await(c.done, "a caller")
		if c.denied != nil || c.lost != 0 {
			t.Fatalf("denied with %v, %d links were lost", c.denied, c.lost)
		}
		r.rest(30 * time.Millisecond)
	}
	// A thread that is kept from running answers too late, and then another link is made: soon each loop has one of its
	// own, and needs no other's. Hardly any is made then.
	counts := r.group.Snapshot().Counts
	if counts[upstream.Dialled] > 10 || counts[upstream.Borrowed] == 0 {
		t.Errorf("%d links were dialled and %d moved", counts[upstream.Dialled], counts[upstream.Borrowed])
	}
}

// rest lets time pass on the first loop.
func (r *rig) rest(d time.Duration) {
	over := make(chan struct{})
	r.do(0, func() {
		var stop func()
		stop = r.agents[0].Dialer().Every(d, func() {
			stop()
			close(over)
		})
	})
	r.await(over, "a rest")
}

// TestIdleTimeoutIsLearned ends links before the endpoint does, as soon as their ends have told when that is. How long
// that takes is not said: on a busy machine some ends are seen late, and tell of a longer time.
func TestIdleTimeoutIsLearned(t *testing.T) {
	const idle = 300 * time.Millisecond
	r := newRig(t, 1, upstream.Options{Endpoints: to(answer(t, "tcp", idle))})
	s := r.group.Snapshot()
	for end := time.Now().Add(patience); s.Counts[upstream.RetiredLearned] == 0; s = r.group.Snapshot() {
		if time.Now().After(end) {
			t.Fatalf("no link was ended in time, learned %v", s.Endpoints[0].Learned)
		}
		r.await(r.call(0, 1).done, "a caller")
		r.rest(idle + 100*time.Millisecond)
	}
	if learned := s.Endpoints[0].Learned; learned < idle*8/10 || learned > 10*idle {
		t.Errorf("learned %v, it is %v", learned, idle)
	}
	if n := s.Counts[upstream.StaleEnded]; n < 2 {
		t.Errorf("%d links were ended by the endpoint; one may be a restart", n)
	}
}

func TestAllDieAndComeBack(t *testing.T) {
	first := answer(t, "tcp", 0)
	address := first.listener.Addr().String()
	r := newRig(t, 1, upstream.Options{
		Endpoints: to(first), Pool: upstream.PoolOptions{Min: 3},
		Eject: &upstream.EjectOptions{Failures: 2, Base: 100 * time.Millisecond, Max: 200 * time.Millisecond},
	})
	r.until("three links are there", func(s upstream.Snapshot) bool { return s.Endpoints[0].Idle == 3 })
	first.stop()
	var dial *upstream.DialError
	c := r.call(0, 1)
	r.await(c.done, "a caller")
	if !errors.As(c.denied, &dial) && !errors.Is(c.denied, upstream.ErrNoEndpoint) {
		t.Errorf("denied with %v", c.denied)
	}
	r.until("the endpoint is out", func(s upstream.Snapshot) bool { return s.Endpoints[0].State == "ejected" })
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	second := &answerer{listener: l, open: map[net.Conn]bool{}}
	second.ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			second.admit(c)
		}
	})
	t.Cleanup(second.stop)
	r.until("three links are there again", func(s upstream.Snapshot) bool {
		return s.Endpoints[0].Idle == 3 && s.Endpoints[0].State == "up"
	})
	if c := r.call(0, 5); true {
		r.await(c.done, "a caller")
		if c.denied != nil {
			t.Errorf("denied with %v", c.denied)
		}
	}
}

// until waits for a state of the group.
func (r *rig) until(what string, so func(upstream.Snapshot) bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !so(r.group.Snapshot()); r.rest(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("it did not come to pass that %s: %+v", what, r.group.Snapshot())
		}
	}
}

// BenchmarkExchange is a question and an answer over a pooled link, with the socket calls of both sides.
func BenchmarkExchange(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			r := newRig(b, 1, upstream.Options{Endpoints: to(answer(b, "tcp", 0))})
			b.ReportAllocs()
			b.ResetTimer()
			var all []*caller
			for range callers {
				all = append(all, r.call(0, max(1, b.N/callers)))
			}
			for _, c := range all {
				r.await(c.done, "a caller")
			}
		})
	}
}
