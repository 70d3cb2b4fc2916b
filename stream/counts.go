package stream

import (
	"iter"
	"sync/atomic"
)

// Counter names one number of [Counts]. All but [Open] only grow.
type Counter uint8

// The counters, in the order of [Counts.All].
const (
	Sessions     Counter = iota // sessions begun
	Open                        // sessions that are open now: a gauge
	Refused                     // clients turned away because a limit was reached
	BadHeaders                  // sessions without a proper PROXY header
	Unreached                   // sessions for which no server could be reached
	IdleEnds                    // sessions ended because they were idle
	AgeEnds                     // sessions ended because they reached their greatest age
	ClientBreaks                // sessions that the client broke off
	ServerBreaks                // sessions that the server broke off
	Pipes                       // times that a direction was left to the kernel
	PipesRefused                // times that the kernel would not
	Lost                        // datagrams dropped because a queue was full
	Evictions                   // sessions ended to make room for others
	counters                    // how many there are
)

var descriptions = [counters]struct{ name, text string }{
	Sessions:     {"sessions", "Sessions begun."},
	Open:         {"sessions_open", "Sessions open now."},
	Refused:      {"sessions_refused", "Clients turned away because a limit was reached."},
	BadHeaders:   {"sessions_bad_header", "Sessions without a proper PROXY header."},
	Unreached:    {"sessions_unreached", "Sessions for which no server could be reached."},
	IdleEnds:     {"sessions_idle", "Sessions ended because they were idle."},
	AgeEnds:      {"sessions_too_long", "Sessions ended because they reached their greatest age."},
	ClientBreaks: {"sessions_broken_by_client", "Sessions that the client broke off."},
	ServerBreaks: {"sessions_broken_by_upstream", "Sessions that the server broke off."},
	Pipes:        {"pipes", "Times that a direction of a session was left to the kernel."},
	PipesRefused: {"pipes_refused", "Times that the kernel would not take a direction of a session."},
	Lost:         {"datagrams_lost", "Datagrams dropped because a queue was full."},
	Evictions:    {"sessions_evicted", "Sessions ended to make room for others."},
}

// String returns the counter's name: lower case, underscores.
func (c Counter) String() string { return descriptions[c].name }

// Help returns one sentence on what the counter counts.
func (c Counter) Help() string { return descriptions[c].text }

// Gauge tells whether the number can fall.
func (c Counter) Gauge() bool { return c == Open }

// Counts are the counters of a listener, over all its loops.
type Counts [counters]int64

// All yields every counter with its number, in a fixed order.
func (c *Counts) All() iter.Seq2[Counter, int64] {
	return func(yield func(Counter, int64) bool) {
		for i, n := range c {
			if !yield(Counter(i), n) {
				return
			}
		}
	}
}

// tally is what one loop counts. Nothing is counted for each byte or chunk, so that atomic additions, to a line of
// memory that no other loop writes, are cheap enough.
type tally struct {
	numbers [counters]atomic.Int64
	_       [128]byte
}

func (t *tally) add(c Counter, n int64) { t.numbers[c].Add(n) }

func (t *tally) addTo(sum *Counts) {
	for i := range sum {
		sum[i] += t.numbers[i].Load()
	}
}
