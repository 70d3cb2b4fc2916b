package proxy

import (
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

var _, _ upstream.Lessee = (*session)(nil), (*tunnel)(nil)

// Client is whose request it is.
func (s *session) Client() conn.Conn { return s.x.Conn() }

// Link is where the request is passed on.
func (s *session) Link() *upstream.Link { return s.link }

// Client is the side that asked for the tunnel; nil once it has closed.
func (t *tunnel) Client() conn.Conn { return t.client }

// Link is the other side; nil once it has ended.
func (t *tunnel) Link() *upstream.Link { return t.link }
