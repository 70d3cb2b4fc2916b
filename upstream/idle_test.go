package upstream

import (
	"syscall"
	"testing"
	"time"
)

func TestIdleLinkIsRetired(t *testing.T) {
	for name, c := range map[string]struct {
		pool    PoolOptions
		wait    time.Duration
		counter Counter
	}{
		"after the idle timeout": {PoolOptions{IdleTimeout: 10 * time.Second}, 10 * time.Second, RetiredIdle},
		"when it is too old":     {PoolOptions{IdleTimeout: time.Hour, MaxAge: 20 * time.Second}, time.Hour, RetiredAge},
	} {
		m := newMachine(1)
		g := groupOf(t, 1, Options{Pool: c.pool})
		granted(t, g.Agent(m.threads[0])).release(g.Agent(m.threads[0]))
		m.pass(c.wait - 100*time.Millisecond)
		if len(m.conns) != 1 {
			t.Errorf("%s: it was closed too soon", name)
		}
		m.pass(200 * time.Millisecond)
		if len(m.conns) != 0 {
			t.Errorf("%s: it is still open", name)
		}
		expect(t, g, map[Counter]uint64{c.counter: 1})
	}
}

func TestOldLinkIsNotUsedAgain(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{MaxAge: time.Second}})
	a := g.Agent(m.threads[0])
	u, v := granted(t, a), granted(t, a)
	u.release(a)
	m.pass(900 * time.Millisecond)
	v.release(a)
	m.now += int64(200 * time.Millisecond) // nothing has been called since
	if w := want(a); w.link != nil {
		t.Error("a link was granted that is too old")
	}
	expect(t, g, map[Counter]uint64{RetiredAge: 2, Dialled: 3})
}

func TestLookBeforeUse(t *testing.T) {
	for name, c := range map[string]struct {
		rest  time.Duration
		look  bool
		looks int
	}{
		"in steady use":           {50 * time.Millisecond, false, 0},
		"after a rest":            {150 * time.Millisecond, false, 1},
		"because it is asked for": {0, true, 1},
	} {
		for _, alive := range []bool{true, false} {
			m := newMachine(1)
			g := groupOf(t, 1, Options{})
			a := g.Agent(m.threads[0])
			u := granted(t, a)
			first := u.line()
			u.release(a)
			m.pass(c.rest)
			first.alive = alive
			again := wantAs(a, Want{Look: c.look})
			m.openAll()
			if first.looks != c.looks {
				t.Errorf("%s: %d looks, want %d", name, first.looks, c.looks)
			}
			if same := again.link != nil && again.line() == first; same != (alive || c.looks == 0) {
				t.Errorf("%s: the link, alive: %v, was granted: %v", name, alive, same)
			}
			if found := count(g, StaleFound); found != 0 != (!alive && c.looks > 0) {
				t.Errorf("%s: %d links were found dead", name, found)
			}
		}
	}
}

func TestWhatHappensToAnIdleLink(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*line)
		counter Counter
	}{
		"the endpoint ends it":             {func(c *line) { c.end() }, StaleEnded},
		"the endpoint resets it":           {func(c *line) { c.fail(syscall.ECONNRESET) }, StaleEnded},
		"bytes come that nobody asked for": {func(c *line) { c.receive("HTTP/1.1 408 Request Timeout\r\n") }, Unasked},
	} {
		m := newMachine(1)
		g := groupOf(t, 1, Options{})
		a := g.Agent(m.threads[0])
		u := granted(t, a)
		first := u.line()
		u.release(a)
		m.pass(time.Second)
		c.happens(first)
		m.turn()
		if u := want(a); u.link != nil || len(m.conns) != 1 || m.conns[0] == first {
			t.Errorf("%s: it is still used", name)
		}
		if u.got != "" || u.ended {
			t.Errorf("%s: its last holder heard of it", name)
		}
		expect(t, g, map[Counter]uint64{c.counter: 1})
	}
}

func TestLinkThatEndsWithoutAnAnswerTeaches(t *testing.T) {
	for name, happens := range map[string]func(*line){
		"an end":  func(c *line) { c.end() },
		"a reset": func(c *line) { c.fail(syscall.ECONNRESET) },
	} {
		m := newMachine(1)
		g := groupOf(t, 1, Options{})
		a := g.Agent(m.threads[0])
		for range 2 {
			granted(t, a).release(a)
			m.pass(3 * time.Second)
			u := want(a)
			happens(u.line())
			if u.link != nil {
				a.Release(u.link, false)
			}
			m.turn()
		}
		u := granted(t, a) // a new one has nothing to teach, nor has one that answered
		happens(u.line())
		u = granted(t, a)
		u.release(a)
		m.pass(time.Second)
		u = want(a)
		u.line().receive("x")
		happens(u.line())
		expect(t, g, map[Counter]uint64{StaleUsed: 2})
		if got := g.Snapshot().Endpoints[0].Learned; got != 3*time.Second {
			t.Errorf("%s taught %v", name, got)
		}
	}
}

func TestLimitsOfThePool(t *testing.T) {
	for name, c := range map[string]struct {
		pool PoolOptions
		kept int
	}{
		"for each endpoint": {PoolOptions{MaxIdle: 2}, 4},
		"in all":            {PoolOptions{Total: 3}, 3},
	} {
		m := newMachine(1)
		g := groupOf(t, 2, Options{Pool: c.pool})
		a := g.Agent(m.threads[0])
		var all []*user
		for range 10 {
			all = append(all, granted(t, a))
		}
		for _, u := range all {
			u.release(a)
		}
		m.turn()
		if len(m.conns) != c.kept || a.links.Len() != c.kept {
			t.Errorf("limits %s: %d of ten links are kept, want %d", name, a.links.Len(), c.kept)
		}
		expect(t, g, map[Counter]uint64{RetiredSurplus: uint64(10 - c.kept)})
	}
}

func TestMinIsKeptWarm(t *testing.T) {
	m := newMachine(2)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Min: 3, IdleTimeout: time.Second, MaxAge: time.Minute}})
	a, b := g.Agent(m.threads[0]), g.Agent(m.threads[1])
	m.turn()
	m.openAll()
	if len(m.conns) != 3 {
		t.Fatalf("%d connections, want 3", len(m.conns))
	}
	m.pass(5 * time.Second)
	if len(m.conns) != 3 || a.links.Len()+b.links.Len() != 3 {
		t.Fatalf("the idle timeout left %d of 3", len(m.conns))
	}
	m.conns[0].end()
	m.pass(500 * time.Millisecond)
	m.openAll()
	if len(m.conns) != 3 {
		t.Errorf("one that died was not replaced: %d connections", len(m.conns))
	}
	m.pass(time.Minute)
	m.openAll()
	if len(m.conns) != 3 {
		t.Errorf("those that grew old were not replaced: %d connections", len(m.conns))
	}
	expect(t, g, map[Counter]uint64{RetiredIdle: 0, Acquired: 0, Warmed: count(g, Dialled)})
}

func TestWarmingBacksOff(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Pool: PoolOptions{Min: 1}})
	g.Agent(m.threads[0])
	for range 6000 { // a minute
		m.pass(10 * time.Millisecond)
		for len(m.conns) > 0 {
			m.conns[0].fail(syscall.ECONNREFUSED)
		}
	}
	if n := count(g, Dialled); n < 8 || n > 15 {
		t.Errorf("%d connections were tried in a minute", n)
	}
	for len(m.conns) == 0 {
		m.pass(10 * time.Millisecond)
	}
	m.openAll()
	if g.Snapshot().Endpoints[0].Idle != 1 {
		t.Error("it is not warm when the endpoint is back")
	}
}

// sees has the endpoint end an idle link after an age.
func sees(e *Endpoint, at, age time.Duration) { e.endedIdle(age, int64(at)) }

func TestLearning(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		does func(e *Endpoint)
		want time.Duration
	}{
		"nothing is known":       {func(*Endpoint) {}, 0},
		"one end tells nothing":  {func(e *Endpoint) { sees(e, s, 5*s) }, 0},
		"two like ends tell":     {func(e *Endpoint) { sees(e, s, 5*s); sees(e, 9*s, 5*s+s/10) }, 5 * s},
		"two unlike ends do not": {func(e *Endpoint) { sees(e, s, 5*s); sees(e, 9*s, 15*s) }, 0},
		"a restart ends many at once": {func(e *Endpoint) {
			for age := range 20 {
				sees(e, 30*s, time.Duration(age)*s+s)
			}
		}, 0},
		"the lowest is believed": {func(e *Endpoint) {
			sees(e, s, 60*s)
			sees(e, 100*s, 60*s)
			sees(e, 110*s, 4*s)
			sees(e, 120*s, 4*s)
			sees(e, 200*s, 60*s)
		}, 4 * s},
		"ends long apart do not": {func(e *Endpoint) { sees(e, s, 5*s); sees(e, 3600*s, 5*s) }, 0},
		"what others have outlived is no timeout": {func(e *Endpoint) {
			e.outlived(900, int64(s))
			sees(e, 2*s, s/5)
			sees(e, 9*s, s/5)
		}, 0},
		"but that is forgotten": {func(e *Endpoint) {
			e.outlived(9000, int64(s))
			sees(e, 400*s, 5*s)
			sees(e, 409*s, 5*s)
		}, 5 * s},
		"what ends at once is no timeout": {func(e *Endpoint) { sees(e, s, s/100); sees(e, 9*s, s/100) }, 0},
		"a hint is believed at once":      {func(e *Endpoint) { e.KeepAliveHint(5) }, 5 * s},
		"the lower of hint and ends": {func(e *Endpoint) {
			e.KeepAliveHint(5)
			sees(e, s, 2*s)
			sees(e, 9*s, 2*s)
		}, 2 * s},
		"no hint": {func(e *Endpoint) { e.KeepAliveHint(0); e.KeepAliveHint(-3) }, 0},
	} {
		g := groupOf(t, 1, Options{})
		e := g.set.Load().endpoints[0]
		c.does(e)
		if got := e.Learned(); got != c.want {
			t.Errorf("%s: learned %v, want %v", name, got, c.want)
		}
	}
}

func TestLearnedTimeoutGrowsSlowly(t *testing.T) {
	g := groupOf(t, 1, Options{})
	e := g.set.Load().endpoints[0]
	sees(e, time.Second, 5*time.Second)
	sees(e, 10*time.Second, 5*time.Second)
	e.forget(int64(20 * time.Second))
	if e.Learned() != 5*time.Second {
		t.Errorf("forgotten at once: %v", e.Learned())
	}
	for minute := range 10 {
		e.forget(int64(time.Minute) * int64(minute+1))
	}
	if got := e.Learned(); got < 8*time.Second || got > 10*time.Second {
		t.Errorf("after ten minutes it is %v", got)
	}
	sees(e, 11*time.Minute, 5*time.Second)
	sees(e, 12*time.Minute, 5*time.Second)
	if got := e.Learned(); got != 5*time.Second {
		t.Errorf("it learned %v again", got)
	}
}

func TestLinksAreRetiredBeforeTheEndpointEndsThem(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{})
	a := g.Agent(m.threads[0])
	u, v := granted(t, a), granted(t, a)
	u.release(a)
	m.pass(2 * time.Second)
	v.link.Endpoint.KeepAliveHint(5) // in an answer on the other link
	v.release(a)
	m.pass(2400 * time.Millisecond)
	if len(m.conns) != 2 {
		t.Errorf("%d links are left after 4.4 s of 5 s", len(m.conns))
	}
	m.pass(200 * time.Millisecond)
	if len(m.conns) != 1 {
		t.Errorf("%d links are left after 4.6 s of 5 s", len(m.conns))
	}
	m.pass(2 * time.Second)
	if len(m.conns) != 0 {
		t.Errorf("%d links are left", len(m.conns))
	}
	expect(t, g, map[Counter]uint64{RetiredLearned: 2})
	s := g.Snapshot().Endpoints[0]
	if s.Learned != 5*time.Second || s.IdleLimit != 4500*time.Millisecond {
		t.Errorf("learned %v, retired after %v", s.Learned, s.IdleLimit)
	}
}
