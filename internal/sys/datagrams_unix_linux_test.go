package sys

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestUnixPeers writes and reads the names of Unix sockets: each comes back as it was, and is no other address.
func TestUnixPeers(t *testing.T) {
	var peers Peers
	for _, name := range []string{
		"/run/a", "a", "@", "@abstract", "@a\x00b\xff ", "%eth0",
		"/" + strings.Repeat("x", 107), "@" + strings.Repeat("x", 107),
	} {
		at := UnixPeer(name)
		raw, family := EncodeAddress(make([]byte, 0, AddressBytes), at)
		if got := peers.Decode(raw); family != Unix || !ToUnix(raw) || got != at || UnixName(got) != name {
			t.Errorf("%q is %v, %q in family %d", name, got, UnixName(got), family)
		}
		if len(raw) > 110 {
			t.Errorf("%q takes %d bytes", name, len(raw))
		}
		if n := testing.AllocsPerRun(100, func() { peers.Decode(raw) }); n != 0 {
			t.Errorf("%q, which is known, takes %v allocations", name, n)
		}
	}
	for _, text := range []string{"192.0.2.1:53", "[::1]:53", "[fe80::1%2]:53", "[::]:0", "[::%2]:1"} {
		if name := UnixName(netip.MustParseAddrPort(text)); name != "" {
			t.Errorf("%s is the name %q", text, name)
		}
	}
	for _, raw := range [][]byte{{Unix, 0}, append([]byte{Unix, 0}, "@relative\x00"...), {}} {
		if at := peers.Decode(raw); at.IsValid() {
			t.Errorf("%q is %v", raw, at)
		}
	}
	for i := range 3 * peersMost {
		raw, _ := EncodeAddress(nil, UnixPeer(fmt.Sprint("/", i)))
		if at := peers.Decode(raw); UnixName(at) != fmt.Sprint("/", i) || len(peers.known) > peersMost {
			t.Fatalf("%v; %d names are known", at, len(peers.known))
		}
	}
}
