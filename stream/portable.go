package stream

import (
	"github.com/myriad-server/myriad/conn"
)

// A session of [TCP] goes on in another process while bytes flow: both its connections go, and with them who the client
// is, which side has ended, and for how long each has been silent. The other process must have the same server in the
// group of the same listener. What waits for a PROXY header or for a server does not go: that is soon over.

var _ conn.Portable = (*near)(nil)

// sessionVersion is that of the state of a session.
const sessionVersion = 1

// Leaves reports whether bytes flow. What the kernel passes on is copied again: if the session stays after all, and
// bulk goes on, it is soon left to the kernel once more.
func (h *near) Leaves(c conn.Conn) (mate conn.Conn, ok bool) {
	s := sessionOf(c)
	if s == nil || !s.flows() {
		return nil, false
	}
	h.unpipe(s, upward)
	h.unpipe(s, downward)
	return s.link.Conn, true
}

// flows reports that nothing is under way in a session but bytes.
func (s *session) flows() bool {
	const over = isGone | breaks
	return s.phase == passing && (s.facts[upward]|s.facts[downward])&over == 0 &&
		s.client.State() == conn.Open && s.link.Conn.State() == conn.Open
}

// Pack tells what a session needs to go on.
func (h *near) Pack(c conn.Conn, state []byte) (packed []byte, ok bool) {
	s := sessionOf(c)
	if s == nil || !s.flows() {
		return state, false
	}
	now := c.Now()
	state = append(state, sessionVersion, byte(s.facts[upward]&hasEnded|s.facts[downward]&hasEnded<<1))
	state = conn.AppendAddress(state, s.remote.addrPort())
	state = conn.AppendElapsed(state, now-s.began)
	state = conn.AppendNumber(state, uint64(s.connect))
	for of := range s.active {
		state = conn.AppendElapsed(state, s.silence(way(of), now))
		state = conn.AppendNumber(state, s.done(way(of)))
	}
	return s.link.Pack(state), true
}

// Unpack goes on with a session.
func (h *near) Unpack(c conn.Conn, state []byte, mate func(h conn.Handler, v any) conn.Conn) error {
	if h.agent == nil {
		return errNoDialer
	}
	r := conn.ReadState(state, sessionVersion)
	ended := facts(r.Byte())
	remote := r.Address()
	if remote.Addr().Zone() != "" || ended >= hasEnded|hasEnded<<1 { // when both have ended it is over
		r.Refuse()
	}
	s, now := h.take(), c.Now()
	s.client, s.phase, s.remote = c, passing, endpointOf(remote)
	s.facts = [2]facts{ended & hasEnded, ended >> 1 & hasEnded}
	s.began = now - r.Elapsed()
	s.connect = uint32(r.Number(1<<32 - 1))
	for of := range s.active {
		s.active[of] = uint32(now/tick) - uint32(r.Elapsed()/tick)
		s.first[of] = r.Number(1<<64 - 1)
	}
	link, err := h.agent.Adopt(&r, &h.far, s, mate)
	if err != nil {
		h.put(s)
		return err
	}
	s.link = link
	s.cause = ClientEnded
	if s.facts[downward]&hasEnded != 0 {
		s.cause = UpstreamEnded
	}
	for of := range s.first {
		in, out := s.side(way(of)).Traffic()
		s.first[of] = min(s.first[of], in+out)
	}
	s.seen[upward], s.seen[downward] = c.Traffic()
	if h.clients != nil && remote.IsValid() {
		h.clients.reenter(remote.Addr())
		s.counted = true
	}
	c.Attach(s)
	h.tally.movedIn()
	h.arm(s)
	return nil
}

// moved notes that the connection of a side goes on in another process. With the second the session does.
func (h *near) moved(s *session, of way) {
	s.facts[of] |= isGone
	if s.facts[1-of]&isGone == 0 {
		return
	}
	if s.counted {
		h.clients.leave(s.remote.addrPort().Addr())
	}
	h.tally.movedOut()
	h.put(s)
}

// put takes back a session that is not used any more.
func (h *near) put(s *session) {
	*s = session{}
	if len(h.spare) < mostSpare {
		h.spare = append(h.spare, s)
	}
}
