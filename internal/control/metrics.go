package control

import "github.com/myriad-server/myriad/internal/observe"

// mountObserved adds what is told by package observe. Metrics are read from counters alone: no loop is asked, so a
// scrape costs them nothing, however many connections there are.
func (s *Server) mountObserved() {
	s.Mount("GET /metrics", "counters and latencies, in the formats of Prometheus", observe.NewMetrics(s.app.Reading))
}
