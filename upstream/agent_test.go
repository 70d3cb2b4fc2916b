package upstream

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

func TestReleasedLinkIsUsedAgain(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{})
	a := g.Agent(m.threads[0])
	u := granted(t, a)
	first := u.line()
	if u.link.Reused || LinkOf(first) != u.link || u.link.Endpoint.Address() != address(1) {
		t.Errorf("a new link is %+v", u.link)
	}
	u.line().receive("hello")
	first.SetTimer(int64(time.Second))
	u.release(a)
	m.pass(2 * time.Second)
	if u.got != "hello" || u.expired != 0 {
		t.Errorf("the holder heard %q, and of %d timers", u.got, u.expired)
	}
	again := want(a)
	if again.link == nil || again.line() != first || !again.link.Reused {
		t.Errorf("the second want got %+v", again.link)
	}
	if first.idle {
		t.Error("a leased connection is marked as idle")
	}
	expect(t, g, map[Counter]uint64{Acquired: 2, Reused: 1, Dialled: 1})
}

func TestMostRecentLinkIsUsedFirst(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{})
	a := g.Agent(m.threads[0])
	u, v := granted(t, a), granted(t, a)
	late := v.line()
	u.release(a)
	m.pass(time.Second)
	v.release(a)
	if got := want(a).line(); got != late {
		t.Error("the link that was released first is used first")
	}
}

func TestWhatIsNotReusableIsClosed(t *testing.T) {
	for name, spoil := range map[string]func(a *Agent, u *user){
		"released as not reusable": func(a *Agent, u *user) { a.Release(u.link, false) },
		"ended by the endpoint":    func(a *Agent, u *user) { u.line().end(); a.Release(u.link, true) },
		"drained by its holder":    func(a *Agent, u *user) { u.link.Conn.Drain(); a.Release(u.link, true) },
		"too old": func(a *Agent, u *user) {
			a.dialer.(*thread).machine.pass(time.Hour)
			a.Release(u.link, true)
		},
		"of a server that stops": func(a *Agent, u *user) {
			a.dialer.(*thread).stopping = true
			a.Release(u.link, true)
		},
		"of an endpoint that is gone": func(a *Agent, u *user) {
			a.group.SetEndpoints(nil)
			a.Release(u.link, true)
		},
	} {
		m := newMachine(1)
		g := groupOf(t, 1, Options{})
		a := g.Agent(m.threads[0])
		u := granted(t, a)
		e := u.link.Endpoint
		spoil(a, u)
		m.turn()
		if len(m.conns) != 0 || e.open.Load() != 0 || e.busy.Load() != 0 {
			t.Errorf("%s: %d connections are left, %d counted, %d as busy", name, len(m.conns), e.open.Load(), e.busy.Load())
		}
	}
}

func TestPoolOff(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Off: true, Min: 2}})
	a := g.Agent(m.threads[0])
	for range 5 {
		granted(t, a).release(a)
		m.turn()
	}
	expect(t, g, map[Counter]uint64{Acquired: 5, Reused: 0, Dialled: 5})
	if len(m.conns) != 0 {
		t.Errorf("%d connections are left", len(m.conns))
	}
}

func TestDeniedDial(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 3, Options{Attempts: 2})
	a := g.Agent(m.threads[0])
	u := want(a)
	first := m.conns[0]
	first.fail(syscall.ECONNREFUSED)
	if u.answers != 0 || len(m.conns) != 1 || m.conns[0].target == first.target {
		t.Fatalf("after a refusal there are %d connections, the first to %v", len(m.conns), m.conns[0].target)
	}
	m.conns[0].fail(syscall.EHOSTUNREACH)
	m.turn()
	var dial *DialError
	if !errors.As(u.err, &dial) || dial.Err != syscall.EHOSTUNREACH || u.answers != 1 {
		t.Fatalf("the want got %d answers, and %v", u.answers, u.err)
	}
	if !strings.Contains(u.err.Error(), dial.Endpoint.Address()) {
		t.Errorf("%q does not name the endpoint", u.err)
	}
	expect(t, g, map[Counter]uint64{DialFailed: 2, DeniedDial: 1})
	// Another go of the same want passes over those that it has tried.
	u.Acquire(a)
	if len(m.conns) != 1 || m.conns[0].target.Address == first.target.Address {
		t.Errorf("what had been tried was tried again")
	}
}

// Acquire asks again.
func (u *user) Acquire(a *Agent) { a.Acquire(&u.Want) }

func TestConnectTimeout(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{ConnectTimeout: time.Second})
	a := g.Agent(m.threads[0])
	u := want(a)
	m.pass(900 * time.Millisecond)
	if u.answers != 0 {
		t.Fatalf("denied too soon: %v", u.err)
	}
	m.pass(200 * time.Millisecond)
	if !errors.Is(u.err, ErrConnectTimeout) {
		t.Fatalf("denied with %v", u.err)
	}
	expect(t, g, map[Counter]uint64{DeniedConnectTimeout: 1})
}

func TestOneEndpointThatWasTriedIsBetterThanNone(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{})
	a := g.Agent(m.threads[0])
	u := granted(t, a)
	u.Tried(u.link.Endpoint)
	u.release(a)
	u.Acquire(a)
	if u.link == nil {
		t.Errorf("denied with %v", u.err)
	}
}

func TestPreferredEndpoint(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 3, Options{})
	a := g.Agent(m.threads[0])
	prefer := g.Endpoint(g.set.Load().endpoints[1].ID())
	for range 4 {
		u := wantAs(a, Want{Prefer: prefer})
		m.openAll()
		if u.link == nil || u.link.Endpoint != prefer {
			t.Fatalf("granted %v", u.link)
		}
	}
	prefer.setStatus(statusDown, "for the test")
	u := wantAs(a, Want{Prefer: prefer})
	m.openAll()
	if u.link == nil || u.link.Endpoint == prefer {
		t.Errorf("granted %v, %v", u.link, u.err)
	}
}

func TestFreshWant(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Max: 2}})
	a := g.Agent(m.threads[0])
	granted(t, a).release(a)
	for n := range 2 {
		u := wantAs(a, Want{Fresh: true})
		m.openAll()
		if u.link == nil || u.link.Reused {
			t.Fatalf("fresh want %d: %+v, %v", n, u.link, u.err)
		}
	}
	expect(t, g, map[Counter]uint64{Dialled: 3, RetiredSurplus: 1})
}

func TestCancel(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Max: 1}})
	a := g.Agent(m.threads[0])
	dials, waits := want(a), want(a)
	a.Cancel(&dials.Want)
	a.Cancel(&dials.Want)
	a.Cancel(&waits.Want)
	m.openAll()
	if dials.answers+waits.answers != 0 {
		t.Errorf("cancelled wants were answered %d and %d times", dials.answers, waits.answers)
	}
	if u := want(a); u.link == nil {
		t.Errorf("what was dialled for a cancelled want is not there: %v", u.err)
	}
	expect(t, g, map[Counter]uint64{Cancelled: 2, Dialled: 1})
}

func TestCancelWithoutAPool(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Off: true}, Eject: &EjectOptions{Failures: 1}})
	a := g.Agent(m.threads[0])
	u := want(a)
	a.Cancel(&u.Want)
	m.turn()
	if s := g.Snapshot().Endpoints[0]; len(m.conns) != 0 || s.Open != 0 || s.State != "up" || u.answers != 0 {
		t.Errorf("%d connections are left, %d answers, %+v", len(m.conns), u.answers, s)
	}
}

func TestReleasedLinkServesOneThatDials(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{})
	a := g.Agent(m.threads[0])
	u := granted(t, a)
	v := want(a) // dials
	u.release(a)
	if v.link == nil {
		t.Fatal("who dials does not get the link that became free")
	}
	m.openAll()
	v.release(a)
	if v.answers != 1 || a.links.Len() != 2 {
		t.Errorf("%d answers, %d idle links", v.answers, a.links.Len())
	}
}

func TestQueue(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 2, Options{Pool: PoolOptions{Max: 1}, Queue: QueueOptions{Limit: 3, Timeout: time.Second}})
	a := g.Agent(m.threads[0])
	u, v := granted(t, a), granted(t, a)
	waits := []*user{want(a), want(a), want(a)}
	if refused := want(a); refused.err != ErrQueueFull {
		t.Errorf("the fourth that waits got %v", refused.err)
	}
	m.pass(500 * time.Millisecond)
	u.release(a)
	if waits[0].link == nil {
		t.Error("the first did not get what became free")
	}
	v.line().fail(syscall.ECONNRESET) // its place becomes free
	m.openAll()
	if waits[1].link == nil || waits[1].link.Reused {
		t.Error("the second did not get the place that became free")
	}
	m.pass(600 * time.Millisecond)
	if waits[2].err != ErrQueueTimeout {
		t.Errorf("the third got %v", waits[2].err)
	}
	expect(t, g, map[Counter]uint64{Queued: 3, DeniedQueueFull: 1, DeniedQueueTimeout: 1})
}

func TestNobodyWaitsWithoutAQueue(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Max: 1}, Queue: QueueOptions{Limit: -1}})
	a := g.Agent(m.threads[0])
	granted(t, a)
	if u := want(a); u.err != ErrQueueFull {
		t.Errorf("got %v", u.err)
	}
}

func TestClosedGroup(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Max: 2}})
	a := g.Agent(m.threads[0])
	leased := granted(t, a)
	granted(t, a).release(a)
	kept := m.conns[1]
	granted(t, a)
	waits := want(a)
	g.Close()
	g.Close()
	m.turn()
	if waits.err != ErrClosed || want(a).err != ErrClosed {
		t.Errorf("who waited got %v", waits.err)
	}
	if leased.link == nil || leased.line().state != conn.Open || kept.state != conn.Open {
		t.Error("a leased link was closed")
	}
	leased.release(a)
	m.turn()
	if len(m.conns) != 1 {
		t.Errorf("%d connections are left", len(m.conns))
	}
	if err := g.SetEndpoints(nil); err != ErrClosed {
		t.Errorf("SetEndpoints: %v", err)
	}
}

func TestStoppedServer(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Min: 2}})
	a := g.Agent(m.threads[0])
	m.openAll()
	u := want(a)
	v := want(a)
	w := want(a) // dials
	v.release(a)
	m.threads[0].stopping = true
	for _, c := range append([]*line{}, m.conns...) {
		a.Stopped(c)
	}
	m.turn()
	m.openAll()
	if u.link == nil || w.link == nil || a.links.Len() != 0 {
		t.Errorf("links: %v, %v; %d idle", u.link, w.link, a.links.Len())
	}
	u.release(a)
	w.release(a)
	m.pass(time.Minute)
	if len(m.conns) != 0 {
		t.Errorf("%d connections are left", len(m.conns))
	}
}
