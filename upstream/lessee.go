package upstream

import "github.com/myriad-server/myriad/conn"

// Lessee is a Link.Owner that passes on what a client sends. It says between which connections it stands, for whoever
// lists them; to be asked on their thread.
type Lessee interface {
	// Client is the client's connection, and Link the link; nil where there is none any more, or none yet.
	Client() conn.Conn
	Link() *Link
}
