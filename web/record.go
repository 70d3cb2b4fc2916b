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
	// Milliseconds are the thousandths of that second; 0 where the connection's clock is not the machine's.
	Milliseconds int
	// Duration is from the first byte of the request until the last of the answer was queued, by the clock of the
	// connection's thread, which moves once per turn: an answer given in the turn that brought the request took no time.
	// Of bytes more than 64 KiB, and of a piece of a file more than 256 KiB, the last 64 KiB are queued when all before
	// has left.
	Duration time.Duration
	// Remote is the client.
	Remote netip.AddrPort
	// Connection is the connection's ID.
	Connection uint64
	// Method, Target, Host, UserAgent and Referer are as they were sent. They may hold any visible character, and
	// the last two any byte but control characters.
	Method, Target, Host, UserAgent, Referer []byte
	// Minor is the minor version of HTTP/1; 1 if the request could not be parsed.
	Minor uint8
	// Status is that of the answer.
	Status int
	// Bytes is how much content the answer had; of one that was cut off, how much the kernel took.
	Bytes int64
	// Upstream is who was asked for the answer, and Attempts how often somebody was. Cause is a word for why the answer
	// is not the upstream's, or broke off. They are empty for answers of the server itself.
	Upstream, Cause string
	Attempts        int
	// Reason says more about the cause, in a few words of this program's own or the kernel's. It quotes nothing of what a
	// client or an upstream has sent.
	Reason string
	// Reused says that the connection to the upstream had been used before. Wait is how long the request waited for it,
	// with the connections that could not be made and the attempts that failed; FirstByte is from there until the head of
	// the answer had come; Passed is from the beginning of the wait until the upstream's part was over. Negative: it did
	// not come to that.
	Reused                  bool
	Wait, FirstByte, Passed time.Duration
}

// Passage is how a request fares that is passed on, for the log. Times are of conn.Conn.Now, and 0 if it did not come
// to that.
type Passage struct {
	Began    int64  // the wait for a connection to the upstream
	Granted  int64  // there was one: the last
	Answered int64  // the head of the answer had come
	Ended    int64  // the last of the answer had, or will not
	Link     uint64 // the ID of that connection
	Reused   bool   // it had been used before
}

// Passage is for whoever passes the request on to note in. It is empty when the request comes.
func (x *Exchange) Passage() *Passage { return &x.passage }

// note writes a passage into a record. One that the client cut short ends now.
func (p *Passage) note(r *Record, now int64) {
	r.Reused = p.Reused
	r.Wait, r.FirstByte, r.Passed = -1, -1, -1
	if p.Began == 0 {
		return
	}
	if p.Granted != 0 {
		r.Wait = time.Duration(p.Granted - p.Began)
	}
	if p.Answered != 0 {
		r.FirstByte = time.Duration(p.Answered - p.Granted)
	}
	if p.Ended != 0 {
		now = p.Ended
	}
	r.Passed = time.Duration(now - p.Began)
}

// head notes, for the log, that the content begins n bytes behind what is queued.
func (x *Exchange) head(n int) {
	if x.rules.server.Log != nil {
		_, out := x.c.Traffic()
		x.content = int64(out) + x.c.Queued() + int64(n)
		x.handler.remote(x.c) // which cannot be asked any more when the connection has ended
	}
}

// short takes what has not left off the content that was sent, of an answer that is cut off.
func (x *Exchange) short() {
	if x.rules.server.Log != nil && x.sent > 0 {
		_, out := x.c.Traffic()
		x.sent = min(x.sent, max(0, int64(out)-x.content))
	}
}

// log tells the server's log about an answered request, if it is one of the sample.
func (h *handler) log(x *Exchange) {
	if h.due += x.rules.sample; h.due < 1 {
		return
	}
	h.due--
	r := &h.record
	*r = Record{
		Wall: x.c.Wall(), Duration: time.Duration(x.c.Now() - x.began), Remote: h.remote(x.c), Connection: x.c.ID(),
		Status: x.status, Bytes: x.sent, Upstream: x.origin, Cause: x.cause, Attempts: x.attempts,
		Reason: x.reason,
	}
	x.passage.note(r, max(x.c.Now(), 1))
	// The clock of a thread moves once per turn, and may be behind.
	if now := time.Now(); now.Unix()-r.Wall == 0 || now.Unix()-r.Wall == 1 {
		r.Wall, r.Milliseconds = now.Unix(), now.Nanosecond()/1e6
	}
	if q := &x.request; !x.malformed {
		r.Method, r.Target, r.Host, r.Minor = q.MethodToken(), q.Target(), q.Host(), q.Minor
		r.UserAgent, _ = q.Field(http1.UserAgent)
		r.Referer, _ = q.Field(http1.Referer)
	} else {
		r.Minor = 1 // that of the answer
	}
	x.rules.server.Log.Log(r)
}
