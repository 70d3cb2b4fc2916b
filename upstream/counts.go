package upstream

import "sync/atomic"

// Counter is a number that only grows, of a group and all its agents.
type Counter uint8

// The counters.
const (
	Acquired             Counter = iota // links granted
	Reused                              // of these: links that had been used before
	Dialled                             // connections begun
	Warmed                              // of these: begun before they were needed
	DialFailed                          // connections that could not be made
	Borrowed                            // links that came from another thread
	Adopted                             // links, and uses by datagrams, that came from another process
	StaleFound                          // idle links that a look found dead
	StaleEnded                          // idle links that the endpoint ended
	StaleUsed                           // links that ended without an answer when they were used again
	Unasked                             // idle links on which bytes came that nobody had asked for
	RetiredIdle                         // links closed because they were idle for the configured time
	RetiredLearned                      // links closed because the endpoint would have ended them soon
	RetiredAge                          // links closed because of their age
	RetiredSurplus                      // links closed because there were too many idle ones
	RetiredUnwell                       // idle links closed because the endpoint was found unwell, or had to go
	Queued                              // wants that had to wait for a connection to become free
	Cancelled                           // wants taken back
	DeniedNoEndpoint                    // wants denied because no endpoint was well
	DeniedQueueFull                     // because too many waited
	DeniedQueueTimeout                  // because they waited too long
	DeniedDial                          // because endpoints accepted no connection
	DeniedConnectTimeout                // because endpoints did not answer in time
	DeniedNoPorts                       // because no local port was left
	DeniedClosed                        // because the group was closed
	counters
)

// counterTexts are the names and descriptions of the counters.
var counterTexts = [counters][2]string{
	Acquired:             {"acquired", "Links granted."},
	Reused:               {"reused", "Links granted that had been used before."},
	Dialled:              {"dialled", "Connections begun."},
	Warmed:               {"warmed", "Connections begun before they were needed."},
	DialFailed:           {"dial_failed", "Connections that could not be made."},
	Borrowed:             {"borrowed", "Links that came from another thread."},
	Adopted:              {"adopted", "Links, and sessions of datagrams, that came from another process."},
	StaleFound:           {"stale_found", "Idle links that a look before use found dead."},
	StaleEnded:           {"stale_ended", "Idle links that the endpoint ended."},
	StaleUsed:            {"stale_used", "Links that ended without an answer when they were used again."},
	Unasked:              {"unasked", "Idle links closed because of bytes that nobody had asked for."},
	RetiredIdle:          {"retired_idle", "Links closed because they were idle for the configured time."},
	RetiredLearned:       {"retired_learned", "Links closed because the endpoint would have ended them soon."},
	RetiredAge:           {"retired_age", "Links closed because of their age."},
	RetiredSurplus:       {"retired_surplus", "Links closed because there were too many idle ones."},
	RetiredUnwell:        {"retired_unwell", "Idle links closed because the endpoint was found unwell, or had to go."},
	Queued:               {"queued", "Requests for a link that had to wait for one to become free."},
	Cancelled:            {"cancelled", "Requests for a link that were taken back."},
	DeniedNoEndpoint:     {"denied_no_endpoint", "Requests denied because no endpoint was well."},
	DeniedQueueFull:      {"denied_queue_full", "Requests denied because too many waited."},
	DeniedQueueTimeout:   {"denied_queue_timeout", "Requests denied because they waited too long."},
	DeniedDial:           {"denied_dial", "Requests denied because endpoints accepted no connection."},
	DeniedConnectTimeout: {"denied_connect_timeout", "Requests denied because endpoints did not answer in time."},
	DeniedNoPorts:        {"denied_no_ports", "Requests denied because no local port was left."},
	DeniedClosed:         {"denied_closed", "Requests denied because the group was closed."},
}

// Counters returns all counters in their order.
func Counters() []Counter {
	all := make([]Counter, counters)
	for i := range all {
		all[i] = Counter(i)
	}
	return all
}

// String is the counter's name, in lower case with underscores.
func (c Counter) String() string { return counterTexts[c][0] }

// Help is one sentence that says what is counted.
func (c Counter) Help() string { return counterTexts[c][1] }

// Counts is the value of each counter.
type Counts [counters]uint64

// tally is the counters that one thread writes and any may read.
type tally [counters]atomic.Uint64

// add counts one. A plain addition would do for the writer; the store is for the readers.
func (t *tally) add(c Counter) { t[c].Store(t[c].Load() + 1) }

// addTo adds the tally to a sum.
func (t *tally) addTo(sum *Counts) {
	for i := range t {
		sum[i] += t[i].Load()
	}
}
