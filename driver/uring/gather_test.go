package uring

import (
	"testing"
	"time"
)

const longTick = int64(10 * time.Millisecond)

// dense lets ticks pass in which outcomes came at a rate at which sixteen and more take less than gatherTime.
func dense(g *gather, ticks int, period int64) {
	for range ticks {
		g.seen = period * gatherMost / gatherTime
		g.tick(period, 64)
	}
}

// Only what comes densely, and from many, is gathered.
func TestGatherExpects(t *testing.T) {
	for _, c := range []struct {
		what   string
		perSec int64
		flying uint32
		want   uint32
	}{
		{"silence", 0, 64, 1},
		{"a paced client", 5000, 64, 1},
		{"two within the time", 20_000, 64, 2},
		{"dense traffic", 140_000, 64, 14},
		{"more than is worth while", 1_000_000, 512, gatherMost},
		{"dense traffic of few", 140_000, 10, 3},
		{"dense traffic of one", 140_000, 3, 1},
	} {
		g := newGather()
		g.seen = c.perSec / 100
		g.tick(longTick, c.flying)
		if g.least != c.want {
			t.Errorf("%s: a wait gathers %d, want %d", c.what, g.least, c.want)
		}
		if g.tick(gatherTick, c.flying); g.least != 1 {
			t.Errorf("%s, then a tick of silence: a wait gathers %d, want 1", c.what, g.least)
		}
	}
}

// A rate is not judged by a tick that was cut short, but by several of them.
func TestGatherWindow(t *testing.T) {
	g := newGather()
	const part = gatherWindow / 4
	for i := range 4 {
		if g.least != 1 {
			t.Fatalf("after %d short ticks a wait gathers %d", i, g.least)
		}
		g.seen += part * 8 / gatherTime
		g.tick(part, 64)
	}
	if g.least != 8 {
		t.Errorf("a wait gathers %d, want 8", g.least)
	}
}

// Clients that wait for the answers that would be sent next are found out; clients that are merely away are not
// taken for such.
func TestGatherFails(t *testing.T) {
	const soon, late = int64(gatherTime / 2), int64(gatherLate + 1)
	for _, c := range []struct {
		what      string
		came      uint32 // of 16, in
		took      int64
		next      uint32 // then, of 1, in
		nextTook  int64
		wantLeast uint32
	}{
		{"all came", 16, soon, 1, soon, 16},
		{"all came late", 16, late, 1, soon, 16},
		{"a signal", 0, soon, 1, soon, 16},
		{"too few, then silence", 3, late, 0, late, 16},
		{"too few, then more after a while", 3, late, 1, late, 16},
		{"too few, then more at once", 10, late, 1, soon, 5},
		{"one, then more at once", 1, late, 1, soon, 1},
		{"none but the tick, then more at once", 0, late, 2, soon, 1},
	} {
		g := newGather()
		dense(&g, 1, longTick)
		g.judge(16, c.came, c.took)
		g.judge(1, c.next, c.nextTook)
		if g.least != c.wantLeast {
			t.Errorf("%s: a wait gathers %d, want %d", c.what, g.least, c.wantLeast)
		}
		if dense(&g, 1, gatherTick); g.least != c.wantLeast {
			t.Errorf("%s: in the next tick a wait gathers %d, want %d", c.what, g.least, c.wantLeast)
		}
	}
}

// A failure is remembered, the next one longer, and none for ever.
func TestGatherCaution(t *testing.T) {
	g := newGather()
	fail := func() {
		g.judge(g.least, 4, gatherLate+1)
		g.judge(1, 1, 1)
	}
	dense(&g, 1, longTick)
	for want := cautionLeast; want <= 4*cautionMost; want *= 2 {
		fail()
		var rest int64
		for ; g.least != gatherMost; rest += longTick {
			if g.least != 2 {
				t.Fatalf("after a failure with 4 a wait gathers %d, want 2", g.least)
			}
			dense(&g, 1, longTick)
		}
		if most := min(want, cautionMost); rest != most {
			t.Errorf("a failure was remembered for %v, want %v", time.Duration(rest), time.Duration(most))
		}
	}
	for range cautionMost / gatherTick {
		dense(&g, 1, gatherTick)
	}
	if g.caution != cautionLeast {
		t.Errorf("after a long time without failures caution is %v", time.Duration(g.caution))
	}
}
