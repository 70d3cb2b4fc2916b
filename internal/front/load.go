package front

import "time"

// Shown gives how many connections a worker has, as it said last, and when it said so, on any clock.
type Shown func() (open int64, at time.Duration)

// glanceAtMost is how old what a worker has shown may be when it counts.
const glanceAtMost = 10 * time.Millisecond

// busyness is how many connections a worker has, as far as it is known: those that it has shown, and those that it was
// given since.
type busyness struct {
	shown   Shown // nil: nobody knows, and it has those that it was given
	given   int64
	open    int64
	at      time.Duration
	glanced time.Time
}

func (b *busyness) load() int64 {
	if b.shown == nil {
		return b.given
	}
	if now := time.Now(); now.Sub(b.glanced) > glanceAtMost {
		b.glanced = now
		if open, at := b.shown(); at != b.at {
			b.open, b.at, b.given = open, at, 0
		}
	}
	return b.open + b.given
}
