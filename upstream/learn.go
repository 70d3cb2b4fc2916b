package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

// learner finds out how long an endpoint lets a connection be idle. Two things tell: what it says itself (Keep-Alive:
// timeout=N), and the ages at which it ended idle links. An end may have other causes, above all that the endpoint was
// restarted, which ends many links at once whatever their age. So an age counts only when a second one like it was
// seen at another moment, not too long before, and none of a link that was idle for less than half of what another has
// lately survived: two restarts are no timeout. The lowest such age is believed. What is believed grows slowly:
// nothing is seen of a link that was retired in time, and only so it is found out that the endpoint has become more
// patient.
type learner struct {
	hint atomic.Int64 // seconds; 0: none

	lived   atomic.Uint32 // milliseconds that a link was idle for, and could be used again
	livedAt atomic.Int64  // when; how long it counts

	mu      sync.Mutex
	seen    [8]sighting // the latest
	next    int
	age     time.Duration // believed; 0: unknown
	settled int64         // when it was last changed
}

// sighting is an idle link that the endpoint ended.
type sighting struct {
	age  time.Duration
	when int64
}

const (
	leastAge      = 100 * time.Millisecond // an end before that is no idle timeout
	leastStale    = 1000                   // milliseconds idle, for one that ends in use to count
	sameMoment    = int64(50 * time.Millisecond)
	forgetsEvery  = int64(30 * time.Second)
	forgetsBy     = 16 // a sixteenth each time
	survivalLasts = int64(5 * time.Minute)
	sightingLasts = int64(10 * time.Minute)
	leastMargin   = 100 * time.Millisecond
	largestMargin = 2 * time.Second
)

// KeepAliveHint tells what the endpoint said about its idle timeout: N of a header Keep-Alive: timeout=N, in seconds.
// Zero or less is no hint.
func (e *Endpoint) KeepAliveHint(seconds int) {
	if int64(seconds) == e.learner.hint.Load() || seconds <= 0 {
		return
	}
	e.learner.hint.Store(int64(min(seconds, int(longestAge/time.Second))))
	e.setIdleLimit()
}

// Learned is the endpoint's idle timeout as far as it is known; zero: it is not.
func (e *Endpoint) Learned() time.Duration {
	e.learner.mu.Lock()
	age := e.learner.age
	e.learner.mu.Unlock()
	if hint := time.Duration(e.learner.hint.Load()) * time.Second; hint > 0 && (age == 0 || hint < age) {
		return hint
	}
	return age
}

// outlived is told of a link that was idle for so many milliseconds and can be used again.
func (e *Endpoint) outlived(idle uint32, now int64) {
	if l := &e.learner; idle > l.lived.Load() || now-l.livedAt.Load() > survivalLasts {
		l.lived.Store(idle)
		l.livedAt.Store(now)
	}
}

// endedIdle is told of an idle link that the endpoint ended.
func (e *Endpoint) endedIdle(age time.Duration, now int64) {
	l := &e.learner
	lived := time.Duration(l.lived.Load()) * time.Millisecond
	if age < leastAge || age < lived/2 && now-l.livedAt.Load() <= survivalLasts {
		return
	}
	l.mu.Lock()
	l.seen[l.next] = sighting{age, now}
	l.next = (l.next + 1) % len(l.seen)
	if found := l.lowest(); found > 0 && (l.age == 0 || found < l.age) {
		l.age, l.settled = found, now
	}
	l.mu.Unlock()
	e.setIdleLimit()
}

// lowest is the lowest age that was seen twice.
func (l *learner) lowest() (age time.Duration) {
	for i := range l.seen {
		for j := range l.seen {
			a, b := &l.seen[i], &l.seen[j]
			if a.age > 0 && a.age <= b.age && alike(a, b) && (age == 0 || a.age < age) {
				age = a.age
			}
		}
	}
	return age
}

// alike reports that two ages, the first the lower, come from one timeout.
func alike(a, b *sighting) bool {
	apart := max(a.when, b.when) - min(a.when, b.when)
	return apart > sameMoment && apart < sightingLasts && b.age <= a.age+a.age/4+leastAge
}

// forget lets what is believed grow with time. It is called now and then.
func (e *Endpoint) forget(now int64) {
	l := &e.learner
	l.mu.Lock()
	changed := l.age > 0 && now-l.settled >= forgetsEvery
	if changed {
		l.age += l.age / forgetsBy
		l.settled = now
		l.seen = [len(l.seen)]sighting{} // what was seen before has had its say
		if l.age > longestAge {
			l.age = 0
		}
	}
	l.mu.Unlock()
	if changed {
		e.setIdleLimit()
	}
}

// setIdleLimit computes how long a link may be idle.
func (e *Endpoint) setIdleLimit() {
	limit := e.group.options.Pool.IdleTimeout
	if learned := e.Learned(); learned > 0 {
		margin := min(max(learned/10, leastMargin), largestMargin)
		limit = min(limit, max(learned-margin, learned/2))
	}
	now := uint32(limit.Milliseconds())
	if before := e.idleLimit.Swap(now); now < before {
		e.group.poke() // what is idle already is due sooner
	}
}
