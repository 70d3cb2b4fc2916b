package load

import "time"

// tally is what a worker counts. What was due before the measured time is not in it, but for connections and bytes.
type tally struct {
	due, dropped, left uint64 // open loop: due at all; found the backlog full; still in it at the end
	begun              uint64 // given to a connection
	good               uint64 // answered as expected
	failed             uint64 // all others of begun
	late               uint64 // of good and failed: answered after the end
	answers            uint64 // whole answers of any kind at any time
	window             uint64 // answers as expected between the beginning of the measured time and its end
	statuses           [6]uint64
	errors             map[string]uint64 // of requests, by cause
	stale              uint64            // datagrams that answered nothing that was still waited for
	longestBacklog     int

	dialled    uint64
	connected  uint64
	unmade     uint64 // connections that could not be made
	closedByUs uint64
	closedByIt uint64 // by the server
	lostIdle   uint64 // idle connections that the server closed during the run
	open       int    // descriptors
	standing   int    // connections that are made and not being closed
	connect    *Histogram
	touched    uint64 // idle connections that asked once and were answered
	slowGood   uint64
	slowFailed uint64
	bytesIn    uint64
	bytesOut   uint64
}

// Sample is what happened in one interval of the run.
type Sample struct {
	Good, Failed uint64
	latency      *Histogram
}

// intervalOf divides a run into some 200 intervals, none shorter than 50 ms and, if that makes it no more than 400,
// none longer than a second.
func intervalOf(d time.Duration) time.Duration {
	i := (d / 200).Round(10 * time.Millisecond)
	if i > time.Second {
		i = max(time.Second, d/400)
	}
	return max(i, 50*time.Millisecond)
}

// cut ends the intervals that are over.
func (w *worker) cut() {
	if w.phase != phaseRun {
		return
	}
	for w.now >= w.nextCut && w.nextCut < w.end {
		w.current = &Sample{latency: newHistogram(coarseBits)}
		w.samples = append(w.samples, w.current)
		w.nextCut += w.interval
	}
}

// cutLast ends the last interval.
func (w *worker) cutLast() { w.current = nil }
