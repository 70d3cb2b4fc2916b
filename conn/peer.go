package conn

import (
	"net/netip"
	"strconv"

	"github.com/myriad-server/myriad/internal/sys"
)

// UnixPeer is the address that stands for the name of a Unix datagram socket, a path or "@" and an abstract name, in
// [DatagramHandler] and [Datagrams]: that of no other socket.
func UnixPeer(name string) netip.AddrPort { return sys.UnixPeer(name) }

// UnixName is the name of the Unix datagram socket that an address stands for, as UnixPeer takes it. It is empty for
// all other addresses.
func UnixName(a netip.AddrPort) string { return sys.UnixName(a) }

// PeerName is an address as people write it: "192.0.2.1:53", "unix:/run/socket" or "unix:@name", and empty for none.
// Bytes of a name that do not print are written as Go writes them in a string.
func PeerName(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	if name := UnixName(a); name != "" {
		quoted := strconv.Quote(name)
		return "unix:" + quoted[1:len(quoted)-1]
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}
