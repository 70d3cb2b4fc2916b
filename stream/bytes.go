package stream

import "github.com/myriad-server/myriad/conn"

// pass queues a piece of one side at the other, and returns how much of it. When too much is queued, or the other side
// has no room, nothing more is received until that has changed; what was not used comes again.
func (h *near) pass(s *session, from way, source, to conn.Conn, in []byte) (used int) {
	if room := to.Room(); room < int64(len(in)) && to.State() <= conn.Open {
		source.Pause()
		in = in[:room]
	}
	to.Write(in)
	if len(in) < bulkPiece {
		s.bulk[from] = 0
	} else if h.isBulk(s, from, source.Now(), len(in)) && h.pipe(s, from, source, to) {
		return len(in)
	}
	if to.Queued() > h.options.BufferBytes {
		source.Pause()
	}
	return len(in)
}

// isBulk counts large pieces, and reports that enough of them have come in a row and in a short time.
func (h *near) isBulk(s *session, from way, now int64, n int) bool {
	if h.options.PipeBytes < 0 {
		return false
	}
	if s.bulk[from] == 0 {
		s.since[from] = uint32(now / tick)
	}
	s.bulk[from] += int32(min(n, 1<<20))
	if int(s.bulk[from]) < h.options.PipeBytes {
		return false
	}
	slow := uint32(now/tick)-s.since[from] > bulkTicks
	s.bulk[from] = 0
	return !slow
}

// pipe leaves a direction to the kernel, which moves bulk at a fraction of the cost, and small pieces at a higher one.
func (h *near) pipe(s *session, from way, source, to conn.Conn) bool {
	if !source.Pipe(to) {
		h.tally.add(PipesRefused, 1)
		s.bulk[from] = -pipeAgain
		s.since[from] = uint32(source.Now() / tick)
		return false
	}
	h.tally.add(Pipes, 1)
	s.facts[from] |= isPiped
	in, out := s.client.Traffic()
	s.seen[from] = [...]uint64{upward: in, downward: out}[from]
	h.arm(s)
	return true
}

// unpipe copies again.
func (h *near) unpipe(s *session, from way) {
	if s.facts[from]&isPiped != 0 {
		s.facts[from] &^= isPiped
		s.side(from).Pipe(nil)
	}
}

// flushed lets a way go on whose receiver has taken everything.
func (h *near) flushed(s *session, from way) {
	switch {
	case s.phase == passing:
		s.side(from).Resume()
	case s.facts[1-from]&breaks != 0 && s.facts[from]&isPiped == 0:
		s.side(1 - from).Abort(s.why)
	}
}
