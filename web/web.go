// Package web is the meaning of HTTP on top of a connection: it turns bytes into exchanges, hands each to a handler,
// and decides what becomes of the connection afterwards.
//
// A [Server] describes what is served and never changes; another one may take its place, see [Server.Replace]. Each
// thread of control has a handler of its own from [Server.Handler], which holds what one thread may keep without locks:
// the line with the date, and the exchanges that are free. A connection between two requests holds none of it.
//
// # The life of an exchange
//
// The head of a request is parsed where it was received. Once it is complete, the server's hooks and then its root
// [Handler] are called with an [Exchange], on the thread of the connection. A handler answers at once or later, but
// never blocks. One exchange is in progress on a connection at a time: requests behind it wait, and so does reading.
//
// # What is refused, and how
//
// A request that cannot be understood or is too large gets a small answer in plain text and the end of its connection.
// The end is gentle: input is read and thrown away for a moment, so that the client finds the answer rather than a
// reset. A client that is too slow with a head or a body is told 408; one that does not take its answer is cut off.
package web

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/proto/http1"
)

// Handler answers requests. Serve is called once the head of a request is complete, on the thread of the connection,
// and must not block. It answers before it returns, or keeps the exchange and answers later on the same thread. One
// handler is called from many threads at once, each with exchanges of its own.
type Handler interface {
	Serve(x *Exchange)
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc func(x *Exchange)

// Serve calls f.
func (f HandlerFunc) Serve(x *Exchange) { f(x) }

// Limits bound what a client may ask for and make the server hold. Zero means the default.
type Limits struct {
	// HeadBytes is the longest request head. It must fit into a block. Default 16 KiB. Beyond it: 431.
	HeadBytes int
	// TargetBytes is the longest request target. Default 8 KiB. Beyond it: 414.
	TargetBytes int
	// Fields is the largest number of field lines in a head. Default 100. Beyond it: 431.
	Fields int
	// BodyBytes is the largest request content; negative: none. Default 1 MiB. Beyond it: 413.
	BodyBytes int64
	// DiscardBytes is how much content that no handler wants is read only to keep the connection, within BodyBytes.
	// Default 256 KiB. Beyond it the connection ends behind the answer, with Timeouts.Linger.
	DiscardBytes int64
	// OutputBytes is how much may be queued on a connection before nothing more is read from it. Default 1 MiB.
	OutputBytes int64
	// Requests is how many requests one connection may make. Default and largest counted value: 1,000,000,000; from
	// there on nothing is counted.
	Requests int
}

// Timeouts bound how long anything may take. Zero means the default; use Unlimited for no bound.
type Timeouts struct {
	// Head is for a request's head, from its first byte to its last. Default 10 s. Beyond it: 408.
	Head time.Duration
	// Body is for silence within a request's body. Default 30 s. Beyond it: 408, or the end of the connection if the
	// request has its answer and the body is only thrown away.
	Body time.Duration
	// Idle is for silence between requests and before the first. Default 75 s.
	Idle time.Duration
	// Write is for a client that takes none of the bytes queued for it. Default 30 s. Up to 16 KiB behind a
	// complete answer are watched only from Idle on, so that they cost nothing before.
	Write time.Duration
	// Request is for a whole request, from its first byte until its answer has been queued. Default 5 min.
	Request time.Duration
	// Linger is for reading on after the last answer, so that a client that still sends sees it. Default 2 s;
	// negative: do not.
	Linger time.Duration
}

// Unlimited is a Timeouts value or a byte limit that is never reached.
const Unlimited = math.MaxInt64

// uncounted is the number of requests from which on a connection is not counted.
const uncounted = 1_000_000_000

// Server describes what is served. It must not change once Handler has been called.
type Server struct {
	// Root answers every request that is not refused before. Required.
	Root Handler
	// Limits and Timeouts; what is zero has its default.
	Limits   Limits
	Timeouts Timeouts
	// Name is the value of the Server field; without one the field is left out.
	Name string
	// Log, if set, is told about answered requests. It is called on the threads of the connections, by many at once.
	Log Log
	// LogSample is the share of requests that Log is told about, above 0 and up to 1. Zero means all.
	LogSample float64
	// LargestBody is the most that a handler may raise the limit on content to, with Exchange.LimitBody, if it is more
	// than Limits.BodyBytes. Requests that announce more than that are refused before they reach a handler.
	LargestBody int64
	// AnyMethod lets requests with methods that this package does not know reach Root: a proxy does not decide what
	// its upstreams can do (RFC 9110 section 9.1). Whoever answers by itself refuses them with 501, see RefuseMethod.
	AnyMethod bool
	// Started, if set, is told each thread of control that can dial, on it, before its first connection.
	Started func(d conn.Dialer)
	// Begun and Done, if set, are called for each request before Root, and after its answer has been queued or was
	// broken off. Done must not touch the answer.
	Begun, Done func(x *Exchange)
	// Panicked, if set, is told when a handler panics. The request is answered with 500.
	Panicked func(x *Exchange, value any)
	// Meter, if set, gives each handler the Set that it counts in: that of the thread which will use it. Whoever
	// owns the Set publishes it. Without one the server counts in a Set that all handlers share.
	Meter func() *meter.Set

	shared meter.Set
	first  *Server // of those that were replaced in turn; nil: this one
	next   atomic.Pointer[Server]
}

// Counts copies what the handlers have counted in the Set that they share, for servers without Meter.
func (s *Server) Counts() meter.Counts { return s.set().Snapshot() }

// set is what the handlers count in.
func (s *Server) set() *meter.Set {
	if s.first != nil {
		s = s.first
	}
	return &s.shared
}

// Handler makes a handler for connections. It may be used by one thread of control at a time.
func (s *Server) Handler() conn.Handler {
	h := &handler{rules: s.rules(), set: s.set(), second: math.MinInt64}
	if s.Meter != nil {
		h.set, h.owned = s.Meter(), true
	}
	return h
}

// effective puts defaults where there is nothing.
func (l Limits) effective() Limits {
	parsing := http1.DefaultLimits()
	l.HeadBytes = positive(l.HeadBytes, parsing.HeadBytes)
	l.TargetBytes = positive(l.TargetBytes, parsing.TargetBytes)
	l.Fields = positive(l.Fields, parsing.Fields)
	if l.BodyBytes == 0 {
		l.BodyBytes = 1 << 20
	}
	l.BodyBytes = max(l.BodyBytes, 0)
	l.DiscardBytes = positive(l.DiscardBytes, 256<<10)
	l.OutputBytes = positive(l.OutputBytes, 1<<20)
	l.Requests = positive(l.Requests, uncounted)
	return l
}

// effective puts defaults where there is nothing.
func (t Timeouts) effective() Timeouts {
	t.Head = positive(t.Head, 10*time.Second)
	t.Body = positive(t.Body, 30*time.Second)
	t.Idle = positive(t.Idle, 75*time.Second)
	t.Write = positive(t.Write, 30*time.Second)
	t.Request = positive(t.Request, 5*time.Minute)
	if t.Linger == 0 {
		t.Linger = 2 * time.Second
	}
	return t
}

func positive[N int | int64 | time.Duration](n, otherwise N) N {
	if n > 0 {
		return n
	}
	return otherwise
}
