package proxy

import (
	"errors"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
)

// private are the fields of an answer that are for the connection to the upstream alone, or that are written anew.
var private = http1.FieldsOf(http1.Connection, http1.KeepAlive, http1.ProxyConnection, http1.TransferEncoding,
	http1.ContentLength, http1.Upgrade, http1.TE, http1.ProxyAuthenticate, http1.ProxyAuthorization)

// received takes bytes of the answer. It returns how many it has used; an incomplete head comes again.
func (s *session) received(in []byte) (used int) {
	s.touched = true
	for s.phase == asking {
		n, err := s.response.Parse(in[used:], s.x.Method(), &s.agent.proxy.limits)
		if err != nil {
			s.malformed(err, in[used:])
			return len(in)
		}
		if n == 0 {
			return used
		}
		used += n
		switch {
		case s.response.Switched:
			return used + s.switched(in[used:])
		case s.response.Status < 200:
			s.interim()
		case s.begins(in[used:]):
			return used + s.answer(in[used:])
		default:
			return used - n // the head is read again, with what follows it
		}
	}
	s.heard = s.link.Conn.Now()
	return used + s.relay(in[used:])
}

// begins starts the content, and reports whether the answer can be passed on or refused: false if the size of its
// first chunk has begun and the end of that has not come. Once the head is passed on, a size that is none could only
// break the answer off. A head that is too large to come again is not held back.
func (s *session) begins(rest []byte) bool {
	s.body.StartResponse(&s.response)
	if !s.response.Chunked || len(rest) == 0 || len(s.response.Head())+len(rest) > smallest/2 {
		return true
	}
	payload, _, done, err := s.body.Decode(rest)
	s.body.StartResponse(&s.response)
	return len(payload) > 0 || done || err != nil
}

// malformed ends an answer whose head makes no sense.
func (s *session) malformed(err error, in []byte) {
	s.reason = faultIn(err, &s.response, in)
	if errors.Is(err, http1.ErrHeadSize) || errors.Is(err, http1.ErrFieldCount) {
		s.failed(HeadTooLarge, false)
		return
	}
	s.failed(MalformedHead, false)
}

// interim passes an interim answer on. 100 (Continue) is for those who wait for it.
func (s *session) interim() {
	status := s.response.Status
	s.heard = s.link.Conn.Now()
	if status == 100 {
		if s.defers && !s.continued {
			s.continued = true
			s.x.Interim(100, nil)
		}
		return
	}
	a := s.agent
	a.scratch = s.appendFields(a.scratch[:0])
	s.x.Interim(status, a.scratch)
}

// answer passes the head of the answer on, together with what came behind it. It returns how much of that it has used.
func (s *session) answer(rest []byte) (used int) {
	x, h, l := s.x, s.agent.proxy, s.link
	s.phase, s.heard = content, l.Conn.Now()
	x.Passage().Answered = max(s.heard, 1)
	s.hint(l)
	payload, n, done, err := s.body.Decode(rest[:min(int64(len(rest)), s.room())])
	if err != nil {
		s.phase, x.Passage().Answered = asking, 0 // nothing has been said yet
		s.reason = faultIn(err, nil, nil)
		s.failed(MalformedBody, false)
		return len(rest)
	}
	if s.defers && !s.continued {
		x.Close() // its content may come or not
	}
	size := len(s.response.Head()) + len(h.response.lines) + len(h.options.Sticky) + stickyBytes + dateBytes
	if size+len(payload) <= smallest-headSlack {
		size += len(payload)
	}
	b := x.ReserveHead(size)
	if b == nil {
		s.breakLink() // the client's connection is being closed for want of memory
		s.drop()
		return len(rest)
	}
	b = s.appendStatus(b)
	b = s.appendFields(b)
	if !s.response.Has(dates) {
		b = x.Date(b, false)
	}
	if h.options.Sticky != "" && s.want.Prefer != l.Endpoint {
		b = h.appendSticky(b, l.Endpoint)
	}
	b = append(b, h.response.lines...)
	length := s.response.ContentLength
	if s.response.Chunked {
		length = -1
	}
	x.RelayHead(b, s.response.Status, length, payload)
	if done {
		s.complete(n < len(rest))
		return len(rest)
	}
	x.OnFlushed(s.onFlushed)
	s.arm()
	return n + s.relay(rest[n:])
}

// appendFields appends the fields that are passed on. Proxy-Status is one of them, although those called "Proxy-" and
// something are not: each proxy on the way adds members to its list (RFC 9209 section 2), and this one has none to add
// to an answer that it passes on.
func (s *session) appendFields(b []byte) []byte {
	r, edits := &s.response, &s.agent.proxy.response
	b = r.AppendEndToEnd(b, private|edits.known, edits.other)
	for i := range r.Fields() {
		if r.KnownAt(i) != http1.UnknownField {
			continue
		}
		if name, _ := r.FieldAt(i); http1.EqualFold(name, proxyStatus) && !slices.Contains(edits.other, proxyStatus) &&
			!r.ConnectionNames(name) {
			b = append(b, r.Lines(i, i+1)...)
		}
	}
	return b
}

// proxyStatus is the field in which proxies say what became of a request.
const proxyStatus = "proxy-status"

const (
	dateBytes = 40
	headSlack = 128 + 16 // what Exchange.ReserveHead adds, and a chunk
)

var dates = http1.FieldsOf(http1.Date)

// appendStatus appends the status line, with the reason that the upstream gave.
func (s *session) appendStatus(b []byte) []byte {
	r := &s.response
	reason := r.Reason()
	if usual := http1.Reason(r.Status); usual != "" && string(reason) == usual {
		return http1.AppendStatus(b, r.Status)
	}
	b = append(b, "HTTP/1.1 "...)
	b = append(b, byte('0'+r.Status/100), byte('0'+r.Status/10%10), byte('0'+r.Status%10), ' ')
	b = append(b, reason...)
	return append(b, "\r\n"...)
}

// hint passes on how long the endpoint says that it keeps idle connections.
func (s *session) hint(l *upstream.Link) {
	value, ok := s.response.Field(http1.KeepAlive)
	if !ok {
		return
	}
	const name = "timeout="
	for i := 0; i+len(name) < len(value); i++ {
		if !http1.EqualFold(value[i:i+len(name)], name) {
			continue
		}
		seconds := 0
		for _, c := range value[i+len(name):] {
			if c < '0' || c > '9' || seconds > 1<<20 {
				break
			}
			seconds = seconds*10 + int(c-'0')
		}
		l.Endpoint.KeepAliveHint(seconds)
		return
	}
}

// relay passes content on, as far as there is room for it. It returns how much it has used; the rest comes again.
func (s *session) relay(in []byte) (used int) {
	for used < len(in) {
		room := s.room()
		if room <= 0 {
			break
		}
		payload, n, done, err := s.body.Decode(in[used:][:min(int64(len(in)-used), room)])
		if err != nil {
			s.reason = faultIn(err, nil, nil)
			s.failed(MalformedBody, false)
			return len(in)
		}
		s.x.Relay(payload)
		used += n
		if done {
			s.complete(used < len(in))
			return len(in)
		}
	}
	if !s.heldUp && s.room() <= 0 { // the client has enough to take
		s.heldUp = true
		s.link.Conn.Pause()
	}
	return used
}

// room is how much may be queued for the client.
func (s *session) room() int64 {
	c := s.x.Conn()
	switch {
	case c == nil:
		return math.MaxInt64
	case s.x.Full() && c.State() <= conn.Open:
		return 0
	}
	return s.agent.proxy.room(c)
}

// complete is the end of an answer. What comes behind it on the link, nobody has asked for.
func (s *session) complete(more bool) {
	x, a := s.x, s.agent
	e := s.link.Endpoint
	if status := s.response.Status; failing(status) {
		a.group.Blame(e, upstream.Fault{Status: status})
	} else {
		a.group.Report(e, upstream.Success)
	}
	s.passed()
	s.release(!more && s.whole && !s.ended && !s.response.Close && !a.proxy.options.Close)
	a.put(s)
	x.EndRelay(&s.body)
}

// failing says that a status tells of an endpoint that is not well. 501 and 505 speak of the request (RFC 9110 sections
// 15.6.2 and 15.6.6): who sends strange ones must not take endpoints away from everybody.
func failing(status int) bool { return status >= 500 && status != 501 && status != 505 }

// hungUp is the endpoint's last byte.
func (s *session) hungUp() {
	s.ended = true
	if s.phase == content && s.response.UntilClose {
		s.complete(false)
		return
	}
	if s.phase == asking && s.link.Reused && !s.touched && !s.idempotent && s.agent.proxy.options.Evidence {
		s.doubt()
		return
	}
	s.failed(ClosedEarly, false)
}

// doubt waits for evidence that the endpoint had ended a pooled link before the request came: the reset that answers
// the request comes a round trip later than the end, and is not told.
func (s *session) doubt() {
	if s.doubts == len(doubtTimes) || s.link.Conn.Undelivered() {
		s.failed(ClosedEarly, false)
		return
	}
	s.link.Conn.SetTimer(int64(doubtTimes[s.doubts]))
	s.doubts++
}

// doubtTimes is how long evidence is waited for, step by step.
var doubtTimes = [...]time.Duration{
	10 * time.Millisecond, 40 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond,
}

// lost is the end of the link before the end of the answer.
func (s *session) lost(why error) {
	cause := Reset
	if why != nil {
		s.reason = why.Error()
	}
	switch why {
	case nil:
		cause = ClosedEarly
	case syscall.ENOBUFS:
		cause = NoMemory
	case conn.ErrStalled:
		cause = SendTimeout
	}
	s.failed(cause, true)
}
