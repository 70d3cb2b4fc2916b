package stream

import (
	"errors"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

// Why a client is turned away, for Handler.Closed and records.
var (
	errNoDialer  = errors.New("this serving model cannot connect to servers")
	errPerClient = errors.New("the client has as many sessions as it may")

	errClientTakes = errors.New("the client acknowledged nothing of what was sent to it for the idle time")
	errServerTakes = errors.New("the server acknowledged nothing of what was sent to it for the idle time")
)

const (
	// lookAfter is how long a client that waits for its server is not read from. Most servers answer sooner, and then
	// the client's first bytes are received once, when they can be passed on. Later it is read, to hear that it left.
	lookAfter = 100 * time.Millisecond
	// endTime is how long the last bytes of a session may take when nothing of them is taken.
	endTime = 10 * time.Second
	// breakLook is how often a side that is to be reset is looked at until it has taken everything.
	breakLook = 50 * time.Millisecond
	// pipeLook is how often a piped direction is looked at: bulk that is over goes back to copying.
	pipeLook = 500 * time.Millisecond
	// longestLook is the longest time between two looks whether bytes have moved.
	longestLook = time.Hour
	// bulkPiece is how large a received piece is at least that belongs to bulk: a quarter of the usual block.
	bulkPiece = 4 << 10
	// tick is the unit of session.since and session.active in nanoseconds, and bulkTicks is in how many PipeBytes have to
	// come.
	tick, bulkTicks = int64(time.Millisecond), 1000
	// pipeAgain is how many bytes later the kernel is asked once more when it refused.
	pipeAgain = 64 << 20
	// mostSpare is how many structs of ended sessions a loop keeps.
	mostSpare = 1024
)

// phase is where a session is in its life. It only moves forward.
type phase uint8

const (
	introducing phase = iota // a PROXY header is awaited
	connecting               // a server is awaited
	passing                  // bytes flow
	ending                   // what is queued still goes out
)

// way is a direction of a session, and the side that it comes from.
type way uint8

const (
	upward   way = iota // from the client
	downward            // from the server
)

// facts are what holds beside the phase, for each way.
type facts uint8

const (
	hasEnded facts = 1 << iota // the side has sent its last byte
	isPiped                    // the kernel passes the bytes on
	isGone                     // the connection of the side is closed
	breaks                     // the side is reset once its queue is empty
	owing                      // the side's machine had not acknowledged everything when that was looked at last
)

// session is what two connections share. It is small, and its fields are in an order that wastes nothing, because there
// are many.
type session struct {
	client  conn.Conn
	link    *upstream.Link // nil until there is one
	waiting *waiting       // while there is none
	remote  endpoint
	connect uint32 // microseconds until there was a server
	began   int64
	seen    [2]uint64 // how many bytes had moved at the last look; once the client is gone, its ID
	first   [2]uint64 // what the side that was closed first had received and sent; before, what done reads
	active  [2]uint32 // when each side's machine was last seen to have done something, in ticks
	why     error
	bulk    [2]int32  // bytes of large pieces in a row
	since   [2]uint32 // when they began, in ticks
	facts   [2]facts
	phase   phase
	cause   Cause
	counted bool // by clients
}

// endpoint is an address and a port in less room than netip.AddrPort takes: without a zone.
type endpoint struct {
	address [16]byte
	port    uint16
	family  uint8 // 4, 6, or 0: there is none
}

func endpointOf(a netip.AddrPort) endpoint {
	e := endpoint{port: a.Port()}
	switch {
	case a.Addr().Is4():
		e.family = 4
	case a.Addr().Is6():
		e.family = 6
	default:
		return endpoint{}
	}
	e.address = a.Addr().As16()
	return e
}

func (e *endpoint) addrPort() netip.AddrPort {
	a := netip.AddrFrom16(e.address)
	switch e.family {
	case 0:
		return netip.AddrPort{}
	case 4:
		a = a.Unmap()
	}
	return netip.AddrPortFrom(a, e.port)
}

// waiting is what a session needs only until it has a server.
type waiting struct {
	upstream.Want
	near    *near
	session *session
	local   netip.AddrPort // where the client says it connected to
}

// take gives an empty session.
func (h *near) take() *session {
	if n := len(h.spare); n > 0 {
		s := h.spare[n-1]
		h.spare = h.spare[:n-1]
		return s
	}
	return new(session)
}

// admit looks whether the client may have a session, and asks for a server.
func (h *near) admit(s *session, remote, local netip.AddrPort) {
	s.remote = endpointOf(remote)
	if h.clients != nil && remote.IsValid() {
		if !h.clients.enter(remote.Addr()) {
			h.report.warn(linePerClient, s.client.Now(), "a client is refused", remote, errPerClient)
			h.tally.add(RefusedPerClient, 1)
			h.fail(s, TooMany, errPerClient)
			return
		}
		s.counted = true
	}
	w := h.rest()
	w.session, w.local = s, local
	w.Handler, w.Owner, w.Waiter, w.Fresh = &h.far, s, w, true
	w.Key = 0
	if remote.IsValid() {
		w.Key = keyOf(remote.Addr())
	}
	s.waiting, s.phase = w, connecting
	s.client.Pause()
	s.client.SetTimer(int64(lookAfter))
	h.agent.Acquire(&w.Want)
}

// rest gives what a session waits with.
func (h *near) rest() *waiting {
	if n := len(h.resting); n > 0 {
		w := h.resting[n-1]
		h.resting = h.resting[:n-1]
		return w
	}
	return &waiting{near: h}
}

// waited takes back what a session waited with.
func (h *near) waited(s *session) {
	w := s.waiting
	s.waiting = nil
	if len(h.resting) < mostSpare {
		w.session, w.Owner = nil, nil
		w.Forget()
		h.resting = append(h.resting, w)
	}
}

// Granted begins to pass bytes on.
func (w *waiting) Granted(l *upstream.Link) {
	h, s := w.near, w.session
	local := w.local
	h.waited(s)
	s.link, s.phase = l, passing
	now := s.client.Now()
	s.active = [2]uint32{uint32(now / tick), uint32(now / tick)}
	s.connect = uint32(min((now-s.began)/1000, 1<<32-1))
	if h.options.Send != NoHeader {
		h.introduce(s, local)
	}
	if s.facts[upward]&hasEnded != 0 {
		l.Conn.CloseWrite()
	}
	s.client.Resume()
	h.arm(s)
}

// Denied ends the session: there is no server.
func (w *waiting) Denied(err error) {
	h, s := w.near, w.session
	h.waited(s)
	h.report.warn(lineConnect, s.client.Now(), "a client is closed: no server could be reached", s.remote.addrPort(), err)
	h.fail(s, NotConnected, err)
}

// side is the connection that a way comes from.
func (s *session) side(of way) conn.Conn {
	if of == upward {
		return s.client
	}
	return s.link.Conn
}
