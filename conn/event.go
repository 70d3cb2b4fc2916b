package conn

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"time"
)

// EventsKept is how many events are kept of a connection at a time, the last ones.
const EventsKept = 32

// Kind says what happened to a connection.
type Kind uint8

// What may happen. Code and Number of an Event are named with each; they are 0 where nothing is said.
const (
	Began       Kind = iota // it is recorded from here on; Number: bytes received until then
	Established             // a connection that was dialled is made, or not. Code: an errno
	Got                     // Number: bytes received; Code: an errno
	PeerDone                // the peer has sent its last byte
	Gave                    // Number: bytes that the kernel took; Code: an errno
	LastSent                // our end was sent behind the last byte
	TimedOut                // a timer of the handler fired
	Halted                  // it is not read from any more, until it is read on
	ReadOn                  // it is read again
	Drains                  // what is queued is sent, and then it ends. Number: bytes queued
	Ends                    // it is being closed. Code: an errno, or one of the codes of the errors of this package
	Sought                  // the request asks for a connection to an upstream
	Asks                    // the request is passed on. Number: ID of the connection to the upstream
	Serves                  // a request is passed on by it. Number: ID of the client's connection
	Answered                // an answer is queued. Code: status; Number: bytes of content
	kinds                   // how many there are
)

var kindNames = [kinds]string{
	"began", "connected", "received", "peer_ended", "sent", "end_sent", "timer", "paused", "resumed", "draining",
	"closing", "waiting", "asked", "serving", "answered",
}

// String is the kind's name as operators see it.
func (k Kind) String() string { return kindNames[min(k, kinds-1)] }

// Event is something that happened to a connection: 16 bytes.
type Event struct {
	stamp uint64 // microseconds, kind and code
	// Number is what Kind says.
	Number uint64
}

const (
	codeBits = 12
	kindBits = 8
	// firstCode is that of the first error of this package: the kernel's are below.
	firstCode = 4000
)

// MakeEvent puts an event together. now is in nanoseconds, of which microseconds are kept, for half a year; the code
// must be below 4,096.
func MakeEvent(now int64, k Kind, code int, number uint64) Event {
	us := uint64(now) / uint64(time.Microsecond)
	return Event{us<<(kindBits+codeBits) | uint64(k)<<codeBits | uint64(code)&(1<<codeBits-1), number}
}

// Time is when it happened, by the clock of the connection's thread.
func (e Event) Time() time.Duration {
	return time.Duration(e.stamp>>(kindBits+codeBits)) * time.Microsecond
}

// Kind is what happened.
func (e Event) Kind() Kind { return Kind(e.stamp >> codeBits) }

// Code is what Kind says.
func (e Event) Code() int { return int(e.stamp & (1<<codeBits - 1)) }

// codes are the errors that are no errno and have a code.
var codes = [...]error{
	ErrTimeout, ErrStopping, ErrOutputLimit, ErrPressure, ErrAborted, ErrMoved, ErrOperator, ErrStalled,
}

// otherCode is that of an error that has none.
const otherCode = 1<<codeBits - 1

// CodeOf is the code of an error: an errno, or one of its own; 0 for none.
func CodeOf(why error) int {
	if why == nil {
		return 0
	}
	var number syscall.Errno
	if errors.As(why, &number) && number < firstCode {
		return int(number)
	}
	for i, known := range codes {
		if errors.Is(why, known) {
			return firstCode + i
		}
	}
	return otherCode
}

// ErrOther stands for an error that has no code of its own.
var ErrOther = errors.New("another error")

// ErrorOf is the error of a code; nil for 0.
func ErrorOf(code int) error {
	switch {
	case code == 0:
		return nil
	case code < firstCode:
		return syscall.Errno(code)
	case code < firstCode+len(codes):
		return codes[code-firstCode]
	}
	return ErrOther
}

// Recording is what a model is to record of its connections. Its functions are called on the threads of the
// connections, must not block, and must not keep the slices.
type Recording struct {
	// Connections is how many connections of each worker may be recorded at a time, as long as they are not idle; 0: only
	// those that somebody traces.
	Connections int
	// Ended, if set, is told of each connection that ended for a reason, with its last events, if it was recorded.
	Ended func(r *Record, events []Event)
	// Traced, if set, is told each event of a connection that somebody traces.
	Traced func(id uint64, e Event)
	// Prompt, if set, is told at the end of a turn how many things CountPrompt has counted in it, and how long it took.
	Prompt func(n int, took time.Duration)
}

// Noter is a Conn of which events may be recorded.
type Noter interface {
	// Note records an event, if the connection is recorded.
	Note(k Kind, code int, number uint64)
	// Recall appends the last events to dst, the latest last.
	Recall(dst []Event) []Event
	// RecallAsked is Recall for the connection that the last Asks of this one has named.
	RecallAsked(dst []Event) []Event
}

// Recorder is a Roster whose connections may be recorded. Its methods may be called from any goroutine but the
// worker's own.
type Recorder interface {
	// Events copies the last events of a connection, the latest last, and what time it is by their clock. It is known
	// whether there is such a connection; one that is idle has no events.
	Events(ctx context.Context, id uint64) (events []Event, now time.Duration, known bool, err error)
	// Trace begins or ends the tracing of connections by ID, and returns how many of them there are.
	Trace(ctx context.Context, ids []uint64, on bool) (n int, err error)
	// TraceClients has connections traced that are accepted from now on, and come from these addresses.
	TraceClients(ctx context.Context, from []netip.Prefix) error
}
