package web

import (
	"math"

	"github.com/myriad-server/myriad/proto/http1"
)

// rules are what a server says of exchanges, with the defaults put in. An exchange keeps to those that it began under.
type rules struct {
	server   *Server
	limits   Limits
	timeouts Timeouts
	head     http1.Limits
	name     string // the Server line
	sample   float64
}

func (s *Server) rules() *rules {
	r := &rules{server: s, limits: s.Limits.effective(), timeouts: s.Timeouts.effective(), sample: s.LogSample}
	r.head = http1.Limits{
		HeadBytes: r.limits.HeadBytes, TargetBytes: r.limits.TargetBytes, Fields: r.limits.Fields,
	}
	if s.Name != "" {
		r.name = string(appendField(nil, "Server", s.Name))
	}
	if r.sample <= 0 || r.sample > 1 {
		r.sample = 1
	}
	return r
}

// Replace has next answer in place of s: every request that begins after it, also on connections that are open. One
// that has begun ends as s says, with its limits and its timeouts; a connection that waits for a request notices
// nothing. The handlers that s has made go on counting where they did, and those of next count there too. From any
// goroutine. next must not be in use already, and may be replaced itself.
func (s *Server) Replace(next *Server) {
	if next.first = s.first; next.first == nil {
		next.first = s
	}
	for !s.next.CompareAndSwap(nil, next) {
		s = s.next.Load()
	}
}

// current is what goes for a request that begins now.
func (h *handler) current() *rules {
	if h.server.next.Load() != nil {
		s := h.server
		for next := s.next.Load(); next != nil; next = s.next.Load() {
			s = next
		}
		h.rules, h.second = s.rules(), math.MinInt64
	}
	return h.rules
}
