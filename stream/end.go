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
	h.drain(s.client)
	if s.link != nil {
		h.drain(s.link.Conn)
	}
}

// cut ends a session because of its time. It does so in order if nothing is under way, so that nobody takes what it has
// for all.
func (h *near) cut(s *session, cause Cause, quiet bool, why error) {
	if quiet && s.client.Queued() == 0 && s.link.Conn.Queued() == 0 {
		h.finish(s, cause)
		return
	}
	s.phase, s.cause, s.why = ending, cause, why
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

// drain ends a connection behind what is queued, or when nothing of that is taken for endTime.
func (h *near) drain(c conn.Conn) {
	c.SetTimer(int64(h.endTime))
	c.Drain()
}

// closed notes that the connection of a side is gone, and passes it on.
func (h *near) closed(s *session, of way, c conn.Conn, why error) {
	if why == conn.ErrMoved && s.phase == passing {
		h.moved(s, of)
		return
	}
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
	case errors.Is(why, conn.ErrStalled):
		s.cause = Stalled
	case of == upward:
		s.cause = ClientFailed
	default:
		s.cause = UpstreamFailed
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
	s.active[side] = uint32(c.Now() / tick)
	_, s.seen[side] = c.Traffic()
	c.Pause()
	c.SetTimer(int64(breakLook))
}

// breaking looks whether a side that is to be reset still takes bytes. What is in a pipe can be seen in no other way.
func (h *near) breaking(s *session, side way) {
	c := s.side(side)
	_, out := c.Traffic()
	if out == s.seen[side] && c.Queued() == 0 || s.silence(side, c.Now()) > int64(h.endTime) {
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
	h.tally.ended(s.cause)
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
	h.put(s)
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

// late ends a side whose last bytes are not taken any more. One that is only slow gets them all.
func (h *near) late(s *session, side way) {
	if s.facts[side]&breaks != 0 {
		h.breaking(s, side)
		return
	}
	c := s.side(side)
	_, out := c.Traffic()
	if taken := out - uint64(c.Unacknowledged()); taken != s.seen[side] { // always, when it looks for the first time
		s.seen[side] = taken
		c.SetTimer(int64(h.endTime))
		return
	}
	c.Abort(conn.ErrTimeout)
}

// look finds out whether bytes have moved, ends the session if none have for too long, and copies again where bulk is
// over.
func (h *near) look(s *session) {
	now := s.client.Now()
	before := s.active
	s.progress(upward, now)
	s.progress(downward, now)
	cause, quiet, why := h.overdue(s, now)
	switch {
	case why == nil:
		h.piecemeal(s)
		h.arm(s)
	case cause == Idle:
		h.cut(s, Idle, quiet, why)
	default:
		h.cut(s, TooLong, s.active == before, why)
	}
}

// overdue tells whether the session's time is up. A side that still has bytes to acknowledge and has done nothing for
// the idle time is gone or stuck, however much the other one says.
func (h *near) overdue(s *session, now int64) (cause Cause, quiet bool, why error) {
	silence := [2]int64{s.silence(upward, now), s.silence(downward, now)}
	idle := int64(h.options.Idle)
	switch {
	case now-s.began >= int64(h.options.Lifetime):
		return TooLong, false, conn.ErrTimeout
	case silence[upward] >= idle && s.facts[upward]&owing != 0:
		return Idle, false, errClientTakes
	case silence[downward] >= idle && s.facts[downward]&owing != 0:
		return Idle, false, errServerTakes
	case min(silence[upward], silence[downward]) >= idle:
		return Idle, true, conn.ErrTimeout
	}
	return 0, false, nil
}

// progress notes what the machine of a side has done since the last look: it has sent bytes, or acknowledged some.
func (s *session) progress(of way, now int64) {
	before := s.done(of)
	done, owes := conn.Progress(s.side(of), before, s.facts[of]&owing != 0)
	s.facts[of] &^= owing
	if owes {
		s.facts[of] |= owing
	}
	if done > before {
		s.first[of], s.active[of] = done, uint32(now/tick)
	}
}

// done is what a side's machine had sent and acknowledged when that was looked at last, while the session goes on.
func (s *session) done(of way) uint64 { return s.first[of] }

// silence is for how long a side is known to have done nothing: never too long.
func (s *session) silence(of way, now int64) int64 {
	return max(0, int64(uint32(now/tick)-s.active[of])-1) * tick
}

// piecemeal has directions copied again in which no bulk has moved since the last look.
func (h *near) piecemeal(s *session) {
	in, out := s.client.Traffic()
	moved := [2]uint64{upward: in - s.seen[upward], downward: out - s.seen[downward]}
	s.seen = [2]uint64{upward: in, downward: out}
	for from, n := range moved {
		if n < uint64(h.options.PipeBytes) {
			h.unpipe(s, way(from))
		}
	}
}

// arm sets the session's clock. Bytes that move do not touch it: it looks four times in an idle time whether some have.
func (h *near) arm(s *session) {
	now := s.client.Now()
	silence := min(s.silence(upward, now), s.silence(downward, now))
	next := min(int64(h.options.Idle)-silence, int64(h.options.Idle)/4)
	next = min(next, int64(h.options.Lifetime)-(now-s.began), int64(longestLook))
	if (s.facts[upward]|s.facts[downward])&isPiped != 0 {
		next = min(next, int64(pipeLook))
	}
	s.client.SetTimer(max(next, int64(time.Millisecond)))
}
