package pool_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/myriad-server/myriad/pool"
)

// model is what a pool is to be: one list of everything, oldest first.
type model struct {
	perKey, total int
	all           []held
}

type held struct {
	key    string
	thing  int
	handle pool.Handle
}

// out takes the oldest thing of a key, or of all with "".
func (m *model) out(key string) int {
	for i, h := range m.all {
		if key == "" || h.key == key {
			m.all = slices.Delete(m.all, i, i+1)
			return h.thing
		}
	}
	panic("nothing to take out")
}

func (m *model) count(key string) int { return len(m.of(key)) }

func (m *model) of(key string) (things []int) {
	for _, h := range m.all {
		if h.key == key {
			things = append(things, h.thing)
		}
	}
	return things
}

func (m *model) top(key string) int {
	for i := len(m.all) - 1; i >= 0; i-- {
		if m.all[i].key == key {
			return i
		}
	}
	return -1
}

func TestPoolIsAsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{perKey: rapid.IntRange(1, 5).Draw(t, "per key"), total: rapid.IntRange(1, 9).Draw(t, "total")}
		p := pool.New[string, int](m.perKey, m.total)
		keys := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		var gone []pool.Handle
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				next++
				h, out, full := p.Shelf(key).Put(next)
				switch {
				case m.count(key) == m.perKey:
					checkOut(t, out, full, m.out(key))
				case len(m.all) == m.total:
					checkOut(t, out, full, m.out(""))
				case full:
					t.Fatalf("%d fell out though there was room", out)
				}
				m.all = append(m.all, held{key, next, h})
			},
			"take": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				thing, ok := p.Shelf(key).Take()
				top := m.top(key)
				if ok != (top >= 0) || ok && thing != m.all[top].thing {
					t.Fatalf("took %d, %v from %v", thing, ok, m.all)
				}
				if ok {
					gone = append(gone, m.all[top].handle)
					m.all = slices.Delete(m.all, top, top+1)
				}
			},
			"remove": func(t *rapid.T) {
				if len(m.all) == 0 {
					t.Skip("the pool is empty")
				}
				i := rapid.IntRange(0, len(m.all)-1).Draw(t, "which")
				h := m.all[i]
				if thing, ok := p.Remove(h.handle); !ok || thing != h.thing {
					t.Fatalf("removed %d, %v; want %d", thing, ok, h.thing)
				}
				gone = append(gone, h.handle)
				m.all = slices.Delete(m.all, i, i+1)
			},
			"forget": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				var got []int
				want := m.of(key)
				p.Forget(key, func(thing int) { got = append(got, thing) })
				if !slices.Equal(got, want) {
					t.Fatalf("forgot %v, want %v", got, want)
				}
				m.all = slices.DeleteFunc(m.all, func(h held) bool { return h.key == key })
			},
			"": func(t *rapid.T) {
				for _, h := range append(gone, pool.Handle{}) {
					if thing, ok := p.Remove(h); ok {
						t.Fatalf("a handle of what has gone found %d", thing)
					}
				}
				check(t, p, m)
			},
		})
	})
}

func checkOut(t *rapid.T, out int, full bool, want int) {
	if !full || out != want {
		t.Fatalf("%d fell out (%v), want %d", out, full, want)
	}
}

// check compares what can be looked at.
func check(t *rapid.T, p *pool.Pool[string, int], m *model) {
	if p.Len() != len(m.all) {
		t.Fatalf("holds %d, want %d", p.Len(), len(m.all))
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		s := p.Shelf(key)
		if s.Len() != m.count(key) {
			t.Fatalf("shelf %s holds %d, want %d", key, s.Len(), m.count(key))
		}
		thing, h, ok := s.Oldest()
		if ok != (s.Len() > 0) {
			t.Fatalf("the oldest of %s: %v", key, ok)
		}
		i := slices.IndexFunc(m.all, func(h held) bool { return h.key == key })
		if ok && (m.all[i].thing != thing || m.all[i].handle != h) {
			t.Fatalf("the oldest of %s is %d, want %d", key, thing, m.all[i].thing)
		}
	}
}

func TestLimitsMustBePositive(t *testing.T) {
	for _, limits := range [][2]int{{0, 1}, {1, 0}, {-1, 5}, {1, 1<<32 - 1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("limits of %v were taken", limits)
				}
			}()
			pool.New[int, int](limits[0], limits[1])
		}()
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	p := pool.New[string, *int](8, 64)
	fill(p)
	thing := new(int)
	if n := testing.AllocsPerRun(1000, func() {
		s := p.Shelf("b")
		h, _, _ := s.Put(thing)
		p.Remove(h)
		s.Put(thing)
		s.Take()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func fill(p *pool.Pool[string, *int]) {
	for i := range 64 {
		p.Shelf(string(rune('a' + i%8))).Put(new(int))
	}
}

func BenchmarkPutTake(b *testing.B) {
	for _, held := range []int{0, 1000, 1_000_000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			p := pool.New[int, *int](2_000_000, 2_000_000)
			s := p.Shelf(1)
			for range held {
				s.Put(new(int))
			}
			thing := new(int)
			b.ReportAllocs()
			for b.Loop() {
				s.Put(thing)
				s.Take()
			}
		})
	}
}
