package upstream

import (
	"fmt"
	"testing"
	"time"

	"github.com/myriad-server/myriad/balance"
)

// TestPooledLinkCostsNoAllocation is the promise for the way of a request, with every policy.
func TestPooledLinkCostsNoAllocation(t *testing.T) {
	for _, policy := range balance.Policies() {
		m := newMachine(1)
		g := groupOf(t, 3, Options{Policy: policy, Eject: &EjectOptions{}})
		a := g.Agent(m.threads[0])
		u := warmed(m, a)
		u.Key = 7
		if n := testing.AllocsPerRun(200, func() { u.use(a) }); n != 0 {
			t.Errorf("%s: %v allocations", policy.Name(), n)
		}
		for _, c := range m.conns {
			if c.looks != 0 {
				t.Errorf("%s: a link that is in steady use was looked at", policy.Name())
			}
		}
	}
}

// warmed has links made to every endpoint, and returns a user.
func warmed(m *machine, a *Agent) *user {
	var all []*user
	for key := range 32 {
		u := wantAs(a, Want{Key: uint64(key) * 0x9e3779b97f4a7c15})
		m.openAll()
		all = append(all, u)
	}
	for _, u := range all {
		u.release(a)
	}
	return all[0]
}

// use takes a link and gives it back.
func (u *user) use(a *Agent) {
	a.Acquire(&u.Want)
	e := u.link.Endpoint
	u.release(a)
	a.Report(e, Success)
}

func BenchmarkPooledLink(b *testing.B) {
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			m := newMachine(threads)
			g := groupOf(b, 3, Options{})
			for _, thread := range m.threads {
				g.Agent(thread)
			}
			a := g.Agent(m.threads[0])
			u := warmed(m, a)
			b.ReportAllocs()
			for b.Loop() {
				u.use(a)
				m.now += int64(time.Microsecond)
			}
		})
	}
}
