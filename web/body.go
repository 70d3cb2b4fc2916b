package web

import (
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/proto/http1"
)

var continues = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// HasBody says that the request has content.
func (x *Exchange) HasBody() bool { return x.request.HasBody() }

// OnBody has f called with the content of the request, piece by piece as it comes; chunk is only lent, and may be
// empty when done. A handler that wants content says so before Serve returns; otherwise it is thrown away. A request
// without content calls f at once, with nothing and done. If the content breaks off, f is not called with done:
// OnClosed tells.
func (x *Exchange) OnBody(f func(chunk []byte, done bool)) {
	if x.answering == answered {
		return
	}
	if x.reading != inBody {
		f(nil, true)
		return
	}
	if x.request.ContentLength > x.limit {
		x.refuse(errLarge.Status, errLarge.Reason)
		return
	}
	x.onBody = f
	if x.request.Expect100 && !x.continued && !x.more && x.answering == unanswered {
		x.put(continues)
		x.handler.count(meter.Responses1xx)
	}
	x.continued = true
}

// PauseBody stops the content, so that the client has to wait; ResumeBody lets it come again.
func (x *Exchange) PauseBody() {
	x.bodyHeld = true
	if !x.driven && x.c != nil {
		x.regulate()
	}
}

// ResumeBody lets the content come again.
func (x *Exchange) ResumeBody() {
	if !x.bodyHeld {
		return
	}
	x.bodyHeld = false
	if !x.driven && x.c != nil {
		x.handler.proceed(x)
	}
}

// feed takes content from the front of in and returns how much of in that was.
func (x *Exchange) feed(in []byte) (used int) {
	for used < len(in) && x.reading == inBody && !x.bodyHeld {
		chunk, n, done, err := x.body.Decode(in[used:])
		used += n
		if err != nil {
			x.handler.count(meter.ProtocolErrors)
			x.breakOff(err)
			return len(in)
		}
		if done {
			x.reading = complete
		}
		x.taken += int64(len(chunk))
		switch {
		case x.answering == answered && x.taken > x.rules.limits.DiscardBytes:
			x.fate, x.unread = last, true
			return len(in)
		case x.taken > x.limit:
			x.breakOff(errLarge)
			return len(in)
		case x.onBody != nil && (len(chunk) > 0 || done):
			x.push(chunk, done)
		}
		if n == 0 {
			break
		}
	}
	return used
}

// skip looks for the end of the content in what comes behind the last answer: when it has come, and nothing behind it,
// the connection need not stay.
func (x *Exchange) skip(in []byte) {
	for x.skipping && len(in) > 0 {
		_, n, done, err := x.body.Decode(in)
		in = in[n:]
		switch {
		case err != nil || done && len(in) > 0:
			x.skipping = false
		case done:
			x.skipping, x.until = false, 0
		case n == 0:
			x.skipping = false // what has no room is not kept
		}
	}
}

var errLarge = &http1.Error{Status: 413, Reason: "the content is too large"}

// breakOff ends a request whose content is not acceptable.
func (x *Exchange) breakOff(err error) {
	if x.onBody == nil && (x.answering == streaming || x.answering == ending) {
		x.reading, x.fate, x.unread = complete, last, true // the answer goes on: it does not depend on the content
		return
	}
	fault, _ := err.(*http1.Error)
	closed := x.onClosed
	x.onClosed = nil
	switch {
	case x.answering == unanswered && fault != nil:
		x.refuse(fault.Status, fault.Reason)
	case x.answering == streaming || x.answering == ending:
		x.Break(err)
	default:
		x.fate, x.unread = last, true
	}
	if closed != nil {
		x.lost = true
		closed(err)
	}
}

// push hands content to the handler.
func (x *Exchange) push(chunk []byte, done bool) {
	defer x.survive()
	x.onBody(chunk, done)
}

// Trailers is how many trailer fields followed the content, and TrailerAt one of them.
func (x *Exchange) Trailers() int { return x.body.Trailers() }

// TrailerAt is the i-th trailer field of the request.
func (x *Exchange) TrailerAt(i int) (name, value []byte) { return x.body.Trailer(i) }
