package web

import (
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/proto/http1"
)

// Log is told about answered requests. Log must not block, and must not keep the record or its slices.
type Log interface {
	Log(r *Record)
}

// Record is one request and its answer, for a log. A request that could not be parsed has a status alone.
type Record struct {
	// Wall is when the answer was complete, in Unix seconds.
	Wall int64
	// Duration is from the first byte of the request until the answer was queued, by the clock of the connection's
	// thread, which moves once per turn: an answer given in the turn that brought the request took no time.
	Duration time.Duration
	// Remote is the client.
	Remote netip.AddrPort
	// Connection is the connection's ID.
	Connection uint64
	// Method, Target, Host, UserAgent and Referer are as they were sent. They may hold any visible character, and
	// the last two any byte but control characters.
	Method, Target, Host, UserAgent, Referer []byte
	// Minor is the minor version of HTTP/1.
	Minor uint8
	// Status is that of the answer.
	Status int
	// Bytes is how much content the answer had.
	Bytes int64
	// Upstream is who was asked for the answer, and Attempts how often somebody was. Cause is a word for why the answer
	// is not the upstream's, or broke off. They are empty for answers of the server itself.
	Upstream, Cause string
	Attempts        int
}

// log tells the server's log about an answered request, if it is one of the sample.
func (h *handler) log(x *Exchange) {
	if h.due += h.sample; h.due < 1 {
		return
	}
	h.due--
	r := &h.record
	*r = Record{
		Wall: x.c.Wall(), Duration: time.Duration(x.c.Now() - x.began), Remote: h.remote(x.c), Connection: x.c.ID(),
		Status: x.status, Bytes: x.sent, Upstream: x.origin, Cause: x.cause, Attempts: x.attempts,
	}
	if q := &x.request; !x.malformed {
		r.Method, r.Target, r.Host, r.Minor = q.MethodToken(), q.Target(), q.Host(), q.Minor
		r.UserAgent, _ = q.Field(http1.UserAgent)
		r.Referer, _ = q.Field(http1.Referer)
	}
	h.server.Log.Log(r)
}
