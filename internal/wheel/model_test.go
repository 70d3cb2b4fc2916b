package wheel

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is the naive wheel: a map from slot to the exact deadline, beside the real one.
type model struct {
	wheel     *Wheel
	now       int64
	tick      int64
	longest   []int64          // spans of time to draw from
	deadlines map[uint32]int64 // as given to Set, or the time of Set where that was later
	slots     *rapid.Generator[uint32]
}

func newModel(t *rapid.T) *model {
	// From 10 us on, so that hours are less than the farthest deadline.
	tick := rapid.Int64Range(10_000, int64(20*time.Millisecond)).Draw(t, "tick")
	start := rapid.Int64Range(-1<<40, 1<<60).Draw(t, "start")
	return &model{
		wheel:     New(time.Duration(tick), rapid.IntRange(1, 5000).Draw(t, "buckets"), start),
		now:       start,
		tick:      tick,
		longest:   []int64{3 * tick, 100 * tick, 10_000 * tick, int64(7 * time.Hour)},
		deadlines: map[uint32]int64{},
		slots: rapid.OneOf(
			rapid.Uint32Range(0, 8), rapid.Uint32Range(4090, 4100), rapid.Uint32Range(0, 1<<20)),
	}
}

// span draws a length of time: mostly around the tick, sometimes hours, sometimes negative.
func (m *model) span(t *rapid.T, least int64) int64 {
	longest := rapid.SampledFrom(m.longest).Draw(t, "longest")
	return rapid.Int64Range(max(least, -longest), longest).Draw(t, "span")
}

func (m *model) set(t *rapid.T) {
	slot := m.slots.Draw(t, "slot")
	at := m.now + m.span(t, math.MinInt64)
	m.wheel.Set(slot, at)
	m.deadlines[slot] = max(at, m.now)
}

func (m *model) clear(t *rapid.T) {
	slot := m.slots.Draw(t, "slot")
	m.wheel.Clear(slot)
	delete(m.deadlines, slot)
}

// pass lets any time go by and expires, as a loop does that was busy.
func (m *model) pass(t *rapid.T) {
	m.now += m.span(t, 0)
	m.expire(t)
}

// obey waits exactly as long as Next allows.
func (m *model) obey(t *rapid.T) {
	wait := m.wheel.Next(m.now)
	if wait < 0 {
		return
	}
	for slot, at := range m.deadlines {
		if m.now+int64(wait) > max(at, m.now)+m.tick {
			t.Fatalf("Next(%d) is %d, past the deadline %d of slot %d by more than a tick", m.now, wait, at, slot)
		}
	}
	m.now += int64(wait)
	m.expire(t)
}

func (m *model) expire(t *rapid.T) {
	prefix := []uint32{42}
	fired := m.wheel.Expire(m.now, prefix)
	if fired[0] != 42 {
		t.Fatal("Expire overwrote what dst held")
	}
	fired = fired[1:]
	for _, slot := range fired {
		at, ok := m.deadlines[slot]
		if !ok {
			t.Fatalf("slot %d fired without a deadline, or twice", slot)
		}
		if m.now < at {
			t.Fatalf("slot %d fired at %d, %d early", slot, m.now, at-m.now)
		}
		delete(m.deadlines, slot)
	}
	for slot, at := range m.deadlines {
		if at+m.tick <= m.now {
			t.Fatalf("slot %d did not fire: %d late, the tick is %d", slot, m.now-at, m.tick)
		}
	}
	if again := m.wheel.Expire(m.now, nil); len(again) != 0 {
		t.Fatalf("a second call at the same time gave %v", again)
	}
}

func (m *model) check(t *rapid.T) {
	if m.wheel.Len() != len(m.deadlines) {
		t.Fatalf("Len is %d, want %d", m.wheel.Len(), len(m.deadlines))
	}
	if wait := m.wheel.Next(m.now); (wait < 0) != (len(m.deadlines) == 0) {
		t.Fatalf("Next is %d with %d deadlines", wait, len(m.deadlines))
	}
	for slot, at := range m.deadlines {
		got, ok := m.wheel.Deadline(slot)
		if !ok || got < at || got > at+m.tick {
			t.Fatalf("Deadline(%d) is %d, %v; want %d to %d", slot, got, ok, at, at+m.tick)
		}
	}
	checkLists(t, m.wheel)
}

// checkLists verifies what the wheel promises itself: lists are doubly linked, the bitmap agrees, every armed entry
// is in a list and none is due before its bucket.
func checkLists(t *rapid.T, w *Wheel) {
	found := 0
	for bucket, slot := range w.heads {
		if isOccupied := w.occupied.words[bucket/64]>>(bucket%64)&1 == 1; isOccupied != (slot != none) {
			t.Fatalf("bucket %d: occupied is %v", bucket, isOccupied)
		}
		for prev := uint32(none); slot != none; prev, slot = slot, w.entry(slot).next {
			e := w.entry(slot)
			if e.prev != prev || e.place&linked == 0 || e.place&bucketMask != uint32(bucket) {
				t.Fatalf("bucket %d: slot %d is badly linked: %+v", bucket, slot, *e)
			}
			if e.place&armed != 0 {
				found++
				if e.deadline-uint32(w.current) < w.ticksUntil(uint32(bucket)) {
					t.Fatalf("slot %d is due before its bucket", slot)
				}
			}
		}
	}
	if found != w.set {
		t.Fatalf("%d armed entries in lists, want %d", found, w.set)
	}
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"set":   m.set,
			"move":  m.set, // twice as often as the rest
			"clear": m.clear,
			"pass":  m.pass,
			"obey":  m.obey,
			"":      m.check,
		})
	})
}

// A loop that does nothing but obey Next sees every deadline exactly once, on its tick, after few wake-ups.
func TestObeyingNextSeesEveryDeadlineOnItsTick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.longest = m.longest[:3]
		for range rapid.IntRange(1, 50).Draw(t, "timers") {
			m.set(t)
		}
		wakes := 0
		for ; m.wheel.Len() > 0; wakes++ {
			before := m.now
			m.obey(t)
			if m.now == before {
				t.Fatal("Next is 0 after Expire: the loop would spin")
			}
		}
		turns := 10_000*m.tick/(int64(m.wheel.Tick())*int64(len(m.wheel.heads))) + 1
		if limit := 50 * int(turns+1); wakes > limit {
			t.Fatalf("%d wake-ups for at most 50 timers and %d turns of the wheel, want at most %d", wakes, turns, limit)
		}
	})
}
