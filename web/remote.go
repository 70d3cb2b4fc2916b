package web

import (
	"net/netip"

	"github.com/myriad-server/myriad/conn"
)

// remotes remembers the addresses of clients by their connections, because asking the kernel costs as much as all the
// rest of a small request. Connections that share a place push each other out.
type remotes [512]struct {
	id      uint64 // of the connection, plus one
	address netip.AddrPort
}

// remote is the client's address.
func (h *handler) remote(c conn.Conn) netip.AddrPort {
	if h.remotes == nil {
		h.remotes = new(remotes)
	}
	id := c.ID()
	place := &h.remotes[id%uint64(len(h.remotes))]
	if place.id != id+1 {
		place.id, place.address = id+1, c.Remote()
	}
	return place.address
}
