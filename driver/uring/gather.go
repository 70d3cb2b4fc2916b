package uring

import "time"

const (
	// gatherMost is the largest number of outcomes that a wait gathers; the gain of more is small.
	gatherMost = 16
	// gatherTime is how long gathering may take at the rate at which outcomes came lately, in nanoseconds.
	gatherTime = 100_000
	// gatherLate is when a wait that has not gathered what it should looks like a failure, in nanoseconds.
	gatherLate = 5 * gatherTime
	// gatherTick bounds a wait that gathers, in nanoseconds.
	gatherTick = int64(2 * time.Millisecond)
	// gatherWindow is the shortest time over which a rate is measured, in nanoseconds.
	gatherWindow = int64(time.Millisecond)
	// cautionLeast and cautionMost bound the time for which a failure is remembered, in nanoseconds.
	cautionLeast, cautionMost = int64(40 * time.Millisecond), int64(640 * time.Millisecond)
)

// gather decides how many outcomes a brief wait waits for.
//
// Under dense traffic a loop that takes each outcome as it comes has two or three in a turn, and walks through all of
// the kernel's code and its own for them, each time from a cache that the other half has just filled. In a turn of
// sixteen each costs a tenth less. So where outcomes came so fast that several can be expected within gatherTime, the
// wait is for several: what a network card does with its interrupts. Sparse traffic is never made to wait.
//
// The expectation may fail: the clients may all wait for the answers that would be sent next. Such a wait ends with
// the tick. It was a failure if the answers are followed by something at once, and not merely silence. From then on no
// more are gathered than half of what had come, and the longer the more often that happens.
type gather struct {
	least   uint32 // outcomes to wait for; 1 does not gather
	ceiling uint32
	suspect uint32 // outcomes of a wait that may have failed; 0 if the last did not
	seen    int64  // outcomes within elapsed nanoseconds and the tick that runs
	elapsed int64
	rest    int64 // nanoseconds until the ceiling is lifted
	caution int64 // nanoseconds for which the next failure will be remembered
}

func newGather() gather { return gather{least: 1, ceiling: gatherMost, caution: cautionLeast} }

// tick is told that a tick of so many nanoseconds is over, and how many operations are in flight.
func (g *gather) tick(period int64, flying uint32) {
	if g.rest > 0 {
		if g.rest -= period; g.rest <= 0 {
			g.ceiling = gatherMost
		}
	} else if g.least > 1 {
		g.caution = max(cautionLeast, g.caution-period)
	}
	if g.elapsed += period; g.elapsed < gatherWindow {
		return
	}
	// Of a few connections too many would wait for each other.
	g.least = max(1, min(g.ceiling, flying/3, uint32(g.seen*gatherTime/g.elapsed)))
	g.seen, g.elapsed = 0, 0
}

// judge is told what a wait for least outcomes brought in so many nanoseconds.
func (g *gather) judge(least, came uint32, took int64) {
	switch {
	case g.suspect != 0:
		if came > 0 && took < gatherTime { // they have waited for us
			g.ceiling = max(1, g.suspect/2)
			g.least = min(g.least, g.ceiling)
			g.rest = g.caution
			g.caution = min(2*g.caution, cautionMost)
		}
		g.suspect = 0
	case came < least && took > gatherLate:
		g.suspect = max(1, came)
	}
}

// gatherBriefly submits and waits, outside the scheduler, for as many outcomes as can be expected soon, or the tick.
func (d *uring) gatherBriefly() {
	g, q := &d.gather, d.main.q
	if g.least == 1 && g.suspect == 0 || len(d.rings) > 1 { // what table rings have for us comes as one outcome
		_ = q.EnterBriefly(1)
		return
	}
	least := g.least
	if g.suspect != 0 {
		least = 1
	}
	began := d.now()
	_ = q.EnterBriefly(least)
	g.judge(least, q.Ready(), d.now()-began)
}
