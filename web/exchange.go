package web

import (
	"net/netip"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/proto/http1"
)

// Exchange is a request and its answer. It is used on the thread of its connection only, and until its answer is
// complete; other goroutines reach that thread with Ref. Slices of the request are good until the callback that
// they were asked for in returns: who answers later asks again.
type Exchange struct {
	handler *handler
	rules   *rules // those that it began under
	c       conn.Conn
	next    *Exchange
	request http1.Request
	body    http1.BodyDecoder
	tally   *tally

	reading   reading
	answering answering
	fate      fate
	driven    bool // run is on the stack, or the handler below it
	attached  bool
	ended     bool // the peer has sent its last byte
	held      bool // too much is queued to go on
	paused    bool // the connection was told to pause
	unread    bool // input may be left that nobody will look at
	skipping  bool // leaving: the end of the content is waited for, and nothing else
	malformed bool // the head could not be parsed: there is no request to speak of
	more      bool // input follows the head
	lost      bool // given up before it was answered
	bodyHeld  bool // PauseBody
	inPlace   bool // ReserveHead has given space of the connection itself
	continued bool // 100 (Continue) was sent, or was not needed
	forsakes  bool // Forsake
	shut      bool // leaving: the client was told that there will be no more

	breaks error // leaving: what the connection is reset with when everything has left; nil: it ends in order

	pending []byte // input that waits for its turn
	saved   []byte // the head, when it has to outlive the bytes it came in
	path    []byte
	decoded []byte // memory for path

	began    int64 // when the first byte came
	heard    int64 // when input last came
	progress int64 // when the client last took output, or there was first some to take
	until    int64 // how long leaving may take; 0: until everything has gone
	written  int64 // bytes queued since the exchange was taken
	gone     int64 // bytes of them that had left at progress
	acked    int64 // bytes of them that the peer had acknowledged when that was last looked at
	looked   bool  // it was looked at since progress

	taken     int64 // bytes of content received
	limit     int64 // of them
	onBody    func(chunk []byte, done bool)
	onFlushed func()
	onClosed  func(why error)
	deadline  int64 // when onExpired is called, if it is set
	onExpired func()

	waits    []piece // output that there was no room for yet
	waitsFor int64   // bytes copied into it

	elsewhere Methods // what others would have taken
	exists    bool    // somebody takes the path

	status   int
	fields   []byte // field lines of the answer, each with its end
	trailers []http1.FieldLine
	framing  framing
	left     int64 // content still promised
	sent     int64 // content queued
	content  int64 // bytes of the connection before the content, counted for the log

	noted    bool   // Note was called: for the log there is always an answer
	origin   string // who made the answer, and why there was none
	cause    string
	reason   string
	attempts int
	passage  Passage
	span     Span // nil: it is not traced
}

// reading is how far a request has come in. It only moves forward, until the next request.
type reading uint8

const (
	waiting  reading = iota // no byte of it has come
	inHead                  // some of the head
	inBody                  // the head, and maybe some of the body
	complete                // everything
	leaving                 // there will be no further request: what still comes is thrown away
)

// answering is how far the answer has gone out. It only moves forward, until the next request.
type answering uint8

const (
	unanswered answering = iota
	streaming            // the head and maybe some content
	ending               // everything was said, but some of it waits for room in the queue
	answered             // everything is queued
)

// fate is what becomes of the connection behind the answer.
type fate uint8

const (
	keep fate = iota
	last
)

// run takes as much of in as can be dealt with now, and returns how much that was.
func (x *Exchange) run(in []byte) (used int) {
	x.driven = true
	for {
		if x.fate == last && x.answering == answered && x.reading != leaving && (x.reading != inBody || x.unread) {
			break
		}
		switch x.reading {
		case waiting, inHead:
			if used == len(in) {
				x.driven = false
				return used
			}
			if x.reading == waiting {
				x.began, x.rules = x.heard, x.handler.current()
			}
			n, err := x.request.Parse(in[used:], &x.rules.head)
			if err != nil {
				x.refuseHead(err)
				continue
			}
			if n == 0 {
				x.reading = inHead
				x.driven = false
				return used
			}
			used += n
			x.more = used < len(in)
			x.accept()
			continue
		case inBody:
			if used < len(in) && !x.bodyHeld {
				n := x.feed(in[used:])
				if used += n; n > 0 || x.reading != inBody {
					continue
				}
			}
		case complete:
			if x.answering == answered {
				x.again()
				if used < len(in) && x.c.Queued() > x.rules.limits.OutputBytes/2 {
					x.held = true
					x.driven = false
					return used
				}
				continue
			}
		case leaving:
			x.skip(in[used:])
			used = len(in)
		}
		break
	}
	x.driven = false
	return used
}

// blocked says that input has to wait.
func (x *Exchange) blocked() bool {
	switch x.reading {
	case waiting, inHead:
		return x.held
	case inBody:
		return x.bodyHeld
	case complete:
		return x.answering != answered
	}
	return false
}

// accept acts on a complete head.
func (x *Exchange) accept() {
	h, r := x.handler, &x.request
	h.count(meter.Requests)
	conn.CountRequest(x.c)
	x.reading, x.limit = complete, x.rules.limits.BodyBytes
	if r.HasBody() {
		x.reading = inBody
		x.body.Start(r)
	}
	if x.tally != nil {
		x.tally.requests++
	}
	if r.Method <= http1.Other || r.Method >= http1.OPTIONS || x.reading == inBody {
		if x.refused() {
			return
		}
	}
	if _, odd := r.Field(http1.Expect); odd && !r.Expect100 && r.Minor > 0 {
		x.refuse(417, "only 100-continue can be expected")
		return
	}
	if !x.resolve() {
		x.refuse(400, "malformed path")
		return
	}
	x.serve()
}

// resolve finds the path, and reports whether it is a sound one.
func (x *Exchange) resolve() bool {
	raw := x.request.Path()
	path, ok := Normalize(x.decoded[:0], raw)
	if ok && &path[0] != &raw[0] {
		x.decoded = path
	}
	x.path = path
	return ok
}

// refused answers what no handler is asked about, and reports whether it did.
func (x *Exchange) refused() bool {
	r := &x.request
	switch {
	case r.Method == http1.Other && !x.rules.server.AnyMethod:
		x.refuse(501, "unknown method")
	case r.Method == http1.CONNECT:
		x.refuse(501, "this is not a proxy")
	case r.Method == http1.TRACE:
		x.Add("Allow", allowed)
		x.refuse(405, "TRACE is not allowed")
	case r.ContentLength > max(x.rules.limits.BodyBytes, x.rules.server.LargestBody):
		x.refuse(413, "the content is too large")
	case r.Form == http1.AsteriskForm:
		x.ReplyOptions()
	default:
		return false
	}
	return true
}

// ReplyOptions answers a request with OPTIONS for the server as a whole.
func (x *Exchange) ReplyOptions() {
	x.Add("Allow", allowed)
	x.Status(204)
	x.Reply(nil)
}

// allowed is what a server as a whole can be asked for.
const allowed = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"

// serve calls the hook and the handler.
func (x *Exchange) serve() {
	defer x.survive()
	s := x.rules.server
	if s.Begun != nil {
		if s.Begun(x); x.answering == answered {
			return
		}
	}
	s.Root.Serve(x)
}

// survive keeps a handler's panic from ending the thread. It must be deferred itself.
func (x *Exchange) survive() {
	value := recover()
	if value == nil {
		return
	}
	if f := x.rules.server.Panicked; f != nil {
		f(x, value)
	}
	x.forget()
	if x.answering == unanswered {
		x.fields = x.fields[:0]
		x.refuse(500, "")
		return
	}
	if x.answering == streaming || x.answering == ending {
		x.Abort(conn.ErrAborted)
	}
}

// again makes the exchange ready for the next request on its connection.
func (x *Exchange) again() {
	x.reading, x.answering = waiting, unanswered
	x.continued, x.bodyHeld, x.more, x.forsakes = false, false, false, false
	x.taken, x.sent, x.status = 0, 0, 0
	x.elsewhere, x.exists = 0, false
	x.noted, x.origin, x.cause, x.reason, x.attempts, x.passage = false, "", "", "", 0, Passage{}
	x.span = nil
	x.forget()
	x.fields, x.saved, x.path = x.fields[:0], x.saved[:0], nil
}

// renew makes the exchange ready for another connection.
func (x *Exchange) renew() {
	if x.reading != waiting || x.answering != unanswered {
		x.again()
	}
	x.request.Reset()
	x.c, x.tally, x.path = nil, nil, nil
	x.trailers = x.trailers[:0]
	x.fate, x.attached, x.ended, x.held, x.paused = keep, false, false, false, false
	x.unread, x.skipping, x.malformed, x.shut = false, false, false, false
	x.written, x.gone, x.acked = 0, 0, 0
	x.breaks = nil
	x.pending = bounded(x.pending)
	x.saved = bounded(x.saved)
	x.fields = bounded(x.fields)
	x.decoded = bounded(x.decoded)
}

func bounded(b []byte) []byte {
	if cap(b) > keptBytes {
		return nil
	}
	return b[:0]
}

// keepHead copies the head of a request that is answered later: the bytes it came in are about to go.
func (x *Exchange) keepHead() {
	if len(x.saved) > 0 || x.answering == answered || x.reading != inBody && x.reading != complete {
		return
	}
	x.saved = append(x.saved[:0], x.request.Head()...)
	raw := x.request.Path()
	same := len(raw) > 0 && len(x.path) > 0 && &x.path[0] == &raw[0]
	x.request.Moved(x.saved)
	if same {
		x.path = x.request.Path()
	}
}

// forget lets go of whoever answers.
func (x *Exchange) forget() {
	x.onBody, x.onFlushed, x.onClosed, x.onExpired = nil, nil, nil, nil
}

// regulate pauses and resumes reading as the exchange needs it.
func (x *Exchange) regulate() {
	pause := x.held || x.reading == inBody && x.bodyHeld || len(x.pending) > 0 && x.blocked()
	pause = pause && !x.listens()
	if pause == x.paused {
		return
	}
	x.paused = pause
	if pause {
		x.c.Pause()
	} else {
		x.c.Resume()
	}
}

// Conn is the connection of the exchange; nil once that has closed.
func (x *Exchange) Conn() conn.Conn { return x.c }

// Ref is how other goroutines reach the thread of the exchange.
func (x *Exchange) Ref() conn.Ref {
	if x.c == nil {
		return conn.Ref{}
	}
	return x.c.Ref()
}

// Remote is the client's address. It costs a system call for the first request of a connection.
func (x *Exchange) Remote() netip.AddrPort {
	if x.c == nil {
		return netip.AddrPort{}
	}
	return x.handler.remote(x.c)
}

// Request is the parsed head of the request.
func (x *Exchange) Request() *http1.Request { return &x.request }

// Method is the request's method.
func (x *Exchange) Method() http1.Method { return x.request.Method }

// Path is the path with its percent-encoding taken off and its dot segments resolved, as [Normalize] does it. It begins
// with "/"; of a request for "*" it is "*".
func (x *Exchange) Path() []byte { return x.path }

// Query is what follows the "?" of the target, still encoded; nil without one.
func (x *Exchange) Query() []byte { return x.request.Query() }

// Host is the host that the request is for, without port and as it was sent; empty when HTTP/1.0 names none.
func (x *Exchange) Host() []byte { return x.request.Host() }

// Field is the value of a field of the request, and whether there is one.
func (x *Exchange) Field(id http1.KnownField) ([]byte, bool) { return x.request.Field(id) }
