// Package proxy answers requests with what an upstream answers. One exchange is one request out and one answer back:
// what arrives on one side is queued on the other in the same turn, with one copy, and neither side is read faster
// than the other takes.
//
// # What is passed on
//
// The framing on both sides is this package's own: it passes on messages, not bytes, so a request that was understood
// as one cannot be taken for two behind. Fields that are meant for one connection (RFC 9110 section 7.6.1) stay on it,
// those that the Connection field names too. Interim answers and trailers go through. An upgrade that the upstream
// accepts turns both connections into a tunnel, which keeps nothing while it is idle but a few words.
//
// # What is sent again
//
// A request whose connection breaks before the first byte of an answer is sent again if nothing of it had been sent,
// or if its method may be repeated (RFC 9110 section 9.2.2), as long as its content was kept. A pooled connection that
// turns out to be dead is replaced without counting against anybody. Everything else is bounded by Options.Attempts
// and, over many requests, by Options.Budget.
//
// # What is told
//
// An answer that the upstream did not give has a status of 502, 503 or 504, a Proxy-Status field (RFC 9209), and a
// cause in the server's log, see [Cause]. Once content has begun to flow, a failure breaks the client's connection, so
// that it never takes a part for the whole.
package proxy

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
)

// Handler is a web.Handler that passes requests on to a group of endpoints. It never changes, and may be used by all
// threads.
type Handler struct {
	options Options
	request edits
	// stateless is request.other with tracestate: what is left out where a trace begins.
	stateless []string
	response  edits
	limits    http1.Limits
	via       [2]string // Via lines by the minor version of the client
	name      []byte    // as it stands in Via, behind the version
	host      string    // the Host line, where it is always the same
	extra     int       // bytes that a request head may grow by, besides what depends on the request
	faults    [causes][]byte
	agents    [maxThreads]atomic.Pointer[agent]
}

// maxThreads is more than the numbers that dialers have.
const maxThreads = 256

// New makes a handler. An error says which option is wrong, and why.
func New(o Options) (*Handler, error) {
	if o.Group == nil {
		return nil, errors.New("proxy: there is no group of endpoints")
	}
	o = o.effective()
	h := &Handler{options: o, limits: http1.Limits{HeadBytes: o.HeadBytes, Fields: o.Fields}}
	var err error
	if h.request, err = prepare(o.Request, true); err != nil {
		return nil, err
	}
	if h.response, err = prepare(o.Response, false); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	h.name = []byte(" " + o.Name)
	for minor := range h.via {
		h.via[minor] = "Via: 1." + string(rune('0'+minor)) + " " + o.Name + "\r\n"
	}
	if o.Host != HostClient && o.Host != HostUpstream {
		h.host = "Host: " + o.Host + "\r\n"
	}
	h.stateless = append(slices.Clone(h.request.other), "tracestate")
	h.extra = len(h.request.lines) + len(h.via[0]) + len(h.host) + len(o.Prefix) + 512
	for c := range h.faults {
		h.faults[c] = Cause(c).line(o.Name)
	}
	return h, nil
}

// Serve passes a request on. It needs a model whose connections have a Dialer.
func (h *Handler) Serve(x *web.Exchange) {
	a := h.agent(x.Conn())
	if a == nil {
		x.AddLines(h.faults[NoDialer])
		x.Note("", 0, NoDialer.String())
		x.Fail(500)
		return
	}
	if hopsLeft(x.Request()) == 0 {
		x.ReplyOptions() // it is to go no further
		return
	}
	a.take().begin(x)
}

// agent is what the thread of a connection has for this handler.
func (h *Handler) agent(c conn.Conn) *agent {
	d := c.Dialer()
	if d == nil {
		return nil
	}
	place := &h.agents[d.Number()%maxThreads]
	if a := place.Load(); a != nil && a.dialer == d {
		return a
	}
	a := &agent{proxy: h, dialer: d, group: h.options.Group.Agent(d)}
	place.Store(a)
	return a
}

// agent is what one thread of control has for its exchanges. It is the conn.Handler of the links that they lease: what
// owns a link says what becomes of its bytes.
type agent struct {
	proxy   *Handler
	dialer  conn.Dialer
	group   *upstream.Agent
	free    *session
	spare   int
	busy    int // sessions that are given out
	scratch []byte
	client  client
}

// freeSessions is how many sessions are kept for reuse.
const freeSessions = 1024

// take gives out a session.
func (a *agent) take() *session {
	a.busy++
	s := a.free
	if s == nil {
		return newSession(a)
	}
	a.free, s.next = s.next, nil
	a.spare--
	return s
}

// put takes a session back that has ended.
func (a *agent) put(s *session) {
	s.clear()
	a.busy--
	if a.spare < freeSessions {
		s.next, a.free = a.free, s
		a.spare++
	}
}
