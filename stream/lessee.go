package stream

import (
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

var _ upstream.Lessee = (*session)(nil)

// Client is the client's connection; nil once it has closed.
func (s *session) Client() conn.Conn { return s.client }

// Link is the connection to the server; nil until there is one, and once it has ended.
func (s *session) Link() *upstream.Link { return s.link }
