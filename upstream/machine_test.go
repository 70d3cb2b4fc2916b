package upstream

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// machine is threads of control whose time moves by calls and whose connections lead to the test. Nothing happens by
// itself.
type machine struct {
	now     int64
	threads []*thread
	conns   []*line // all that were dialled and are not closed, in their order
}

// thread is one thread of control: a conn.Dialer.
type thread struct {
	machine  *machine
	number   int
	mu       sync.Mutex // for posts: names are followed on another goroutine
	posts    []func()
	tickers  []*ticking
	stopping bool
	dead     bool
}

type ticking struct {
	next, every int64
	f           func()
	over        bool
}

func newMachine(threads int) *machine {
	m := &machine{now: int64(time.Second)}
	for i := range threads {
		m.threads = append(m.threads, &thread{machine: m, number: 2*i + 1})
	}
	return m
}

func (t *thread) Number() int    { return t.number }
func (t *thread) Now() int64     { return t.machine.now }
func (t *thread) Stopping() bool { return t.stopping }

func (t *thread) Do(f func()) bool {
	if t.dead {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.posts = append(t.posts, f)
	return true
}

func (t *thread) Every(d time.Duration, f func()) (stop func()) {
	every := max(int64(d), int64(8*time.Millisecond))
	k := &ticking{next: t.machine.now + every, every: every, f: f}
	t.tickers = append(t.tickers, k)
	return func() { k.over = true }
}

func (t *thread) OpenDatagrams(*conn.Target, conn.DatagramHandler) (conn.Datagrams, error) {
	return nil, syscall.ENOTSUP
}

func (t *thread) Dial(target *conn.Target, h conn.Handler, v any) conn.Conn {
	c := &line{thread: t, target: target, handler: h, attached: v, state: conn.Opening, alive: true}
	t.machine.conns = append(t.machine.conns, c)
	return c
}

// turn runs what was posted and tells what has closed, until nothing more happens.
func (m *machine) turn() {
	for busy := true; busy; {
		busy = false
		for _, t := range m.threads {
			t.mu.Lock()
			posts := t.posts
			t.posts = nil
			t.mu.Unlock()
			for _, f := range posts {
				f()
				busy = true
			}
		}
		for _, c := range slices.Clone(m.conns) {
			if c.state == conn.Closing {
				c.close()
				busy = true
			}
		}
	}
}

// pass moves the time on in steps, with all that is due.
func (m *machine) pass(d time.Duration) {
	m.turn()
	for end := m.now + int64(d); m.now < end; {
		m.now = min(end, m.now+int64(10*time.Millisecond))
		for _, c := range slices.Clone(m.conns) {
			if c.timer != 0 && m.now >= c.timer && c.state <= conn.Draining {
				c.timer = 0
				c.handler.Expired(c)
			}
		}
		for _, t := range m.threads {
			for i := 0; i < len(t.tickers); i++ {
				if k := t.tickers[i]; !k.over && m.now >= k.next {
					k.next = m.now + k.every
					k.f()
				}
			}
			t.tickers = slices.DeleteFunc(t.tickers, func(k *ticking) bool { return k.over })
		}
		m.turn()
	}
}

// openAll has all that is being dialled succeed.
func (m *machine) openAll() {
	for _, c := range slices.Clone(m.conns) {
		if c.state == conn.Opening {
			c.open()
		}
	}
	m.turn()
}

// line is a connection whose peer is the test.
type line struct {
	conn.Conn // what is not needed
	thread    *thread
	target    *conn.Target
	handler   conn.Handler
	attached  any
	state     conn.State
	timer     int64
	idle      bool
	alive     bool // what a look finds
	stuck     bool // cannot be moved
	looks     int
	why       error
}

func (c *line) State() conn.State     { return c.state }
func (c *line) Attach(v any)          { c.attached = v }
func (c *line) Attached() any         { return c.attached }
func (c *line) Now() int64            { return c.thread.machine.now }
func (c *line) SetIdle(idle bool)     { c.idle = idle }
func (c *line) Resume()               {}
func (c *line) Queued() int64         { return 0 }
func (c *line) Dialer() conn.Dialer   { return c.thread }
func (c *line) Local() netip.AddrPort { return netip.AddrPort{} }

func (c *line) SetTimer(ns int64) {
	c.timer = 0
	if ns > 0 {
		c.timer = c.Now() + ns
	}
}

func (c *line) Alive() bool {
	c.looks++
	return c.alive && c.state == conn.Open
}

func (c *line) Drain() {
	if c.state < conn.Closing {
		c.state = conn.Closing
	}
}

func (c *line) Abort(why error) {
	if c.state < conn.Closing {
		c.state, c.why = conn.Closing, why
	}
}

// Move carries the connection over when both threads have turned.
func (c *line) Move(to conn.Dialer, h conn.Handler, v any, taken func(conn.Conn)) {
	if c.stuck {
		to.Do(func() { taken(nil) })
		return
	}
	there := to.(*thread)
	c.thread.Do(func() {
		if c.state != conn.Open || !c.alive {
			to.Do(func() { taken(nil) })
			return
		}
		c.Abort(conn.ErrMoved)
		c.close()
		moved := &line{thread: there, target: c.target, handler: h, attached: v, state: conn.Open, alive: true}
		if !to.Do(func() {
			c.thread.machine.conns = append(c.thread.machine.conns, moved)
			h.Opened(moved)
			taken(moved)
		}) {
			return
		}
	})
}

func (c *line) open() {
	c.state = conn.Open
	c.handler.Opened(c)
}

// fail ends the connection with an error, before or after it was open.
func (c *line) fail(why error) {
	c.Abort(why)
	c.close()
}

func (c *line) close() {
	m := c.thread.machine
	m.conns = slices.DeleteFunc(m.conns, func(other *line) bool { return other == c })
	c.state = conn.Closed
	c.handler.Closed(c, c.why)
}

// end is the peer's end.
func (c *line) end() {
	c.alive = false
	if c.state == conn.Open {
		c.handler.Ended(c)
	}
	c.thread.machine.turn()
}

func (c *line) receive(text string) {
	if c.state == conn.Open {
		c.handler.Received(c, []byte(text))
	}
	c.thread.machine.turn()
}

// user is somebody who wants a link: waiter and handler in one.
type user struct {
	Want
	answers int
	link    *Link
	err     error
	closed  bool
	got     string
	ended   bool
	expired int
}

func (u *user) Granted(l *Link) { u.answers, u.link = u.answers+1, l }
func (u *user) Denied(why error) {
	u.answers, u.err = u.answers+1, why
}

func (u *user) Opened(conn.Conn) { panic("a link that is granted is open") }
func (u *user) Received(_ conn.Conn, in []byte) int {
	u.got += string(in)
	return len(in)
}
func (u *user) Ended(conn.Conn)   { u.ended = true }
func (u *user) Flushed(conn.Conn) {}
func (u *user) Expired(conn.Conn) { u.expired++ }
func (u *user) Stopped(conn.Conn) {}
func (u *user) Closed(c conn.Conn, _ error) {
	if l := LinkOf(c); l != u.link || l.Owner != u {
		panic("the link that closed is not the one that was granted")
	}
	u.link, u.closed = nil, true
}

// want asks for a link.
func want(a *Agent) *user { return wantAs(a, Want{}) }

func wantAs(a *Agent, w Want) *user {
	u := &user{Want: w}
	u.Handler, u.Owner, u.Waiter = u, u, u
	a.Acquire(&u.Want)
	return u
}

// granted asks for a link and has it dialled if it must be.
func granted(t testing.TB, a *Agent) *user {
	t.Helper()
	u := want(a)
	a.dialer.(*thread).machine.turn()
	a.dialer.(*thread).machine.openAll()
	if u.link == nil {
		t.Fatalf("no link was granted: %v", u.err)
	}
	return u
}

func (u *user) release(a *Agent) {
	l := u.link
	u.link = nil
	a.Release(l, true)
}

// line is the user's connection.
func (u *user) line() *line { return u.link.Conn.(*line) }

// address is the nth of the addresses of tests.
func address(n int) string { return fmt.Sprintf("10.1.0.%d:80", n) }

// groupOf makes a group of n endpoints.
func groupOf(t testing.TB, n int, o Options) *Group {
	t.Helper()
	forgetGauges()
	for i := range n {
		o.Endpoints = append(o.Endpoints, EndpointOptions{Address: address(i + 1)})
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// forgetGauges has a test see its own ports only: gauges are those of the process.
func forgetGauges() {
	gauges.Lock()
	defer gauges.Unlock()
	clear(gauges.of)
	clear(gauges.users)
}

// count is a counter's value now.
func count(g *Group, c Counter) uint64 { return g.Snapshot().Counts[c] }

// expect compares counters.
func expect(t testing.TB, g *Group, want map[Counter]uint64) {
	t.Helper()
	for c, n := range want {
		if got := count(g, c); got != n {
			t.Errorf("%v is %d, want %d", c, got, n)
		}
	}
}
