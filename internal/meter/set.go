// Package meter counts what a loop does: counters and latency histograms that one goroutine writes and any other may
// copy at any time, without a lock and without stopping the writer.
//
// The owner, the goroutine of a loop, adds to plain numbers of its own (about a nanosecond) and calls Publish once a
// turn, before it waits. Publish adds what has changed to atomic numbers, and those are what readers copy. The
// obvious way, an atomic store for every addition, was measured and rejected: Go's atomic store is a locked exchange
// on amd64, as dear as a locked add, and a request touches eight counters. So a copy is at most one turn old, and
// never stale while a loop waits.
//
// What has no single owner (a goroutine for each connection, another goroutine that posts to a loop) uses AddShared
// and RecordShared, which go straight to the atomic numbers. Both ways may be mixed in one Set.
//
// A reader loads value by value. Each value is whole; two values of one copy may belong to different moments: a copy
// can show a request whose bytes are not counted yet. That is accepted, because the next copy is right again and no
// figure that an operator sees depends on more.
//
// The package knows neither loops nor HTTP nor any format of export: an exporter walks [Counts.All].
package meter

import (
	"iter"
	"strconv"
	"sync/atomic"
)

// Counter names one number of a [Set]. All but [Open] only grow.
type Counter uint8

// The counters, in the order of [Counts.All].
const (
	Accepted        Counter = iota // connections accepted
	Closed                         // connections closed, by whichever side
	Refused                        // connections closed right after accept because a limit was reached
	Open                           // connections open now: a gauge
	Requests                       // requests whose head was complete
	Responses1xx                   // interim responses
	Responses2xx                   // responses with a status of 200 to 299
	Responses3xx                   // responses with a status of 300 to 399
	Responses4xx                   // responses with a status of 400 to 499
	Responses5xx                   // responses with a status of 500 to 599
	BytesIn                        // bytes received
	BytesOut                       // bytes sent
	TimeoutsHead                   // connections that did not finish a request's head in time
	TimeoutsBody                   // connections that did not finish a request's body in time
	TimeoutsIdle                   // connections closed between requests, as configured
	TimeoutsWrite                  // connections that did not take a response in time
	TimeoutsRequest                // requests that took too long as a whole
	Turns                          // turns of the loop
	Completions                    // completions that the driver gave to the loop
	BusyNanoseconds                // time that the loop did not wait
	AcceptPauses                   // times that accepting stopped for want of descriptors, memory or slots
	Shed                           // idle connections closed to make room
	ProtocolErrors                 // connections closed because the peer broke the protocol
	Posts                          // functions posted to the loop by other goroutines
	Dialled                        // connections that were begun to an upstream
	PortsExhausted                 // connections that could not be begun: no local port was left
	Truncated                      // datagrams dropped because they were larger than the room for one
	Moved                          // connections taken over from another loop
	DatagramErrors                 // errors of connected datagram sockets, such as a port that nobody listens at
	counters                       // how many there are
)

// descriptions holds, for each counter, its name for an exporter and what it counts.
var descriptions = [counters]struct{ name, text string }{
	Accepted:        {"connections_accepted", "Connections accepted."},
	Closed:          {"connections_closed", "Connections closed, by whichever side."},
	Refused:         {"connections_refused", "Connections closed right after accept because a limit was reached."},
	Open:            {"connections_open", "Connections open now."},
	Requests:        {"requests", "Requests whose head was complete."},
	Responses1xx:    {"responses_1xx", "Interim responses."},
	Responses2xx:    {"responses_2xx", "Responses with a status of 200 to 299."},
	Responses3xx:    {"responses_3xx", "Responses with a status of 300 to 399."},
	Responses4xx:    {"responses_4xx", "Responses with a status of 400 to 499."},
	Responses5xx:    {"responses_5xx", "Responses with a status of 500 to 599."},
	BytesIn:         {"received_bytes", "Bytes received."},
	BytesOut:        {"sent_bytes", "Bytes sent."},
	TimeoutsHead:    {"timeouts_head", "Connections that did not finish a request's head in time."},
	TimeoutsBody:    {"timeouts_body", "Connections that did not finish a request's body in time."},
	TimeoutsIdle:    {"timeouts_idle", "Connections closed because they were idle between requests."},
	TimeoutsWrite:   {"timeouts_write", "Connections that did not take a response in time."},
	TimeoutsRequest: {"timeouts_request", "Requests that took too long as a whole."},
	Turns:           {"loop_turns", "Turns of the loop."},
	Completions:     {"loop_completions", "Completions that the driver gave to the loop."},
	BusyNanoseconds: {"loop_busy_nanoseconds", "Time that the loop did not wait."},
	AcceptPauses:    {"accept_pauses", "Times that accepting stopped for want of descriptors, memory or slots."},
	Shed:            {"connections_shed", "Idle connections closed to make room."},
	ProtocolErrors:  {"protocol_errors", "Connections closed because the peer broke the protocol."},
	Posts:           {"loop_posts", "Functions posted to the loop by other goroutines."},
	Dialled:         {"connections_dialled", "Connections that were begun to an upstream."},
	PortsExhausted:  {"ports_exhausted", "Connections that could not be begun: no local port was left."},
	Truncated:       {"datagrams_truncated", "Datagrams dropped because they were larger than the room for one."},
	Moved:           {"connections_moved", "Connections taken over from another loop."},
	DatagramErrors:  {"datagram_errors", "Errors of connected datagram sockets, such as a port that nobody listens at."},
}

// String returns the counter's name, such as "requests": lower case, underscores, the unit last.
func (c Counter) String() string {
	if c >= counters {
		return "counter_" + strconv.Itoa(int(c))
	}
	return descriptions[c].name
}

// Help returns one sentence on what the counter counts.
func (c Counter) Help() string {
	if c >= counters {
		return ""
	}
	return descriptions[c].text
}

// Gauge tells whether the number can fall.
func (c Counter) Gauge() bool { return c == Open }

// Responses returns the counter for a response's status. A status outside of 100 to 599 counts as 5xx, because only a
// faulty handler sends one.
func Responses(status int) Counter {
	if status < 100 || status > 599 {
		return Responses5xx
	}
	return Responses1xx + Counter(status/100-1)
}

// cacheLine is twice the 64 bytes of a line, because processors fetch lines in pairs.
const cacheLine = 128

// Set holds the counters of one loop. Its zero value is ready. It must not be copied. The padding keeps the sets of
// two loops, and the owner's numbers and those that readers load, from sharing a cache line.
type Set struct {
	_         [cacheLine]byte
	pending   [counters]int64 // the owner's: added since the last Publish
	_         [cacheLine]byte
	published [counters]atomic.Int64
	_         [cacheLine]byte
}

// Add adds n, which is negative for a gauge that falls, to a counter. Owner only. Readers see it after Publish.
func (s *Set) Add(c Counter, n int64) { s.pending[c] += n }

// AddShared adds n to a counter from any goroutine. Readers see it at once.
func (s *Set) AddShared(c Counter, n int64) { s.published[c].Add(n) }

// Publish shows readers what was added since the last call. Owner only; once a turn of the loop, before it waits.
func (s *Set) Publish() {
	for i, n := range s.pending {
		if n != 0 {
			s.pending[i] = 0
			s.published[i].Add(n)
		}
	}
}

// Snapshot copies what is published. Any goroutine.
func (s *Set) Snapshot() Counts {
	var copied Counts
	for i := range s.published {
		copied[i] = s.published[i].Load()
	}
	return copied
}

// Counts is a copy of a [Set], or the sum of several. A number is read by its counter: counts[meter.Requests].
type Counts [counters]int64

// Add adds the counts of another loop.
func (c *Counts) Add(other Counts) {
	for i, n := range other {
		c[i] += n
	}
}

// All yields every counter with its number, in a fixed order. The counter has the name.
func (c *Counts) All() iter.Seq2[Counter, int64] {
	return func(yield func(Counter, int64) bool) {
		for i, n := range c {
			if !yield(Counter(i), n) {
				return
			}
		}
	}
}
