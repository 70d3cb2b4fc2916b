package stream

import (
	"errors"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

// ended passes on that a side has sent its last byte. When both have, the session is over.
func (h *near) ended(s *session, from way) {
	s.facts[from] = s.facts[from]&^isPiped | hasEnded
	if s.phase == ending {
		return
	}
	first := s.facts[1-from]&hasEnded == 0
	if first {
		s.cause = [...]Cause{upward: ClientEnded, downward: UpstreamEnded}[from]
	}
	switch {
	case s.phase == introducing:
		if in, _ := s.client.Traffic(); in > 0 {
			h.badHeader(s, errNoHeader)
		} else {
			h.finish(s, ClientEnded) // somebody looked whether the port is open
		}
	case h.options.EndTogether || !first:
		h.finish(s, s.cause)
	case s.phase == passing:
		s.side(1 - from).CloseWrite()
	}
}

// fail ends a session that has no server, with a reset.
func (h *near) fail(s *session, cause Cause, why error) {
	s.phase, s.cause, s.why = ending, cause, why
	s.client.Abort(why)
}

// finish ends a session in order: what is queued still goes out.
func (h *near) finish(s *session, cause Cause) {
	s.phase, s.cause = ending, cause
	h.unpipe(s, upward)
	h.unpipe(s, downward)
	h.giveUp(s)
	drain(s.client)
	if s.link != nil {
		drain(s.link.Conn)
	}
}

// cut ends a session because of its time. It does so in order if nothing is under way, so that nobody takes what it has
// for all.
func (h *near) cut(s *session, cause Cause, quiet bool) {
	if quiet && s.client.Queued() == 0 && s.link.Conn.Queued() == 0 {
		h.finish(s, cause)
		return
	}
	s.phase, s.cause, s.why = ending, cause, conn.ErrTimeout
	s.client.Abort(conn.ErrTimeout)
	s.link.Conn.Abort(conn.ErrTimeout)
}

// giveUp stops waiting for a server.
func (h *near) giveUp(s *session) {
	if s.waiting != nil {
		h.agent.Cancel(&s.waiting.Want)
		h.waited(s)
	}
}

// drain ends a connection behind what is queued, or in endTime.
func drain(c conn.Conn) {
	c.SetTimer(int64(endTime))
	c.Drain()
}

// closed notes that the connection of a side is gone, and passes it on.
func (h *near) closed(s *session, of way, c conn.Conn, why error) {
	piped := s.facts[of]&isPiped != 0
	s.facts[of] |= isGone
	h.giveUp(s)
	both := s.link == nil || s.facts[1-of]&isGone != 0
	switch {
	case s.phase != ending:
		s.phase = ending
		h.broken(s, of, why)
		if !both {
			h.breakOff(s, 1-of, piped)
		}
	case why != nil && s.why == nil && !both: // after both had ended: it did not take everything
		s.why = why
		h.breakOff(s, 1-of, piped)
	}
	if both {
		h.over(s, of, c)
		return
	}
	s.first[0], s.first[1] = c.Traffic()
	if of == upward {
		s.seen[upward] = c.ID()
	}
}

// broken notes that a side ended without a word.
func (h *near) broken(s *session, of way, why error) {
	s.why = why
	switch {
	case errors.Is(why, conn.ErrStopping):
		s.cause = Stopped
	case of == upward:
		s.cause = ClientFailed
		h.tally.add(ClientBreaks, 1)
	default:
		s.cause = UpstreamFailed
		h.tally.add(ServerBreaks, 1)
	}
}

// breakOff passes a reset on, behind the bytes that came before it: without a proxy they would have been received.
func (h *near) breakOff(s *session, side way, piped bool) {
	c := s.side(side)
	if errors.Is(s.why, conn.ErrStopping) || c.Queued() == 0 && !piped {
		c.Abort(s.why)
		return
	}
	s.facts[side] |= breaks
	s.active = c.Now()
	_, s.seen[side] = c.Traffic()
	c.Pause()
	c.SetTimer(int64(breakLook))
}

// breaking looks whether a side that is to be reset still takes bytes. What is in a pipe can be seen in no other way.
func (h *near) breaking(s *session, side way) {
	c := s.side(side)
	_, out := c.Traffic()
	if out == s.seen[side] && c.Queued() == 0 || c.Now()-s.active > int64(endTime) {
		c.Abort(s.why)
		return
	}
	s.seen[side] = out
	c.SetTimer(int64(breakLook))
}

// over accounts for a session that has ended. c is the last of its connections.
func (h *near) over(s *session, of way, c conn.Conn) {
	var traffic [2][2]uint64 // of both sides: received, sent
	traffic[1-of] = s.first
	traffic[of][0], traffic[of][1] = c.Traffic()
	h.tally.add(Open, -1)
	if s.counted {
		h.clients.leave(s.remote.addrPort().Addr())
	}
	if l := s.link; l != nil {
		outcome := upstream.Success
		if s.cause == UpstreamFailed && traffic[downward][0] == 0 {
			outcome = upstream.Failure
		}
		h.agent.Report(l.Endpoint, outcome)
	}
	if h.options.Records != nil {
		id := s.seen[upward]
		if of == upward {
			id = c.ID()
		}
		h.tell(s, c, id, &traffic)
	}
	*s = session{}
	if len(h.spare) < mostSpare {
		h.spare = append(h.spare, s)
	}
}

// tell writes the session's record.
func (h *near) tell(s *session, c conn.Conn, id uint64, traffic *[2][2]uint64) {
	h.record = Record{
		Connection: id, Client: s.remote.addrPort(), Cause: s.cause, Err: s.why, Wall: c.Wall(),
		Received: traffic[upward][0], Sent: traffic[upward][1],
		UpstreamReceived: traffic[downward][0], UpstreamSent: traffic[downward][1],
		Duration: time.Duration(c.Now() - s.began), Connect: time.Duration(s.connect) * time.Microsecond,
	}
	if s.link != nil {
		h.record.Upstream = s.link.Endpoint.Address()
	}
	h.options.Records.Log(&h.record)
}

// expired is the session's clock, the timer of its client's connection.
func (h *near) expired(s *session) {
	switch s.phase {
	case introducing:
		h.badHeader(s, errHeaderTime)
	case connecting:
		s.client.Resume() // to hear whether the client is still there
	case passing:
		h.look(s)
	case ending:
		h.late(s, upward)
	}
}

// late ends a side whose last bytes take too long.
func (h *near) late(s *session, side way) {
	if s.facts[side]&breaks != 0 {
		h.breaking(s, side)
		return
	}
	s.side(side).Abort(conn.ErrTimeout)
}

// look finds out whether bytes have moved, ends the session if none have for too long, and copies again where bulk is
// over.
func (h *near) look(s *session) {
	now := s.client.Now()
	in, out := s.client.Traffic()
	moved := [2]uint64{upward: in - s.seen[upward], downward: out - s.seen[downward]}
	s.seen = [2]uint64{upward: in, downward: out}
	if moved[upward]+moved[downward] > 0 {
		s.active = now
	}
	switch {
	case now-s.began >= int64(h.options.Lifetime):
		h.tally.add(AgeEnds, 1)
		h.cut(s, TooLong, now != s.active)
		return
	case now-s.active >= int64(h.options.Idle):
		h.tally.add(IdleEnds, 1)
		h.cut(s, Idle, true)
		return
	}
	for from, n := range moved {
		if n < uint64(h.options.PipeBytes) {
			h.unpipe(s, way(from))
		}
	}
	h.arm(s)
}

// arm sets the session's clock. Bytes that move do not touch it: it looks four times in an idle time whether some have.
func (h *near) arm(s *session) {
	now := s.client.Now()
	next := min(int64(h.options.Idle)-(now-s.active), int64(h.options.Idle)/4)
	next = min(next, int64(h.options.Lifetime)-(now-s.began), int64(longestLook))
	if (s.facts[upward]|s.facts[downward])&isPiped != 0 {
		next = min(next, int64(pipeLook))
	}
	s.client.SetTimer(max(next, int64(time.Millisecond)))
}
