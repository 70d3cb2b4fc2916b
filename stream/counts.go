package stream

import (
	"iter"
	"sync"
	"sync/atomic"
)

// Counter names one number of [Counts]. All but [Open] only grow. Each session that is not open any more is counted
// once among those that tell how it ended; one that went on in other processes is counted so by the last of them, and
// as begun by the first.
type Counter uint8

// The counters, in the order of [Counts.All].
const (
	Sessions         Counter = iota // sessions begun
	Open                            // sessions that are open now: a gauge
	ClientEnds                      // ended: the client was done first
	ServerEnds                      // ended: the server was done first
	ClientBreaks                    // ended: the client broke off
	ServerBreaks                    // ended: the server broke off
	IdleEnds                        // ended: they were idle
	AgeEnds                         // ended: they reached their greatest age
	Unreached                       // ended: no server could be reached
	Refused                         // ended: a limit was reached; datagrams dropped for that reason
	RefusedPerClient                // of those: it was that of the client
	BadHeaders                      // ended: without a proper PROXY header
	Answers                         // ended: all answers to datagrams have come
	Evictions                       // ended: to make room for others
	Closes                          // ended: the operator wanted so
	Stops                           // ended: the server stopped
	Stalls                          // ended: a side took nothing while memory was short
	Pipes                           // times that a direction was left to the kernel
	PipesRefused                    // times that the kernel would not
	Lost                            // datagrams dropped because a queue was full
	Unanswered                      // answers dropped because the client has no name
	Undelivered                     // times that the kernel heard that a server of datagrams was not there
	MovedIn                         // sessions that came from another process, which has counted them as begun
	MovedOut                        // sessions that went to another process, which will count how they end
	counters                        // how many there are
)

// ends are the counters of the causes.
var ends = [causes]Counter{
	ClientEnded: ClientEnds, UpstreamEnded: ServerEnds, ClientFailed: ClientBreaks, UpstreamFailed: ServerBreaks,
	NotConnected: Unreached, Idle: IdleEnds, TooLong: AgeEnds, TooMany: Refused, BadHeader: BadHeaders, Stopped: Stops,
	Answered: Answers, Evicted: Evictions, Stalled: Stalls, Closed: Closes,
}

var descriptions = [counters]struct{ name, text string }{
	Sessions:     {"sessions", "Sessions begun."},
	Open:         {"sessions_open", "Sessions open now."},
	ClientEnds:   {"sessions_ended_by_client", "Sessions in which the client was done first."},
	ServerEnds:   {"sessions_ended_by_upstream", "Sessions in which the server was done first."},
	ClientBreaks: {"sessions_broken_by_client", "Sessions that the client broke off."},
	ServerBreaks: {"sessions_broken_by_upstream", "Sessions that the server broke off."},
	IdleEnds:     {"sessions_idle", "Sessions ended because they were idle."},
	AgeEnds:      {"sessions_too_long", "Sessions ended because they reached their greatest age."},
	Unreached:    {"sessions_unreached", "Sessions for which no server could be reached."},
	Refused:      {"sessions_refused", "Clients, or their datagrams, turned away because a limit was reached."},
	RefusedPerClient: {
		"sessions_refused_per_client", "Of those refused: the client had as many sessions as one may have.",
	},
	BadHeaders:   {"sessions_bad_header", "Sessions without a proper PROXY header."},
	Answers:      {"sessions_answered", "Sessions of datagrams ended because all answers had come."},
	Evictions:    {"sessions_evicted", "Sessions ended to make room for others."},
	Closes:       {"sessions_closed", "Sessions ended by the operator."},
	Stops:        {"sessions_stopped", "Sessions ended because the server stopped."},
	Stalls:       {"sessions_stalled", "Sessions ended because a side took nothing while memory was short."},
	Pipes:        {"pipes", "Times that a direction of a session was left to the kernel."},
	PipesRefused: {"pipes_refused", "Times that the kernel would not take a direction of a session."},
	Lost:         {"datagrams_lost", "Datagrams dropped because a queue was full."},
	Unanswered:   {"datagrams_unanswered", "Answers dropped because the client's Unix socket has no name."},
	Undelivered:  {"datagrams_undelivered", "Times that the kernel heard that a server of datagrams was not there."},
	MovedIn:      {"sessions_moved_in", "Sessions that came from another process, which has counted them as begun."},
	MovedOut:     {"sessions_moved_out", "Sessions that went to another process, which will count how they end."},
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

// begun counts a session that opens.
func (t *tally) begun() {
	t.add(Sessions, 1)
	t.add(Open, 1)
}

// ended counts a session that is over.
func (t *tally) ended(why Cause) {
	t.add(Open, -1)
	t.add(ends[why], 1)
}

// movedIn counts a session that began in another process, and movedOut one that goes on there.
func (t *tally) movedIn() {
	t.add(MovedIn, 1)
	t.add(Open, 1)
}

func (t *tally) movedOut() {
	t.add(MovedOut, 1)
	t.add(Open, -1)
}

// books are what the loops of one listener count, whatever has served it in turn.
type books struct {
	mu      sync.Mutex
	tallies []*tally
}

// tally opens the account of one more loop.
func (b *books) tally() *tally {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := new(tally)
	b.tallies = append(b.tallies, t)
	return t
}

// Counts sums up what the handlers have counted. Any goroutine may ask.
func (b *books) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sum Counts
	for _, t := range b.tallies {
		for i := range sum {
			sum[i] += t.numbers[i].Load()
		}
	}
	return sum
}
