package web

import (
	"bytes"
	"strconv"

	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/proto/http1"
)

// Respond gives a whole answer made beforehand. Fields that were added stand in it too. It does nothing when the
// request has an answer already; so do all that follow.
func (x *Exchange) Respond(a *Answer) {
	if x.answering != unanswered {
		return
	}
	c := x.c
	x.status = a.status
	stamp, ends := x.handler.stamped(c), x.connection()
	tail := a.tail
	if x.request.Method == http1.HEAD && !x.malformed {
		tail = tail[:a.head]
	}
	n := len(a.line) + len(stamp) + len(x.fields) + len(ends) + len(tail)
	if n > reserveBytes {
		b := append(x.handler.scratch[:0], a.line...)
		b = append(b, stamp...)
		b = append(b, x.fields...)
		b = append(b, ends...)
		x.handler.scratch = bounded(b)
		x.put(b)
		x.head(a.head)
		x.lend(tail)
	} else {
		p := c.Reserve(n)
		if p == nil {
			x.fell()
			return
		}
		k := copy(p, a.line)
		k += copy(p[k:], stamp)
		if len(x.fields) > 0 {
			k += copy(p[k:], x.fields)
		}
		if ends != "" {
			k += copy(p[k:], ends)
		}
		k += copy(p[k:], tail)
		c.Commit(k)
		x.written += int64(k)
	}
	x.sent = int64(len(tail) - a.head)
	x.finish()
}

// connection is the field line that says what becomes of the connection, if anything has to be said, and decides it.
func (x *Exchange) connection() string {
	r := &x.request
	if x.fate == keep && (r.Close || x.spent() || x.c.Stopping() || x.ended && len(x.pending) == 0) {
		x.fate = last
	}
	if x.fate == last {
		return "Connection: close\r\n"
	}
	if r.Minor == 0 {
		return "Connection: keep-alive\r\n"
	}
	return ""
}

// spent says that the connection has made its requests, or that the request has content which is not worth reading:
// too much of it, or some that the client may have held back and now may or may not send.
func (x *Exchange) spent() bool {
	if x.tally != nil && x.tally.requests >= x.rules.limits.Requests {
		return true
	}
	if x.reading != inBody || x.onBody != nil {
		return false
	}
	return x.request.Expect100 && !x.continued && !x.more || x.body.Remaining() > x.rules.limits.DiscardBytes
}

// Status sets the status of the answer, 200 to 599. It is 200 unless set.
func (x *Exchange) Status(status int) { x.status = status }

// Add adds a field to the answer. Control characters in the value become spaces; a name that is no token, and the
// fields that frame the message or date it, are left out.
func (x *Exchange) Add(name, value string) { x.fields = appendField(x.fields, name, value) }

// AddBytes is Add for a value in bytes.
func (x *Exchange) AddBytes(name string, value []byte) {
	// The value is copied here and not by a generic function, to which it would escape.
	b := appendField(x.fields, name, "")
	if len(b) == len(x.fields) {
		return
	}
	b = b[:len(b)-len("\r\n")]
	from := len(b)
	b = append(b, value...)
	for i, c := range b[from:] {
		if c < ' ' && c != '\t' || c == 0x7f {
			b[from+i] = ' '
		}
	}
	x.fields = http1.AppendHeadEnd(b)
}

// AddLines adds field lines that [FieldLines] has made.
func (x *Exchange) AddLines(lines []byte) { x.fields = append(x.fields, lines...) }

// FieldLines puts fields together for AddLines, with the care that Add takes.
func FieldLines(fields ...http1.FieldLine) []byte {
	var b []byte
	for _, f := range fields {
		b = appendField(b, f.Name, f.Value)
	}
	return b
}

// Reply gives the answer with the status and the fields set before, and body as its content. The bytes are copied.
func (x *Exchange) Reply(body []byte) {
	x.Begin(int64(len(body)))
	if int64(len(body)) > x.pace() {
		body = bytes.Clone(body)
	}
	x.Lend(body)
	x.End()
}

// Fail gives a small answer in plain text: the status, 400 to 599, and its name. See Elsewhere for what becomes of 404.
func (x *Exchange) Fail(status int) {
	if status == 404 && x.exists {
		x.RefuseMethod(0)
		return
	}
	if status < 400 || status >= len(plainAnswers) || plainAnswers[status] == nil {
		status = 500
	}
	x.Respond(plainAnswers[status])
}

// Close makes this answer the last of its connection. It is for before the answer begins.
func (x *Exchange) Close() { x.fate = last }

// Answered says that the answer is complete, or that there is nobody left to answer.
func (x *Exchange) Answered() bool { return x.answering == answered }

// Abort ends the connection at once: the client sees that the answer is broken off.
func (x *Exchange) Abort(why error) {
	cut := x.answering == streaming || x.answering == ending
	x.answering, x.fate = answered, last
	if x.c == nil {
		return
	}
	x.dropWaits()
	if cut {
		x.short()
		x.account()
	}
	x.c.Abort(why)
}

// fell notes that the connection ran out of memory and is being closed.
func (x *Exchange) fell() {
	x.answering, x.fate, x.reading = answered, last, leaving
	x.dropWaits()
}

// refuse answers with a status and a reason, and makes it the end of the connection.
func (x *Exchange) refuse(status int, reason string) {
	x.fate, x.unread = last, x.reading < inBody || x.reading == complete && x.more
	if x.answering != unanswered {
		return
	}
	b := strconv.AppendInt(x.handler.text[:0], int64(status), 10)
	b = append(b, ' ')
	b = append(b, http1.Reason(status)...)
	if reason != "" {
		b = append(b, ": "...)
		b = append(b, reason...)
	}
	b = append(b, '\n')
	x.handler.text = b
	x.Status(status)
	x.Add("Content-Type", plainType)
	x.Reply(b)
}

// refuseHead answers a head that could not be parsed.
func (x *Exchange) refuseHead(err error) {
	x.malformed = true
	x.handler.count(meter.ProtocolErrors)
	status, reason := 400, ""
	if fault, ok := err.(*http1.Error); ok {
		status, reason = fault.Status, fault.Reason
	}
	x.refuse(status, reason)
}

// finish is the end of an answer, behind which the connection goes on. It comes again when some of it has to wait.
func (x *Exchange) finish() {
	h := x.handler
	x.forget()
	x.bodyHeld = false
	if len(x.waits) > 0 {
		x.answering = ending
		if !x.driven {
			h.settle(x)
		}
		return
	}
	x.answering = answered
	if x.reading == inBody && x.fate == keep && x.body.Remaining() > x.rules.limits.DiscardBytes {
		x.fate = last
	}
	x.account()
	if !x.driven {
		h.proceed(x)
	}
}

// account counts and logs an answer, also one that is broken off.
func (x *Exchange) account() {
	h := x.handler
	h.count(meter.Responses(x.status))
	if x.rules.server.Done != nil {
		x.rules.server.Done(x)
	}
	if x.rules.server.Log != nil {
		h.log(x)
	}
}
