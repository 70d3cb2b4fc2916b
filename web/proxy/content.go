package proxy

import (
	"github.com/myriad-server/myriad/proto/http1"
)

// content takes a piece of the request's content from the client.
func (s *session) content(chunk []byte, done bool) {
	if s.kept && len(chunk) > 0 {
		s.keep(chunk)
	}
	s.send(chunk)
	c := s.link.Conn
	if done {
		s.whole = true
		if s.chunked {
			s.sendEnd()
		}
		s.asked = c.Now()
	} else if s.agent.proxy.room(c) <= 0 {
		s.holdBody()
	}
	if s.phase == asking {
		s.arm()
	}
}

// keep keeps a copy of content, in case it has to be sent again.
func (s *session) keep(chunk []byte) {
	if len(s.replay)+len(chunk) > s.agent.proxy.options.ReplayBytes {
		s.kept, s.replay = false, s.replay[:0]
		return
	}
	s.replay = append(s.replay, chunk...)
}

// send queues content on the link, framed as the head says.
func (s *session) send(chunk []byte) {
	if len(chunk) == 0 {
		return
	}
	c := s.link.Conn
	if c.Queued() == 0 && s.settled() {
		s.moved = c.Now()
	}
	if !s.chunked {
		c.Write(chunk)
		return
	}
	b := http1.AppendChunkHead(s.agent.scratch[:0], len(chunk))
	s.agent.scratch = b
	c.Write(b)
	c.Write(chunk)
	c.Write(chunkTail)
}

var chunkTail = []byte(http1.ChunkTail)

// sendEnd queues the end of chunked content and the client's trailers.
func (s *session) sendEnd() {
	b := append(s.agent.scratch[:0], "0\r\n"...)
	for i := range s.x.Trailers() {
		name, value := s.x.TrailerAt(i)
		b = http1.AppendField(b, name, value)
	}
	b = append(b, "\r\n"...)
	s.agent.scratch = b
	s.link.Conn.Write(b)
}

// holdBody has the client wait.
func (s *session) holdBody() {
	if !s.heldBody {
		s.heldBody = true
		s.x.PauseBody()
	}
}

// drained says that the kernel has taken all of the request that was queued.
func (s *session) drained() {
	_, s.left = s.link.Conn.Traffic()
	if s.heldBody {
		s.heldBody = false
		s.x.ResumeBody()
	}
}

// flushed says that the client has taken all of the answer that was queued.
func (s *session) flushed() {
	if s.heldUp {
		s.heldUp = false
		s.heard = s.link.Conn.Now()
		s.link.Conn.Resume()
	}
}
