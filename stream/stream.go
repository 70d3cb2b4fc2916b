// Package stream passes connections on without knowing what is said over them: TCP and Unix sockets byte by byte
// ([TCP]), UDP datagram by datagram ([UDP]). Which server a session goes to, and whether that is well, is known to
// package upstream.
//
// A session belongs to the loop that accepted its client, and so does the connection to its server: nothing on the way
// of a byte is locked or handed over. While nothing is said it holds two connections and one small struct.
//
// A session of [TCP] ends as its ends do. An end of one side is passed on as an end, and the other direction goes on; a
// reset is passed on as a reset, behind the bytes that came before it. What is received and cannot be sent on is held
// up to a limit, beyond which the sender is not read.
package stream

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// Cause says why a session ended.
type Cause uint8

// The causes. What ended first counts.
const (
	ClientEnded    Cause = iota // the client said that it was done, and then everything was
	UpstreamEnded               // the server said so first
	ClientFailed                // the client reset the connection, or it broke
	UpstreamFailed              // the server did
	NotConnected                // no server could be reached
	Idle                        // neither side said anything for the idle time
	TooLong                     // the session reached its greatest age
	TooMany                     // the client, or the listener, has as many sessions as it may
	BadHeader                   // the PROXY header was missing, malformed or late
	Stopped                     // the server stopped
	Answered                    // UDP: all answers that were expected have come
	Evicted                     // UDP: another client needed the place
	Stalled                     // a side took nothing while memory was short
	Closed                      // UDP: the operator wanted it gone
	causes
)

// String is the cause in lower case, as it stands in logs.
func (c Cause) String() string {
	return [causes]string{
		"client ended", "upstream ended", "client failed", "upstream failed", "not connected", "idle",
		"too long", "too many", "bad header", "stopped", "answered", "evicted", "stalled", "closed",
	}[c]
}

// Record is what is known of a session when it has ended, for an access log.
type Record struct {
	// Connection is the ID of the client's connection; zero for UDP.
	Connection uint64
	// Client is who it was: what the PROXY header said, if there was one. It is zero for connections of Unix sockets, and
	// conn.UnixPeer for their datagrams.
	Client netip.AddrPort
	// Upstream is the address of the server; empty if there was none.
	Upstream string
	// Received and Sent are bytes: from the client, and to it.
	Received, Sent uint64
	// UpstreamReceived and UpstreamSent are bytes: from the server, and to it.
	UpstreamReceived, UpstreamSent uint64
	// Wall is when the session ended, in Unix seconds; zero for UDP, whose sockets have no calendar.
	Wall int64
	// Duration is how long it lasted.
	Duration time.Duration
	// Connect is how long the client waited for the server.
	Connect time.Duration
	Cause   Cause
	// Err is what is known beyond the cause, or nil.
	Err error
}

// Log is told about sessions that have ended. It is called on the threads of the sessions, by many at once, and must
// not block. r is only lent.
type Log interface {
	Log(r *Record)
}

// logPause is the time between two lines of one kind on one loop.
const logPause = int64(time.Second)

// reporter writes lines for the operator, of each kind at most one in logPause.
type reporter struct {
	log    *slog.Logger
	name   string
	last   [lines]int64
	missed [lines]int
}

// line is a kind of line.
type line uint8

const (
	lineConnect   line = iota // no server could be reached
	lineLimit                 // the listener has as many sessions as it may
	linePerClient             // a client has as many sessions as it may
	lineEvicted               // a session made room for another
	lineUnnamed               // a client has no name
	lineHeader                // a PROXY header was not what it should be
	lines
)

func newReporter(log *slog.Logger, name string) reporter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return reporter{log: log, name: name}
}

// warn writes a line unless there was one of its kind a moment ago.
func (r *reporter) warn(kind line, now int64, text string, client netip.AddrPort, cause any) {
	if r.last[kind] != 0 && now-r.last[kind] < logPause {
		r.missed[kind]++
		return
	}
	r.log.Warn(text, "listener", r.name, "client", conn.PeerName(client), "cause", cause, "not_told", r.missed[kind])
	r.last[kind], r.missed[kind] = max(now, 1), 0
}

// keyOf is the client's address as a number, for consistent hashing. The port is left out: whoever comes again reaches
// the same server, also when nobody remembers that it was there. The number is the same in every process.
func keyOf(a netip.Addr) uint64 {
	b := a.As16()
	return fold(b[:])
}

// keyOfPeer is keyOf, and for a Unix socket its name as a number.
func keyOfPeer(a netip.AddrPort) uint64 {
	if name := conn.UnixName(a); name != "" {
		return fold(name)
	}
	return keyOf(a.Addr())
}

// fold is the FNV-1a hash.
func fold[T string | []byte](of T) uint64 {
	key := uint64(14695981039346656037)
	for i := range len(of) {
		key = (key ^ uint64(of[i])) * 1099511628211
	}
	return key
}
