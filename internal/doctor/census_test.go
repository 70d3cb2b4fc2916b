package doctor

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/myriad-server/myriad/internal/sockets"
)

// TestCensusCounts: what a socket counts as. 7000 is a port that is listened on.
func TestCensusCounts(t *testing.T) {
	from, to := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddrPort("10.0.0.2:443")
	dialled := func(s sockets.Socket) sockets.Socket {
		s.Local, s.Remote = netip.AddrPortFrom(from, 40000), to
		return s
	}
	waiting := func(left time.Duration) sockets.Socket {
		return dialled(sockets.Socket{State: sockets.TimeWait, Timer: sockets.TimeWaitTimer, Expires: left})
	}
	sent := sockets.RetransmitTimer
	for _, test := range []struct {
		what   string
		socket sockets.Socket
		want   Dialled
	}{
		{"open", dialled(sockets.Socket{State: sockets.Established}), Dialled{Open: 1}},
		{"one SYN", dialled(sockets.Socket{State: sockets.SynSent, Timer: sent}), Dialled{Open: 1}},
		{
			"two of them", dialled(sockets.Socket{State: sockets.SynSent, Timer: sent, Retries: 1}),
			Dialled{Open: 1, Unanswered: 1},
		},
		{"closed now", waiting(59500 * time.Millisecond), Dialled{Waiting: 1, Fresh: 1, Recent: 1}},
		{"closed of late", waiting(55 * time.Second), Dialled{Waiting: 1, Recent: 1}},
		{"closed long ago", waiting(5 * time.Second), Dialled{Waiting: 1}},
	} {
		c := emptyCensus()
		c.count(&test.socket, false)
		if diff := cmp.Diff(&test.want, c.Routes[Route{from, to}]); diff != "" || c.States[test.socket.State] != 1 {
			t.Errorf("%s: %s", test.what, diff)
		}
	}
	c := emptyCensus()
	c.count(&sockets.Socket{
		State: sockets.Established, Remote: to, Local: netip.AddrPortFrom(from, 7000), Timer: sent, Retries: vanishedRetries,
	}, true)
	if len(c.Routes) != 0 || len(c.Vanished) != 1 || c.Elsewhere != 1 || c.Silent != 0 {
		t.Errorf("%+v", c)
	}
}

// TestCensusIsBounded: more destinations and more leaks than it keeps are told, and take no more memory.
func TestCensusIsBounded(t *testing.T) {
	c := emptyCensus()
	from := netip.MustParseAddrPort("10.0.0.1:40000")
	const more = censusEntries + 100
	for i := range more {
		s := sockets.Socket{State: sockets.CloseWait, Local: from, Information: sockets.Information{Retransmissions: 1}}
		s.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 443)
		c.count(&s, false)
	}
	if len(c.Routes) != censusEntries || len(c.Left) != censusEntries || len(c.Lossy) != censusEntries || !c.Crowded {
		t.Errorf("%d routes, %d left, %d lossy, %v", len(c.Routes), len(c.Left), len(c.Lossy), c.Crowded)
	}
	if c.States[sockets.CloseWait] != more {
		t.Errorf("%d counted", c.States[sockets.CloseWait])
	}
}

// BenchmarkCensus is what a connection from a client costs: nothing is allocated for it, as there may be a million.
func BenchmarkCensus(b *testing.B) {
	c := emptyCensus()
	s := sockets.Socket{
		State: sockets.Established, Local: netip.MustParseAddrPort("10.0.0.1:443"), Timer: sockets.KeepAliveTimer,
		Remote: netip.MustParseAddrPort("10.0.0.2:40000"), Expires: time.Minute,
	}
	b.ReportAllocs()
	for b.Loop() {
		c.count(&s, true)
	}
}
