package upstream

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
)

// crowd is users of a group on several threads that do what they like, while endpoints and time do too.
type crowd struct {
	*machine
	group  *Group
	agents []*Agent
	users  []*user
	of     map[*user]*Agent
	size   int // endpoints
	ports  map[string]int
	chosen []choice
}

// choice is an endpoint that was chosen for something else than a link.
type choice struct {
	agent    *Agent
	endpoint *Endpoint
}

func (c *crowd) unchoose() {
	if len(c.chosen) > 0 {
		first := c.chosen[0]
		c.chosen = c.chosen[1:]
		first.agent.Unchoose(first.endpoint)
	}
}

func drawCrowd(t *rapid.T) *crowd {
	policies := balance.Policies()
	o := Options{
		Policy: policies[rapid.IntRange(0, len(policies)-1).Draw(t, "policy")],
		Pool: PoolOptions{
			Off: rapid.IntRange(0, 5).Draw(t, "off") == 0, Alone: rapid.Bool().Draw(t, "alone"),
			Max: rapid.IntRange(1, 4).Draw(t, "max"), MaxIdle: rapid.IntRange(1, 4).Draw(t, "max idle"),
			Total: rapid.IntRange(1, 6).Draw(t, "total"), IdleTimeout: 2 * time.Second, MaxAge: 20 * time.Second,
		},
		Queue:          QueueOptions{Limit: rapid.IntRange(-1, 4).Draw(t, "queue"), Timeout: time.Second},
		ConnectTimeout: 500 * time.Millisecond,
		Attempts:       rapid.IntRange(1, 3).Draw(t, "attempts"),
		random:         func(n int64) int64 { return rapid.Int64Range(0, n-1).Draw(t, "random") },
	}
	o.Pool.Min = rapid.IntRange(0, o.Pool.Max).Draw(t, "min")
	if rapid.Bool().Draw(t, "eject") {
		o.Eject = &EjectOptions{Failures: 2, Base: 200 * time.Millisecond, Max: time.Second}
	}
	if rapid.Bool().Draw(t, "slow start") {
		o.SlowStart = time.Second
	}
	c := &crowd{machine: newMachine(rapid.IntRange(1, 3).Draw(t, "threads")), of: map[*user]*Agent{}, size: 3}
	for i := range c.size {
		o.Endpoints = append(o.Endpoints, EndpointOptions{Address: address(i + 1)})
	}
	var err error
	if c.group, err = New(o); err != nil {
		t.Fatal(err)
	}
	c.ports = map[string]int{} // the gauges are those of the process
	for _, e := range c.group.set.Load().endpoints {
		c.ports[e.address], _ = e.gauges[0].used(0)
	}
	for _, thread := range c.threads {
		c.agents = append(c.agents, c.group.Agent(thread))
	}
	return c
}

func (c *crowd) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"acquire": func(t *rapid.T) {
			a := rapid.SampledFrom(c.agents).Draw(t, "agent")
			u := wantAs(a, Want{
				Key: rapid.Uint64().Draw(t, "key"), Fresh: rapid.IntRange(0, 5).Draw(t, "fresh") == 0,
				Look: rapid.Bool().Draw(t, "look"),
			})
			c.users, c.of[u] = append(c.users, u), a
		},
		"release": func(t *rapid.T) {
			if u := c.pick(t, func(u *user) bool { return u.link != nil }); u != nil {
				l := u.link
				u.link = nil
				c.forget(u)
				c.of[u].Release(l, rapid.IntRange(0, 3).Draw(t, "reusable") > 0)
			}
		},
		"cancel": func(t *rapid.T) {
			if u := c.pick(t, func(u *user) bool { return u.answers == 0 }); u != nil {
				c.of[u].Cancel(&u.Want)
				c.forget(u)
			}
		},
		"report": func(t *rapid.T) {
			if u := c.pick(t, func(u *user) bool { return u.link != nil }); u != nil {
				c.of[u].Report(u.link.Endpoint, Outcome(rapid.IntRange(0, 1).Draw(t, "outcome")))
			}
		},
		"peer": func(t *rapid.T) {
			if len(c.conns) > 0 {
				c.peer(t, rapid.SampledFrom(c.conns).Draw(t, "connection"))
			}
		},
		"endpoints": func(t *rapid.T) {
			var list []EndpointOptions
			for i := range c.size {
				if rapid.IntRange(0, 3).Draw(t, "there") > 0 {
					list = append(list, EndpointOptions{Address: address(i + 1), Weight: 1 + i})
				}
			}
			if err := c.group.SetEndpoints(list); err != nil {
				t.Fatal(err)
			}
		},
		"health": c.health,
		"hint": func(t *rapid.T) {
			for _, e := range c.group.set.Load().endpoints {
				e.KeepAliveHint(rapid.IntRange(0, 3).Draw(t, "seconds"))
			}
		},
		"choose": func(t *rapid.T) {
			a := rapid.SampledFrom(c.agents).Draw(t, "agent")
			if e, err := a.Choose(&Want{Key: rapid.Uint64().Draw(t, "key")}); err == nil {
				c.chosen = append(c.chosen, choice{a, e})
			}
		},
		"unchoose": func(*rapid.T) { c.unchoose() },
		"turn":     func(*rapid.T) { c.turn() },
		"pass":     func(t *rapid.T) { c.pass(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond) },
		"":         c.check,
	}
}

// peer has the far end of a connection do something.
func (c *crowd) peer(t *rapid.T, l *line) {
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
	case l.state == conn.Opening && what == 0:
		l.fail(syscall.ECONNREFUSED)
	case l.state == conn.Opening && what == 1:
		l.fail(syscall.EADDRNOTAVAIL)
	case l.state == conn.Opening && what == 2:
		l.fail(syscall.EMFILE)
	case l.state == conn.Opening:
		l.open()
	case l.state != conn.Open:
		l.close()
	case what < 2:
		l.end()
	case what < 4:
		l.fail(syscall.ECONNRESET)
	case what < 6:
		l.receive("x")
	case what < 7:
		l.alive = false
	case what < 8:
		l.stuck = !l.stuck
	}
}

// health has an endpoint go down, or up.
func (c *crowd) health(t *rapid.T) {
	all := c.group.set.Load().endpoints
	if len(all) == 0 {
		return
	}
	e := rapid.SampledFrom(all).Draw(t, "endpoint")
	if !e.clearStatus(statusDown) {
		e.setStatus(statusDown, "as the test likes it")
	}
	e.noteState("other", "")
}

// pick picks one of the users that are so; nil if there is none.
func (c *crowd) pick(t *rapid.T, so func(*user) bool) *user {
	var some []*user
	for _, u := range c.users {
		if so(u) {
			some = append(some, u)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return rapid.SampledFrom(some).Draw(t, "user")
}

func (c *crowd) forget(u *user) {
	c.users = slices.DeleteFunc(c.users, func(other *user) bool { return other == u })
}

// check says what is wrong with the books.
func (c *crowd) check(t *rapid.T) {
	waiting := 0
	for _, a := range c.agents {
		waiting += a.queue.length
		idle := 0
		for _, s := range a.shares {
			idle += s.shelf.Len()
			if int(s.idle.Load()) != s.shelf.Len() {
				t.Fatalf("%d idle links are published, there are %d", s.idle.Load(), s.shelf.Len())
			}
		}
		if idle != a.links.Len() || idle > c.group.options.Pool.Total {
			t.Fatalf("%d idle links are on shelves of endpoints, %d in the pool", idle, a.links.Len())
		}
	}
	if got := c.group.waiting.Load(); got != int64(waiting) {
		t.Fatalf("%d are counted as waiting, %d are", got, waiting)
	}
	for _, u := range c.users {
		if u.answers > 1 || u.answers == 1 && u.link == nil && u.err == nil && !u.closed {
			t.Fatalf("a want got %d answers: %+v", u.answers, u)
		}
	}
	for _, e := range c.group.set.Load().endpoints {
		if open, limit := e.open.Load(), e.limit.Load(); open < 0 || open > limit || e.busy.Load() < 0 {
			t.Fatalf("%s: %d of %d connections, %d busy", e.address, open, limit, e.busy.Load())
		}
	}
}

// settle ends everything, and checks that nothing is left over.
func (c *crowd) settle(t *rapid.T) {
	for _, e := range c.group.set.Load().endpoints {
		if e.clearStatus(statusDown) {
			e.noteState("up", "")
		}
	}
	for range 20 {
		c.unchoose()
		c.openAll()
		for _, u := range slices.Clone(c.users) {
			if l := u.link; l != nil {
				u.link = nil
				c.of[u].Release(l, true)
			}
		}
		c.pass(100 * time.Millisecond)
	}
	for _, u := range c.users {
		if u.answers != 1 {
			t.Fatalf("a want got %d answers", u.answers)
		}
	}
	for _, a := range c.agents {
		if len(a.borrows) > 0 || a.queue.length > 0 {
			t.Fatalf("%d are being borrowed, %d wait", len(a.borrows), a.queue.length)
		}
	}
	set := c.group.set.Load()
	left := map[string]int{}
	for _, l := range c.conns {
		left[l.target.Address.String()]++
	}
	for _, e := range set.endpoints {
		if e.open.Load() != int64(left[e.address]) || e.busy.Load() != 0 {
			t.Fatalf("%s: %d connections are counted, %d busy; there are %d", e.address, e.open.Load(), e.busy.Load(),
				left[e.address])
		}
	}
	c.group.Close()
	for range 10 {
		c.openAll()
		c.pass(100 * time.Millisecond)
	}
	if len(c.conns) > 0 {
		t.Fatalf("%d connections are left of a closed group", len(c.conns))
	}
	for _, e := range set.endpoints {
		open, _ := e.gauges[0].used(0)
		if e.open.Load() != 0 || open != c.ports[e.address] {
			t.Fatalf("%s: %d connections and %d ports are counted", e.address, e.open.Load(), open-c.ports[e.address])
		}
	}
	for _, thread := range c.threads {
		for _, k := range thread.tickers {
			if !k.over {
				t.Fatal("an agent of a closed group still has something called")
			}
		}
	}
}

func TestCrowd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCrowd(t)
		defer c.group.Close()
		t.Repeat(c.actions())
		c.settle(t)
	})
}
