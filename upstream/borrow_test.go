package upstream

import (
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// pair is two threads with agents, of which the first has n idle links.
func pair(t *testing.T, n int, o Options) (m *machine, g *Group, a, b *Agent) {
	m = newMachine(2)
	g = groupOf(t, 1, o)
	a, b = g.Agent(m.threads[0]), g.Agent(m.threads[1])
	var all []*user
	for range n {
		all = append(all, granted(t, a))
	}
	for _, u := range all {
		u.release(a)
	}
	return m, g, a, b
}

func TestBorrowing(t *testing.T) {
	m, g, a, b := pair(t, 2, Options{})
	m.pass(50 * time.Millisecond)
	u := want(b)
	m.turn()
	if u.link == nil || !u.link.Reused || u.line().thread != m.threads[1] || len(m.conns) != 2 {
		t.Fatalf("granted %+v, %v", u.link, u.err)
	}
	u.line().receive("hello")
	if u.got != "hello" || a.links.Len() != 1 {
		t.Errorf("the borrower heard %q; the lender has %d links", u.got, a.links.Len())
	}
	u.release(b)
	if want(b).link == nil {
		t.Error("the link did not stay where it is used")
	}
	expect(t, g, map[Counter]uint64{Dialled: 2, Borrowed: 1, Acquired: 4, Reused: 2})
	if e := g.Snapshot().Endpoints[0]; e.Open != 2 || e.Leased != 1 || e.Idle != 1 || e.Ports[0].Open != 2 {
		t.Errorf("the books say %+v", e)
	}
}

func TestBusyLinksAreNotBorrowed(t *testing.T) {
	m, g, _, b := pair(t, 1, Options{})
	u := want(b) // at once: the first thread may well need it again
	m.openAll()
	if u.link == nil || u.link.Reused {
		t.Errorf("granted %+v", u.link)
	}
	expect(t, g, map[Counter]uint64{Dialled: 2, Borrowed: 0})
}

func TestLinkIsBorrowedRatherThanWaitedFor(t *testing.T) {
	m, g, _, b := pair(t, 1, Options{Pool: PoolOptions{Max: 1}})
	u := want(b)
	m.turn()
	if u.link == nil || u.line().thread != m.threads[1] {
		t.Errorf("granted %+v", u.link)
	}
	expect(t, g, map[Counter]uint64{Dialled: 1, Borrowed: 1, Queued: 0})
}

func TestNothingToBorrow(t *testing.T) {
	for name, spoil := range map[string]func(m *machine){
		"it is dead":         func(m *machine) { m.conns[0].alive = false },
		"it cannot be moved": func(m *machine) { m.conns[0].stuck = true },
		"it ends on its way": func(m *machine) {
			m.threads[0].posts[0]()
			m.threads[0].posts = m.threads[0].posts[1:]
			m.conns[0].end()
		},
		"nobody answers":       func(m *machine) { m.threads[0].posts = nil },
		"the thread has ended": func(m *machine) { m.threads[0].dead = true },
	} {
		m, g, _, b := pair(t, 1, Options{})
		m.pass(50 * time.Millisecond)
		var u *user
		if m.threads[0].dead = name == "the thread has ended"; !m.threads[0].dead {
			u = want(b)
			spoil(m)
		} else {
			u = want(b)
		}
		m.pass(100 * time.Millisecond)
		m.openAll()
		if u.link == nil || u.link.Reused || u.answers != 1 {
			t.Errorf("%s: granted %+v, %v", name, u.link, u.err)
		}
		expect(t, g, map[Counter]uint64{Dialled: 2, Borrowed: 0})
		if e := g.Snapshot().Endpoints[0]; e.Open != len(m.conns) || e.Ports[0].Open != len(m.conns) {
			t.Errorf("%s: %d connections; the books say %+v", name, len(m.conns), e)
		}
		for _, c := range m.conns {
			c.Abort(nil)
		}
		m.threads[0].dead = false
		m.turn()
	}
}

func TestBorrowedForACancelledWant(t *testing.T) {
	m, _, a, b := pair(t, 1, Options{})
	m.pass(50 * time.Millisecond)
	u := want(b)
	b.Cancel(&u.Want)
	m.turn()
	if u.answers != 0 || a.links.Len() != 0 || b.links.Len() != 1 {
		t.Errorf("%d answers; %d links here and %d there", u.answers, b.links.Len(), a.links.Len())
	}
}

func TestAlone(t *testing.T) {
	m, g, a, b := pair(t, 1, Options{Pool: PoolOptions{Alone: true, Max: 1}})
	m.pass(50 * time.Millisecond)
	u := want(b) // there is no place for it but the idle link's
	m.turn()
	m.openAll()
	if u.link == nil || u.link.Reused {
		t.Fatalf("granted %+v, %v", u.link, u.err)
	}
	v := want(a)
	u.release(b)
	m.turn()
	m.openAll()
	if v.link == nil || v.link.Reused {
		t.Errorf("granted %+v, %v", v.link, v.err)
	}
	expect(t, g, map[Counter]uint64{Borrowed: 0})
}

func TestWhoWaitsLongestIsServedFirst(t *testing.T) {
	m, _, a, b := pair(t, 0, Options{Pool: PoolOptions{Max: 1}})
	u := granted(t, a)
	there := want(b)
	m.pass(10 * time.Millisecond)
	here := want(a)
	u.release(a)
	m.turn()
	if there.link == nil || here.link != nil {
		t.Fatalf("here %v, there %v", here.link, there.link)
	}
	there.release(b)
	m.turn()
	if here.link == nil || !here.link.Reused || here.line().thread != m.threads[0] {
		t.Errorf("here %v, %v", here.link, here.err)
	}
}

func TestPlaceThatBecomesFreeIsUsedThere(t *testing.T) {
	m, _, a, b := pair(t, 0, Options{Pool: PoolOptions{Max: 1}})
	u := granted(t, a)
	there := want(b)
	u.link.Conn.Abort(conn.ErrAborted)
	m.turn()
	m.openAll()
	if there.link == nil {
		t.Errorf("it still waits: %v", there.err)
	}
}
