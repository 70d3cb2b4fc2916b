package proxy

import "github.com/myriad-server/myriad/conn"

// note records an event of a connection, where events are recorded.
func (s *session) note(c conn.Conn, k conn.Kind, number uint64) {
	if !s.agent.proxy.options.Events {
		return
	}
	if n, records := c.(conn.Noter); records {
		n.Note(k, 0, number)
	}
}
