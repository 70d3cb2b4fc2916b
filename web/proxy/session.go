package proxy

import (
	"errors"
	"math"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
)

// repeatable are the methods that may be sent again without asking (RFC 9110 section 9.2.2). What this package does not
// know is none of them.
var repeatable = web.MethodsOf(http1.GET, http1.HEAD, http1.PUT, http1.DELETE, http1.OPTIONS, http1.TRACE)

// session is one exchange on its way through: the client's on one side, and on the other a link, or the wait for one.
// Sessions are used again, so that an exchange allocates nothing.
type session struct {
	want     upstream.Want
	agent    *agent
	x        *web.Exchange
	link     *upstream.Link
	next     *session
	response http1.Response
	body     http1.BodyDecoder
	replay   []byte // the content sent so far, without its framing

	reason   string // what is known of the cause of a failure
	phase    phase
	attempts int // links that were granted
	retries  int // that count against the limit

	idempotent bool // the method may be repeated
	upgrades   bool // the client asks for another protocol
	chunked    bool // the content goes out in chunks
	kept       bool // replay holds all of the content that came
	whole      bool // the request is complete
	defers     bool // the client waits for 100 (Continue)
	continued  bool // it was told
	touched    bool // the link has brought bytes
	heldUp     bool // the upstream is not read, because the client is slow
	heldBody   bool // the client is not read, because the upstream is slow
	ended      bool // the upstream has sent its last byte
	doubts     int  // how often evidence was waited for

	began int64  // the exchange
	asked int64  // when the request was complete
	heard int64  // when an interim answer or content last came, or could come again
	moved int64  // when the endpoint last took bytes of the request, or there were first some to take
	left  uint64 // how many bytes had left by then, of all that the link has taken
	acked uint64 // how many of them the endpoint had acknowledged when that was last looked at
	out   uint64 // how many bytes the link had taken before this exchange

	onBody    func(chunk []byte, done bool)
	onFlushed func()
	onClosed  func(error)
	onExpired func()
}

// phase is how far an exchange has come. Only another attempt goes back.
type phase uint8

const (
	idle    phase = iota
	waiting       // for a link
	asking        // the request is going out; no head of an answer has come
	content       // the head of the answer has gone to the client
)

func newSession(a *agent) *session {
	s := &session{agent: a}
	s.want.Handler, s.want.Owner, s.want.Waiter = a, s, s
	s.body.DropTrailers = true
	s.onBody, s.onFlushed, s.onClosed, s.onExpired = s.content, s.flushed, s.closed, s.expired
	return s
}

// clear makes a session ready for another exchange.
func (s *session) clear() {
	s.response.Reset()
	s.want.Forget()
	s.want.Prefer, s.want.Fresh, s.want.Look = nil, false, false
	s.x, s.link, s.phase, s.reason = nil, nil, idle, ""
	s.attempts, s.retries = 0, 0
	s.idempotent, s.upgrades, s.chunked, s.kept, s.whole = false, false, false, false, false
	s.defers, s.continued, s.touched, s.heldUp, s.heldBody, s.ended = false, false, false, false, false, false
	if s.replay = s.replay[:0]; cap(s.replay) > keptBytes {
		s.replay = nil
	}
}

// begin takes over a request.
func (s *session) begin(x *web.Exchange) {
	a, r := s.agent, x.Request()
	o := &a.proxy.options
	if o.BodyBytes != 0 && !x.LimitBody(o.BodyBytes) {
		a.put(s)
		return
	}
	s.x = x
	if r.Has(vias) && a.proxy.rounds(r) >= mostRounds {
		s.refuse("", Loop)
		return
	}
	s.began = x.Conn().Now()
	s.idempotent = repeatable.Has(r.Method)
	s.upgrades = wantsUpgrade(r)
	s.whole = !r.HasBody()
	x.Note("", 0, "")
	x.Passage().Began = max(a.dialer.Now(), 1)
	x.OnClosed(s.onClosed)
	if !o.Finish {
		x.Forsake()
	}
	s.arm()
	s.want.Key = a.key(x)
	if o.Sticky != "" {
		s.want.Prefer = a.proxy.preferred(x)
	}
	s.want.Look = !s.idempotent || !s.whole && (r.Chunked || r.ContentLength > int64(o.ReplayBytes))
	if !s.whole {
		s.chunked, s.kept = r.Chunked, o.ReplayBytes > 0
		s.defers = x.DeferContinue()
		s.holdBody()
		x.OnBody(s.onBody)
		if x.Answered() {
			s.drop()
			return
		}
	}
	s.acquire()
}

// acquire asks for a link. The answer may come before it returns.
func (s *session) acquire() {
	s.phase = waiting
	s.note(s.x.Conn(), conn.Sought, 0)
	s.agent.group.Acquire(&s.want)
}

// Granted sends the request on a link.
func (s *session) Granted(l *upstream.Link) {
	x, c := s.x, l.Conn
	s.link, s.reason = l, ""
	s.attempts++
	s.touched, s.ended, s.doubts, s.phase = false, false, 0, asking
	_, s.out = c.Traffic()
	s.left, s.acked, s.moved, s.heard = s.out, s.out, c.Now(), c.Now()
	s.asked = s.moved
	x.Note(l.Endpoint.Address(), s.attempts, "")
	s.note(x.Conn(), conn.Asks, c.ID())
	s.note(c, conn.Serves, x.Conn().ID())
	conn.CountRequest(c)
	passage := x.Passage()
	passage.Granted, passage.Link, passage.Reused = max(s.asked, 1), c.ID(), l.Reused
	if l.Reused && !s.idempotent && s.agent.proxy.options.Evidence {
		c.Watch()
	}
	s.sendHead(l)
	if len(s.replay) > 0 {
		s.send(s.replay)
	}
	if s.whole && s.chunked {
		s.sendEnd()
	}
	s.arm()
	if s.heldBody && c.Queued() < s.agent.proxy.options.QueuedBytes {
		s.heldBody = false
		x.ResumeBody()
	}
}

// Denied answers that there is no link.
func (s *session) Denied(err error) {
	cause, e := denial(err)
	s.reason = reasonOf(err)
	if e != nil {
		s.attempts++
		s.refuse(e.Address(), cause)
		return
	}
	s.refuse("", cause)
}

// refuse gives the answer that a cause stands for. There is no link any more.
func (s *session) refuse(address string, cause Cause) {
	x := s.x
	x.Note(address, s.attempts, cause.String())
	s.passed()
	if s.defers && !s.continued {
		x.Close() // its content may come or not
	}
	x.AddLines(s.agent.proxy.faults[cause])
	s.drop()
	x.Fail(cause.Status())
}

// passed notes that the upstream's part of the exchange is over.
func (s *session) passed() {
	s.x.NoteReason(s.reason)
	s.x.Passage().Ended = max(s.agent.dialer.Now(), 1)
}

// drop forgets the exchange.
func (s *session) drop() { s.agent.put(s) }

// release gives the link back.
func (s *session) release(reusable bool) {
	l := s.link
	s.link, l.Owner = nil, nil
	if s.heldUp {
		s.heldUp = false
		l.Conn.Resume()
	}
	if !reusable && l.Conn.Queued() > 0 {
		l.Conn.Abort(conn.ErrAborted) // what it has not taken is for nobody any more
		return
	}
	s.agent.group.Release(l, reusable)
}

// closed is the end of the client: whatever is on its way is for nobody any more.
func (s *session) closed(error) {
	if s.phase == waiting {
		s.agent.group.Cancel(&s.want)
	}
	if s.link != nil {
		s.breakLink()
	}
	s.drop()
}

// failed is the end of an attempt. The link may have ended already; dead says that it has, and must not be touched.
func (s *session) failed(cause Cause, dead bool) {
	l := s.link
	stale := l.Reused && !s.touched && (cause == Reset || cause == ClosedEarly)
	_, out := l.Conn.Traffic()
	repeats := s.repeats(out == s.out, stale && s.evident(l))
	if dead {
		s.link, l.Owner = nil, nil
		s.heldUp = false
	} else {
		s.breakLink()
	}
	switch {
	case s.phase == content:
		s.blame(l.Endpoint, cause)
		s.breakOff(l.Endpoint, cause)
	case stale && repeats:
		s.want.Fresh = true
		s.again()
	case stale:
		s.refuse(l.Endpoint.Address(), StaleLink)
	case repeats && (cause == Reset || cause == ClosedEarly) && s.affords():
		s.blame(l.Endpoint, cause)
		s.retries++
		s.want.Tried(l.Endpoint)
		s.want.Prefer = nil
		s.again()
	default:
		s.blame(l.Endpoint, cause)
		s.refuse(l.Endpoint.Address(), cause)
	}
}

// blame counts a failure against an endpoint, if it is its own.
func (s *session) blame(e *upstream.Endpoint, cause Cause) {
	if cause != NoMemory {
		s.agent.group.Blame(e, upstream.Fault{Cause: cause.String(), Reason: s.reason})
	}
}

// evident says that the kernel saw no byte of the request taken.
func (s *session) evident(l *upstream.Link) bool {
	return s.agent.proxy.options.Evidence && !s.idempotent && l.Conn.Undelivered()
}

// repeats says that the request may be sent again, and can be.
func (s *session) repeats(unsent, evident bool) bool {
	kept := s.kept || !s.x.Request().HasBody()
	return s.phase == asking && kept && (s.idempotent || unsent || evident)
}

// affords says that the limit and the budget allow another attempt.
func (s *session) affords() bool {
	o := &s.agent.proxy.options
	return s.retries < o.Attempts && s.agent.group.MayRepeat(o.share)
}

// again asks for another link.
func (s *session) again() {
	s.response.Reset()
	if !s.whole {
		s.holdBody()
	}
	s.acquire()
}

// breakLink ends the link at once.
func (s *session) breakLink() {
	l := s.link
	s.link, l.Owner = nil, nil
	s.heldUp = false
	l.Conn.Abort(conn.ErrAborted)
}

// breakOff ends an answer of which the client has a part.
func (s *session) breakOff(e *upstream.Endpoint, cause Cause) {
	x := s.x
	x.Note(e.Address(), s.attempts, cause.String())
	s.passed()
	s.drop()
	x.Break(errBroken)
}

var errBroken = errors.New("the upstream broke off its answer")

// arm sets the deadline of what is waited for. What moves it to later need not say so: expired looks again.
func (s *session) arm() {
	s.x.OnExpired(s.deadline(), s.onExpired)
}

// deadline is when the first of the timeouts that hold now is over.
func (s *session) deadline() int64 {
	t := &s.agent.proxy.options.Timeouts
	at := after(s.began, t.Exchange)
	if s.link == nil {
		return at // the wait for a link has timeouts of its own
	}
	queued := s.link.Conn.Queued() > 0
	if _, out := s.link.Conn.Traffic(); out != s.left {
		s.left = out
		if queued {
			s.moved = s.link.Conn.Now()
		}
	}
	if queued || !s.whole && !s.settled() {
		at = min(at, after(s.moved, t.Send))
	}
	switch {
	case s.phase == asking && s.whole:
		at = min(at, after(max(s.asked, s.heard), t.FirstByte))
	case s.phase == content && !s.heldUp:
		at = min(at, after(s.heard, t.BetweenBytes))
	}
	return at
}

// settled says that the endpoint had acknowledged all that had left when that was last looked at.
func (s *session) settled() bool {
	_, out := s.link.Conn.Traffic()
	return s.acked == out
}

// stalled says, when Timeouts.Send is over, whether the endpoint has taken nothing in all the time. That the kernel has
// taken bytes for it says little: behind a window that is open it takes megabytes for an endpoint that is gone, and
// for one that is slow it takes nothing for minutes. What counts is what the endpoint's machine acknowledges, looked at
// once in that time.
func (s *session) stalled() bool {
	c := s.link.Conn
	_, out := c.Traffic()
	behind := uint64(c.Unacknowledged())
	if c.Queued() == 0 && s.link.Endpoint.Target().Path != "" {
		behind = 0 // of a Unix socket it is memory, which says nothing as long as there is room for more
	}
	if acked := out - min(out, behind); acked > s.acked {
		s.acked, s.moved = acked, c.Now()
		return false
	}
	return true
}

func after(t int64, d time.Duration) int64 {
	if int64(d) > math.MaxInt64-t {
		return math.MaxInt64
	}
	return t + int64(d)
}

// expired acts on a timeout, or finds that none is over.
func (s *session) expired() {
	now := s.x.Conn().Now()
	if s.deadline() > now {
		s.arm()
		return
	}
	t := &s.agent.proxy.options.Timeouts
	sends := s.link != nil && (s.link.Conn.Queued() > 0 || !s.whole && !s.settled()) && after(s.moved, t.Send) <= now
	switch {
	case after(s.began, t.Exchange) <= now && s.link == nil:
		s.agent.group.Cancel(&s.want)
		s.refuse("", ExchangeTimeout)
	case after(s.began, t.Exchange) <= now:
		s.failed(ExchangeTimeout, false)
	case sends && s.stalled():
		s.failed(SendTimeout, false)
	case sends:
		s.arm()
	case s.phase == asking:
		s.failed(FirstByteTimeout, false)
	default:
		s.failed(BetweenBytesTimeout, false)
	}
}
