package proxy

import (
	"math"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
)

// tunnel is what two connections are once the upstream has switched protocols: whatever comes on one goes out on the
// other. It is all that an idle tunnel holds. It is attached to the client's connection and is its handler; on the
// other side it owns the link.
type tunnel struct {
	agent  *agent
	link   *upstream.Link // nil once it has ended
	client conn.Conn      // nil once it has closed
	tally  *tally         // for the log; nil without one
	done   [2]uint64      // what the machine of each side had sent and acknowledged when that was looked at last
	active [2]uint32      // when it was last seen to have done something, in ticks
	state  tunnelState
	cause  tunnelCause
}

// side is one end of a tunnel.
type side uint8

const (
	clientSide side = iota
	upstreamSide
)

// tick is the unit of tunnel.active in nanoseconds.
const tick = int64(time.Millisecond)

// tunnelState are facts about a tunnel; each may hold besides the others.
type tunnelState uint8

const (
	clientHeld    tunnelState = 1 << iota // the client is not read, because the upstream is slow
	upstreamHeld                          // the other way round
	clientEnded                           // the client has sent its last byte
	upstreamEnded                         // the upstream has
	tunnelBegins                          // what the client sent behind its request comes, once
	clientOwes                            // its machine had not acknowledged everything at the last look
	upstreamOwes                          // nor had that of the upstream
)

// partingTime is how long what is queued may take to leave a side whose other side has gone.
const partingTime = 30 * time.Second

// switched turns both connections into a tunnel, if that was asked for. rest is the tunnel's first bytes.
// It returns how many of them it has used.
func (s *session) switched(rest []byte) (used int) {
	if !s.upgrades {
		s.failed(Unexpected, false)
		return len(rest)
	}
	x, h, l := s.x, s.agent.proxy, s.link
	b := x.ReserveHead(len(s.response.Head()) + len(h.response.lines) + dateBytes)
	if b == nil {
		s.breakLink()
		s.drop()
		return len(rest)
	}
	b = s.appendStatus(b)
	b = s.appendFields(b)
	if !s.response.Has(dates) {
		b = x.Date(b, false)
	}
	b = append(b, h.response.lines...)
	b = s.response.AppendKnown(b, http1.Upgrade)
	b = append(b, "Connection: Upgrade\r\n"...)
	c := x.Conn()
	now := uint32(c.Now() / tick)
	t := &tunnel{agent: s.agent, link: l, client: c, active: [2]uint32{now, now}, state: tunnelBegins}
	h.options.Counters.n[unknown].Add(1)
	l.Owner, s.link = t, nil
	var noted *tally
	if h.options.Tunnels != nil {
		noted = &tally{upstream: l.Endpoint.Address(), client: x.Remote()}
	}
	s.agent.group.Report(l.Endpoint, upstream.Success)
	x.Passage().Answered = max(c.Now(), 1)
	s.passed()
	s.drop()
	x.Switch(b, 101, t)
	if noted != nil {
		t.begin(noted)
	}
	t.state &^= tunnelBegins
	t.watch()
	return t.answered(rest)
}

// watch sets the timer. Bytes that move do not touch it: it looks four times in an idle time whether some have.
func (t *tunnel) watch() {
	c := t.client
	if c == nil {
		return
	}
	now, limit := c.Now(), t.agent.proxy.options.Timeouts.Tunnel
	silence := min(t.silence(clientSide, now), t.silence(upstreamSide, now))
	c.SetTimer(max(int64(time.Millisecond), min(int64(limit)-silence, int64(min(limit/4, longestLook)))))
}

// longestLook is the longest time between two looks.
const longestLook = time.Hour

// look finds out whether the machine of a side has done something.
func (t *tunnel) look(of side, now int64) {
	c, owes := t.client, clientOwes
	if of == upstreamSide {
		if c, owes = nil, upstreamOwes; t.link != nil {
			c = t.link.Conn
		}
	}
	if c == nil {
		return
	}
	done, owed := conn.Progress(c, t.done[of], t.state&owes != 0)
	t.state &^= owes
	if owed {
		t.state |= owes
	}
	if done > t.done[of] {
		t.done[of], t.active[of] = done, uint32(now/tick)
	}
}

// silence is for how long a side is known to have done nothing: never too long.
func (t *tunnel) silence(of side, now int64) int64 {
	return max(0, int64(uint32(now/tick)-t.active[of])-1) * tick
}

// Opened is not called.
func (t *tunnel) Opened(conn.Conn) {}

// Received takes bytes of the client.
func (t *tunnel) Received(c conn.Conn, in []byte) int {
	if t.link == nil {
		return len(in)
	}
	if t.state&tunnelBegins != 0 {
		t.link.Conn.Write(in)
		return len(in)
	}
	used, full := t.agent.proxy.pass(t.link.Conn, in)
	if full && t.state&clientHeld == 0 {
		t.state |= clientHeld
		c.Pause()
	}
	return used
}

// pass queues as much as there is room for. It reports whether none is left.
func (h *Handler) pass(to conn.Conn, in []byte) (used int, full bool) {
	for used < len(in) {
		n := min(int64(len(in)-used), h.room(to))
		if n <= 0 {
			return used, true
		}
		to.Write(in[used:][:n])
		used += int(n)
	}
	return used, h.room(to) <= 0
}

// room is how much may be passed on to a connection. A piece that has come is passed on whole, if possible.
func (h *Handler) room(c conn.Conn) int64 {
	switch {
	case c.State() > conn.Open:
		return math.MaxInt64 // it is for nobody any more
	case c.Queued() >= h.options.QueuedBytes:
		return 0
	}
	return c.Room()
}

// answered takes bytes of the upstream.
func (t *tunnel) answered(in []byte) (used int) {
	c := t.client
	if c == nil || t.link == nil {
		return len(in)
	}
	used, full := t.agent.proxy.pass(c, in)
	if full && t.state&upstreamHeld == 0 {
		t.state |= upstreamHeld
		t.link.Conn.Pause()
	}
	return used
}

// Flushed lets the upstream send more.
func (t *tunnel) Flushed(conn.Conn) {
	if t.state&upstreamHeld != 0 && t.link != nil {
		t.state &^= upstreamHeld
		t.link.Conn.Resume()
	}
}

// drained lets the client send more.
func (t *tunnel) drained() {
	if t.state&clientHeld != 0 && t.client != nil {
		t.state &^= clientHeld
		t.client.Resume()
	}
}

// Ended passes the client's end on; the other direction goes on.
func (t *tunnel) Ended(c conn.Conn) {
	t.state |= clientEnded
	t.because(clientEnd)
	switch {
	case t.link == nil:
	case t.state&upstreamEnded != 0:
		t.part()
	default:
		t.link.Conn.CloseWrite()
	}
}

// hungUp passes the upstream's end on.
func (t *tunnel) hungUp() {
	t.state |= upstreamEnded
	t.because(upstreamEnd)
	switch {
	case t.client == nil:
	case t.state&clientEnded != 0:
		t.part()
	default:
		t.client.CloseWrite()
	}
}

// part is the end of a tunnel in good order: both sides close behind what is queued.
func (t *tunnel) part() {
	t.release()
	if c := t.client; c != nil {
		c.SetTimer(int64(partingTime))
		c.Drain()
	}
}

// release lets go of the link.
func (t *tunnel) release() {
	if l := t.link; l != nil {
		t.link, l.Owner = nil, nil
		t.agent.group.Release(l, false)
	}
}

// Expired closes a tunnel that was silent for too long, or a client that does not take what is left. A side that still
// has bytes to acknowledge and has done nothing for the idle time is gone or stuck, however much the other one says.
func (t *tunnel) Expired(c conn.Conn) {
	if c.State() > conn.Open {
		c.Abort(conn.ErrTimeout)
		return
	}
	now, limit := c.Now(), int64(t.agent.proxy.options.Timeouts.Tunnel)
	t.look(clientSide, now)
	t.look(upstreamSide, now)
	client, upstream := t.silence(clientSide, now), t.silence(upstreamSide, now)
	switch {
	case client >= limit && t.state&clientOwes != 0, upstream >= limit && t.state&upstreamOwes != 0:
		t.because(silence)
		c.Abort(conn.ErrTimeout)
	case min(client, upstream) >= limit:
		t.because(silence)
		t.part()
	default:
		t.watch()
	}
}

// Stopped lets a tunnel be: nobody knows where it could be cut. The server's own patience ends it.
func (t *tunnel) Stopped(conn.Conn) {}

// Closed is the end of the client's connection.
func (t *tunnel) Closed(c conn.Conn, why error) {
	if why == conn.ErrMoved {
		t.left()
		return
	}
	t.client = nil
	t.tell(c, why)
	if why == nil {
		t.release()
	} else if l := t.link; l != nil {
		t.link, l.Owner = nil, nil
		l.Conn.Abort(why)
	}
}

// lost is the end of the link.
func (t *tunnel) lost(why error) {
	t.link = nil
	if why == conn.ErrMoved {
		return // the client goes as well
	}
	switch c := t.client; {
	case c == nil:
	case why == nil:
		t.because(upstreamEnd)
		t.part()
	default:
		t.because(causeOf(why, upstreamFailed))
		c.Abort(why)
	}
}
