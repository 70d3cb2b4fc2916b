package wheel

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const millisecond = int64(time.Millisecond)

func TestEntryIsSmallAndHoldsNoPointer(t *testing.T) {
	kind := reflect.TypeFor[entry]()
	if kind.Size() != 16 {
		t.Errorf("an entry takes %d bytes, want 16", kind.Size())
	}
	for i := range kind.NumField() {
		if field := kind.Field(i); field.Type.Kind() != reflect.Uint32 {
			t.Errorf("field %s is a %s, want uint32", field.Name, field.Type)
		}
	}
}

func TestNewRounds(t *testing.T) {
	for _, c := range []struct {
		tick     time.Duration
		buckets  int
		wantTick time.Duration
		want     int
	}{
		{1, 0, 1, 64},
		{10 * time.Millisecond, 65, 1 << 23, 128},
		{1 << 20, 4096, 1 << 20, 4096},
		{1<<20 - 1, -7, 1 << 19, 64},
	} {
		w := New(c.tick, c.buckets, 5)
		if w.Tick() != c.wantTick || len(w.heads) != c.want {
			t.Errorf("New(%d, %d): tick %d, %d buckets; want %d, %d",
				c.tick, c.buckets, w.Tick(), len(w.heads), c.wantTick, c.want)
		}
	}
}

func TestMisusePanics(t *testing.T) {
	for name, misuse := range map[string]func(){
		"tick 0":    func() { New(0, 64, 0) },
		"last slot": func() { New(1, 64, 0).Set(math.MaxUint32, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			misuse()
		}()
	}
}

func TestEmptyWheel(t *testing.T) {
	w := New(time.Millisecond, 64, 100)
	w.Clear(7)
	w.Clear(math.MaxUint32)
	if _, ok := w.Deadline(7); ok || w.Len() != 0 || w.Next(100) != -1 || w.Expire(math.MaxInt64, nil) != nil {
		t.Fatal("an empty wheel has something to say")
	}
}

func TestPastDeadlineFiresOnTheNextTick(t *testing.T) {
	for _, at := range []int64{math.MinInt64, -1, 0, 999} {
		w := New(1024, 64, 0)
		w.Expire(10*1024, nil)
		w.Set(3, at)
		if got := w.Expire(10*1024, nil); len(got) != 0 {
			t.Errorf("at %d: fired within the tick that was dealt with: %v", at, got)
		}
		if wait := w.Next(10*1024 + 24); wait != 1000 {
			t.Errorf("at %d: Next is %d, want 1000", at, wait)
		}
		if got := w.Expire(11*1024, nil); !slices.Equal(got, []uint32{3}) {
			t.Errorf("at %d: Expire gave %v, want [3]", at, got)
		}
	}
}

func TestLaterDeadlineIsNotRelinked(t *testing.T) {
	w := New(1024, 64, 0)
	w.Set(1, 10*1024)
	before := w.entry(1).place
	w.Set(1, 30*1024)
	if w.entry(1).place != before {
		t.Fatal("a later deadline was relinked")
	}
	w.Set(1, 5*1024)
	if w.entry(1).place == before {
		t.Fatal("an earlier deadline was not relinked")
	}
	if got := w.Expire(5*1024, nil); !slices.Equal(got, []uint32{1}) {
		t.Fatalf("Expire gave %v, want [1]", got)
	}
}

func TestClearedAndStaleLinksDoNotDelayANewDeadline(t *testing.T) {
	w := New(1024, 64, 0)
	w.Set(1, 10*1024)
	w.Clear(1)
	if w.Next(0) != -1 || w.Len() != 0 {
		t.Fatal("a cleared deadline is still waited for")
	}
	// The loop slept for long without a call, and now sets the slot that is still linked to a tick of the past.
	now := int64(1_000_000 * 1024)
	w.Set(1, now+2*1024)
	for calls := 0; ; calls++ {
		if calls > 3 {
			t.Fatal("woken more than three times for one deadline")
		}
		if fired := w.Expire(now, nil); len(fired) > 0 {
			break
		}
		now += int64(w.Next(now))
	}
	if now != 1_000_002*1024 {
		t.Fatalf("fired at tick %d", now/1024)
	}
}

func TestFarDeadlines(t *testing.T) {
	w := New(8*time.Millisecond, 64, math.MaxInt64/2)
	w.Set(0, math.MaxInt64)
	at, ok := w.Deadline(0)
	if want := w.start + farthestTicks<<w.shift; !ok || at != want {
		t.Fatalf("Deadline is %d, %v; want the farthest, %d", at, ok, want)
	}
	if fired := w.Expire(at-1, nil); len(fired) != 0 {
		t.Fatal("fired early")
	}
	if fired := w.Expire(at, nil); len(fired) != 1 {
		t.Fatal("did not fire")
	}
	w = New(math.MaxInt64, 64, -1)
	w.Set(0, math.MaxInt64)
	if at, ok := w.Deadline(0); !ok || at != math.MaxInt64 {
		t.Fatalf("Deadline is %d, %v; want the end of time", at, ok)
	}
}

// The low 32 bits of a tick wrap round after 71 minutes of microsecond ticks: a server must not notice.
func TestTicksWrapRound(t *testing.T) {
	w := New(1, 64, 0)
	now := int64(math.MaxUint32) - 100
	w.Expire(now, nil)
	w.Set(1, now+50)
	w.Set(2, now+5000)
	w.Set(3, now+farthestTicks)
	for _, c := range []struct {
		now  int64
		want []uint32
	}{
		{now + 49, nil},
		{now + 50, []uint32{1}},
		{now + 4999, nil},
		{now + 5000, []uint32{2}},
		{now + farthestTicks - 1, nil},
		{now + 5*farthestTicks, []uint32{3}},
	} {
		if got := w.Expire(c.now, nil); !slices.Equal(got, c.want) {
			t.Fatalf("at %d: Expire gave %v, want %v", c.now, got, c.want)
		}
	}
}

func TestOccupancyAgainstScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := uint32(64) << rapid.IntRange(0, 8).Draw(t, "size")
		o := newOccupancy(count)
		model := make([]bool, count)
		steps := rapid.SliceOfN(rapid.Uint32Range(0, 2*count-1), 0, 40).Draw(t, "toggles")
		for _, step := range steps {
			bucket := step % count
			if model[bucket] = step < count; model[bucket] {
				o.set(bucket)
			} else {
				o.clear(bucket)
			}
		}
		from := rapid.Uint32Range(0, count-1).Draw(t, "from")
		want := uint32(none)
		for i := range count {
			if bucket := (from + i) % count; model[bucket] {
				want = bucket
				break
			}
		}
		if got := o.next(from); got != want {
			t.Fatalf("next(%d) is %d, want %d", from, got, want)
		}
	})
}

func TestNoAllocationInSteadyState(t *testing.T) {
	w := New(8*time.Millisecond, 1024, 0)
	dst := make([]uint32, 0, 4096)
	for slot := range uint32(4096) {
		w.Set(slot, int64(slot)*millisecond)
	}
	now := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += 20 * millisecond
		for _, slot := range w.Expire(now, dst[:0]) {
			w.Set(slot, now+4096*millisecond)
		}
		w.Set(uint32(now)%4096, now+millisecond)
		w.Clear(uint32(now/3) % 4096)
		w.Next(now)
	}); n != 0 {
		t.Fatalf("%v allocations a turn", n)
	}
}
