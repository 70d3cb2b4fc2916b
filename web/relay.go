package web

import (
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/proto/http1"
)

// This file is for handlers that pass on what others say: the head of their answer is the other's, but for what frames
// it and speaks about the connection.

// framingBytes is more than the lines that RelayHead adds can take.
const framingBytes = 128

// ReserveHead returns memory to append the beginning of an answer to, with room for n bytes and for what RelayHead
// adds. Small heads are written straight into the output of the connection, so nothing may be queued before RelayHead
// or Switch. Nil means that the connection is lost, or that the request has an answer.
func (x *Exchange) ReserveHead(n int) []byte {
	if x.answering != unanswered || x.c == nil {
		return nil
	}
	if n += framingBytes; n > reserveBytes || len(x.waits) > 0 {
		b := x.handler.scratch
		if cap(b) < n {
			b = make([]byte, 0, n)
		}
		x.handler.scratch = bounded(b)
		x.inPlace = false
		return b[:0]
	}
	room := x.c.Reserve(n)
	if room == nil {
		x.fell()
		return nil
	}
	x.inPlace = true
	return room[:0:len(room)]
}

// Date appends the Date line and, if named, the Server line of this server, for a head that has none.
func (x *Exchange) Date(b []byte, named bool) []byte {
	stamp := x.handler.stamped(x.c)
	if !named {
		stamp = stamp[len(x.handler.name):]
	}
	return append(b, stamp...)
}

// RelayHead begins an answer with the head in b, which ReserveHead returned and which now holds the status line and
// field lines but no Content-Length, Transfer-Encoding or Connection. Those are added, with the fields that Add and
// AddLines left. Length says how much content follows with Relay until EndRelay, or that it is not known when it is
// negative. Where there can be none (HEAD, 304) it is only told. content is the first of it; as much as fits goes out
// together with the head.
func (x *Exchange) RelayHead(b []byte, status int, length int64, content []byte) {
	if x.answering != unanswered || x.c == nil {
		return
	}
	room := cap(b)
	x.status, x.answering = status, streaming
	x.frame(length)
	b = append(b, x.fields...)
	switch {
	case status == 204 || status < 200:
	case length >= 0:
		b = http1.AppendLength(b, length)
	case x.framing == byChunks:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	b = append(b, x.connection()...)
	b = http1.AppendHeadEnd(b)
	b, rest := x.appendContent(b, content)
	if cap(b) != room || !x.inPlace {
		x.put(b)
	} else {
		x.stirring()
		x.c.Commit(len(b))
		x.written += int64(len(b))
	}
	x.sent = int64(len(content) - len(rest))
	x.Relay(rest)
}

// appendContent appends the first content to the head, if there is room for all of it.
func (x *Exchange) appendContent(b, content []byte) (head, rest []byte) {
	if x.framing == byLength {
		content = content[:min(int64(len(content)), x.left)]
	}
	const chunkBytes = 16 // around the content of a chunk
	if len(content) == 0 || x.framing == noContent || cap(b)-len(b) < len(content)+chunkBytes {
		return b, content
	}
	switch x.framing {
	case byLength:
		x.left -= int64(len(content))
		b = append(b, content...)
	case byChunks:
		b = http1.AppendChunk(b, content)
	default:
		b = append(b, content...)
	}
	return b, nil
}

// Relay sends more content behind RelayHead, as Write does.
func (x *Exchange) Relay(p []byte) {
	if len(p) > 0 {
		x.Write(p)
	}
}

// EndRelay completes the answer as End does, with the trailers that d has read, if the content goes out in chunks.
func (x *Exchange) EndRelay(d *http1.BodyDecoder) {
	if x.answering != streaming || x.framing != byChunks {
		x.End()
		return
	}
	b := d.AppendTrailers(x.handler.scratch[:0])
	x.handler.scratch = bounded(b)
	x.put(b)
	x.finish()
}

// Interim sends an interim answer (RFC 9110 section 15.2) ahead of the answer: a status from 100 to 199 but 101, and
// field lines. It does nothing once the answer has begun, and for clients of HTTP/1.0, which know none.
func (x *Exchange) Interim(status int, lines []byte) {
	if x.answering != unanswered || x.c == nil || x.request.Minor == 0 || status < 100 || status > 199 || status == 101 {
		return
	}
	b := http1.AppendStatus(x.handler.scratch[:0], status)
	b = append(b, lines...)
	b = http1.AppendHeadEnd(b)
	x.handler.scratch = bounded(b)
	x.handler.count(meter.Responses1xx)
	x.put(b)
	x.watch()
}

// DeferContinue reports whether the client waits for 100 (Continue) before it sends the content. If so, OnBody does
// not send it: the handler does, with Interim, or it makes its answer the last of the connection with Close, because
// nobody knows whether the content will come then.
func (x *Exchange) DeferContinue() bool {
	waits := x.reading == inBody && x.request.Expect100 && !x.continued && !x.more && x.answering == unanswered
	x.continued = true
	return waits
}

// LimitBody changes how much content the request may have, for this request, from Limits.BodyBytes; see
// Server.LargestBody. It is for before OnBody. If the request announces more it is answered with 413, and LimitBody
// reports false.
func (x *Exchange) LimitBody(n int64) bool {
	x.limit = n
	if x.request.ContentLength <= n {
		return true
	}
	x.refuse(errLarge.Status, errLarge.Reason)
	return false
}

// OnExpired has f called at a time of conn.Conn.Now, if the answer is not complete by then, in place of what
// Timeouts.Request does. Each call puts another time and function in the place of the one before; f is called once.
// A time that is moved to later costs next to nothing.
func (x *Exchange) OnExpired(at int64, f func()) {
	if x.answering == answered || x.c == nil {
		return
	}
	sooner := x.onExpired == nil || at < x.deadline
	x.deadline, x.onExpired = at, f
	if sooner && !x.driven {
		x.arm()
	}
}

// expired calls the function of OnExpired.
func (x *Exchange) expired() {
	defer x.survive()
	f := x.onExpired
	x.deadline = never
	f()
	if x.c != nil && x.answering != answered {
		x.arm()
	}
}

// Note tells the server's log who was asked for the answer, how often somebody was, and a word for what went wrong; see
// Record. The strings are kept until then. An exchange of which something was noted is always logged: with the status
// 499 if the client went before it had any answer.
func (x *Exchange) Note(origin string, attempts int, cause string) {
	x.noted, x.origin, x.attempts, x.cause = true, origin, attempts, cause
}

// NoteReason tells the log more about the cause; see Record.
func (x *Exchange) NoteReason(reason string) { x.reason = reason }

const (
	statusGone    = 499              // what logs say of an answer that nobody waited for
	clientGone    = "client_gone"    // the client ended or reset its connection
	clientTimeout = "client_timeout" // the client was too slow
	fileChanged   = "file_changed"   // the file was changed while it was sent
	stopping      = "stopping"       // the server did not wait any longer
	noMemory      = "no_memory"      // the server had no block for the answer
	clientStalled = "client_stalled" // the client took nothing, and others waited for the memory that it held
)

// Switch ends HTTP on the connection, with 101 or another answer that has no content: b, which ReserveHead returned,
// holds its whole head but the empty line. From then on v is attached to the connection and gets its callbacks, but for
// Opened; what the client has sent behind its request comes first, and v must use all of it. The exchange must not be
// used any more. Switch is for after Serve has returned, and for requests whose content is complete.
func (x *Exchange) Switch(b []byte, status int, v conn.Handler) {
	if x.answering != unanswered || x.c == nil {
		return
	}
	room := cap(b)
	b = http1.AppendHeadEnd(b)
	if cap(b) != room || !x.inPlace {
		x.put(b)
	} else {
		x.c.Commit(len(b))
	}
	x.status, x.answering, x.fate = status, answered, last
	x.forget()
	x.account()
	h, c, pending, ended := x.handler, x.c, x.pending, x.ended
	x.pending = nil
	if x.paused {
		c.Resume()
	}
	x.attached = false
	h.detach(x)
	c.Attach(v)
	c.SetTimer(0)
	if len(pending) > 0 {
		v.Received(c, pending)
	}
	if ended && c.State() == conn.Open {
		v.Ended(c)
	}
}

// exchangeOf is what is attached to a connection: an exchange, or what Switch has handed the connection to, or neither.
func exchangeOf(c conn.Conn) (x *Exchange, taken conn.Handler) {
	attached := c.Attached()
	if attached == nil {
		return nil, nil
	}
	if x, _ = attached.(*Exchange); x != nil {
		return x, nil
	}
	taken, _ = attached.(conn.Handler)
	return nil, taken
}
