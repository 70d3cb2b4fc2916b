// Package supervise decides when worker processes are started, replaced and ended: how many there are, how long a new
// one may take, what follows when one dies or hangs, and how a new configuration or binary takes over a few at a time.
//
// All decisions are made by a Machine, which has no clock and touches nothing: it is told what happened and when, and
// answers with what is to be done. A Supervisor is the thin layer that does it, with the processes of package proc. So
// what happens in the worst hour of a server can be played through by the thousand.
package supervise

import (
	"fmt"
	"time"
)

// Choice is which worker goes when there is one too many.
type Choice uint8

// The choices.
const (
	Newest            Choice = iota // the one that was started last: the others have the warmer caches
	FewestConnections               // the one whose connections are fewest: least is moved or waited for
	LastSeat                        // the one whose seat another has as well, or else the one in the last seat
)

// Policy is what a Machine goes by. Every limit is a limit: zero is refused where it would mean "without end".
type Policy struct {
	Workers     int // how many there are to be at first
	MostWorkers int // how many there may be told to be
	Surge       int // how many are replaced at once, and so how many more there may be meanwhile; at least 1
	Slots       int // how many processes there may be at all, those that drain included
	Retire      Choice

	ReadyWithin time.Duration // what a worker may take to be ready
	SettleAfter time.Duration // how long a worker must have been ready to count as one that works

	BackOffFirst time.Duration // the wait after a worker died that had not settled; it doubles each time
	BackOffMost  time.Duration // the longest such wait
	Jitter       float64       // the part of a wait that is left to chance, 0 to 1

	LoopDeaths int           // so many deaths of workers that had not settled,
	LoopWithin time.Duration // within so long, are a crash loop;
	LoopRetry  time.Duration // in it one worker is tried so often

	HangAfter time.Duration // how old the beat of a loop may be until the worker is asked
	AskFor    time.Duration // how long it may take to answer until it is killed

	DrainFor     time.Duration // what a worker that drains may take until it gets SIGTERM
	TerminateFor time.Duration // what it may take then until it gets SIGKILL

	StartsMost   int           // so many starts at most
	StartsWithin time.Duration // within so long, whatever the cause
}

// Sensible is the policy for a number of workers where nobody wishes otherwise.
func Sensible(workers int) Policy {
	const most = 256
	return Policy{
		Workers: workers, MostWorkers: max(workers, most), Surge: 1, Slots: 2*max(workers, most) + 1, Retire: Newest,
		ReadyWithin: 30 * time.Second, SettleAfter: 5 * time.Second,
		BackOffFirst: 100 * time.Millisecond, BackOffMost: 15 * time.Second, Jitter: 0.3,
		LoopDeaths: 5 + 2*workers, LoopWithin: time.Minute, LoopRetry: 30 * time.Second,
		HangAfter: 10 * time.Second, AskFor: 5 * time.Second,
		DrainFor: 30 * time.Second, TerminateFor: 10 * time.Second,
		StartsMost: 60 + 10*workers, StartsWithin: time.Minute,
	}
}

// Check tells what is wrong with a policy.
func (p Policy) Check() error {
	const mostSlots = 1024
	if p.MostWorkers < 1 || p.Workers < 1 || p.Workers > p.MostWorkers {
		return fmt.Errorf("%d workers are not between 1 and %d", p.Workers, p.MostWorkers)
	}
	if p.Surge < 1 {
		return fmt.Errorf("a surge of %d: a worker goes when its successor is there, so it is at least 1", p.Surge)
	}
	if p.Slots < p.MostWorkers+p.Surge || p.Slots > mostSlots {
		return fmt.Errorf("%d slots for %d workers and a surge of %d: there must be one for each, and at most %d", p.Slots,
			p.MostWorkers, p.Surge, mostSlots)
	}
	if p.Jitter < 0 || p.Jitter > 1 {
		return fmt.Errorf("a jitter of %g is not between 0 and 1", p.Jitter)
	}
	// The crash loop is to be found out before the starts run out, as its cause is named.
	if least := p.Workers + max(p.Surge, p.LoopDeaths); p.LoopDeaths < 1 || p.StartsMost < least {
		return fmt.Errorf("%d deaths are a crash loop, and %d starts are allowed: these must be at least 1 and %d",
			p.LoopDeaths, p.StartsMost, least)
	}
	if p.BackOffMost < p.BackOffFirst {
		return fmt.Errorf("the longest wait, %s, is shorter than the first, %s", p.BackOffMost, p.BackOffFirst)
	}
	for name, d := range map[string]time.Duration{
		"ready within": p.ReadyWithin, "settle after": p.SettleAfter, "back off": p.BackOffFirst,
		"loop within": p.LoopWithin, "loop retry": p.LoopRetry, "hang after": p.HangAfter, "ask for": p.AskFor,
		"drain for": p.DrainFor, "terminate for": p.TerminateFor, "starts within": p.StartsWithin,
	} {
		if d <= 0 {
			return fmt.Errorf("%s %s: it must be more than nothing", name, d)
		}
	}
	return nil
}
