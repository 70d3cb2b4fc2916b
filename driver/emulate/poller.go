// Package emulate turns readiness into completion: it makes a driver.Driver of
// anything that can say "look at this descriptor again".
//
// Every operation is attempted at once. When the kernel says that it would block,
// the operation is parked and attempted again on a hint of the Poller. A hint is
// never believed, so it may be stale, doubled or wrong and costs one refused
// attempt; and when hints were lost, everything that is parked is attempted.
//
// What a descriptor may do is remembered in one bit per direction, "dry": the last
// attempt took all there was, and no hint has come since. An operation that meets a
// dry descriptor parks without asking the kernel. On TCP a short read makes the
// descriptor dry as surely as EAGAIN does, and saves that call, unless there is
// doubt: a hang-up, urgent data or a second hint since the last attempt may all hide
// behind a short read, and then only EAGAIN is believed.
package emulate

import "time"

// Interest is a set of directions: what is waited for, or what a hint is about.
type Interest uint8

// The directions, and what a short read is worth.
const (
	Readable Interest = 1 << iota // accept, receive
	Writable                      // connect, send
	Hangup                        // in a hint only: something may follow that a short read does not show
)

// Hint says that operations on FD, an ordinary descriptor, are worth an attempt.
type Hint struct {
	FD   int
	What Interest
}

// Poller is one kernel facility for readiness. It is used by one thread, but for
// Wake.
type Poller interface {
	// Name is the name of the driver's factory.
	Name() string
	// Set changes what is waited for on fd from was to want, Readable and Writable
	// only. Readiness that exists already counts from then on like any that comes.
	// A facility that hears of both directions for ever after the first Set may do
	// nothing in later ones. An error completes the operation that needed want.
	Set(fd int, was, want Interest) error
	// Poll collects hints, at most len(dst), for at most d (d < 0: for ever; 0: not
	// at all). Waits up to sys.BriefWait must be cheap to enter and hold back
	// nobody for longer. Lost says that hints are missing. A return before d
	// without hints and without loss, as for Wake, carries the error EINTR.
	Poll(dst []Hint, d time.Duration) (n int, lost bool, err error)
	// Wake makes a Poll in progress, or else the next one, return early. It is
	// called from any goroutine, but only one at a time and not after Close.
	Wake() error
	// Close frees what the poller holds.
	Close() error
	// Gone is called before a descriptor that may have been Set is closed.
	Gone(fd int)
	// Part is called instead of Gone when the descriptor stays open in other
	// hands: nothing may be heard of it any more, and it may come back.
	Part(fd int)
}
