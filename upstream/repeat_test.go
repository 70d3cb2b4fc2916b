package upstream

import "testing"

// TestRepeats has many agents fail: what they may repeat is a share of what they all do together, however it is spread
// over them.
func TestRepeats(t *testing.T) {
	const threads, uses, share = 8, 4000, 100
	for _, c := range []struct {
		name string
		of   func(use int) int // the thread of a use
	}{
		{"all on one thread", func(int) int { return 3 }},
		{"spread evenly", func(use int) int { return use % threads }},
		{"one after the other", func(use int) int { return use * threads / uses }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(threads)
			g := groupOf(t, 1, Options{})
			repeated, first := 0, 0
			use := func(a *Agent) {
				u := granted(t, a)
				u.release(a)
			}
			for i := range uses {
				a := g.Agent(m.threads[c.of(i)])
				for use(a); a.MayRepeat(share); use(a) {
					repeated++
				}
				if i == 0 {
					first = repeated
				}
			}
			if want := uses * share / oneUse; first != 10 || repeated < want+9 || repeated > want+11 {
				t.Errorf("%d uses were repeated %d times, %d of them at once; want %d and 10", uses, repeated, first, want+10)
			}
			for range 1000 {
				use(g.Agent(m.threads[0]))
			}
			saved := 0
			for a := g.Agent(m.threads[1]); a.MayRepeat(share); saved++ {
				use(a)
			}
			if saved != 10 {
				t.Errorf("%d were saved", saved)
			}
		})
	}
}
