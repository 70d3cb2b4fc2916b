package load

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/sys"
)

// keep runs a keeper whose tables are small, until its connections are made.
func keep(t *testing.T, p *Plan, limit uint64) *keeper {
	t.Helper()
	k, err := newKeeper(p, limit, false)
	if err != nil {
		t.Fatal(err)
	}
	go k.run(t.Context())
	<-k.made
	var lacks sys.RingLacks
	if why := sys.RingsDisabled(); why > 0 || errors.As(k.why, &lacks) {
		close(k.leave)
		<-k.over
		t.Skipf("direct descriptors need io_uring of Linux 6.11 or newer, allowed by kernel.io_uring_disabled: %v", k.why)
	}
	return k
}

// TestKeeper holds more connections than there are descriptors, in three tables.
func TestKeeper(t *testing.T) {
	server := web(t, good)
	p := server.plan(t, "http")
	p.Connections, p.Idle = 8, 250
	k := keep(t, &p, 100)
	if k.standing.Load() != 250 || k.lost != 0 || len(k.tables) != 3 || server.asked.Load() != 250 {
		t.Errorf("%d stand, %d are lost (%v), in %d tables; the server was asked %d times", k.standing.Load(), k.lost,
			k.why, len(k.tables), server.asked.Load())
	}
	if c := census(&p, 250); !c.Proven {
		t.Errorf("%s", c)
	}
	close(k.leave)
	<-k.over
	if c := census(&p, 0); c.Client != 0 {
		t.Errorf("after the end: %s", c)
	}
}

// TestKeeperLosses has a server answer some of them badly.
func TestKeeperLosses(t *testing.T) {
	server := web(t, func(w io.Writer, r *http.Request, n int64) error {
		if n%10 == 0 {
			return say("", errHangUp)(w, r, n)
		}
		return good(w, r, n)
	})
	p := server.plan(t, "http")
	p.Idle = 150
	k := keep(t, &p, 100)
	if k.standing.Load() != 135 || k.lost != 15 || !strings.HasPrefix(k.cause(), "idle connection: ") {
		t.Errorf("%d stand, %d are lost: %s", k.standing.Load(), k.lost, k.cause())
	}
	close(k.leave)
	<-k.over
}

func TestKeeperFaults(t *testing.T) {
	local := Target{Scheme: "http", Address: netip.MustParseAddrPort("127.0.0.1:1"), URI: "/"}
	for _, c := range []struct {
		name string
		plan Plan
		want string
	}{
		{"fits", Plan{Target: local, Connections: 10, Idle: 20}, ""},
		{"at work", Plan{Target: local, Connections: 200}, "only idle ones do without"},
		{"unix", Plan{Target: Target{Scheme: "unix", Path: "/x"}, Idle: 200}, "only TCP over IPv4"},
		{
			"sources",
			Plan{Target: local, Idle: 250, Sources: []netip.Addr{netip.MustParseAddr("127.0.0.9")}},
			"need 3 source addresses",
		},
	} {
		k, err := newKeeper(&c.plan, 100, true)
		switch {
		case c.want == "" && (k != nil || err != nil):
			t.Errorf("%s: %v, %v", c.name, k, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", c.name, err)
		}
	}
	k := keeper{plan: &Plan{Idle: 1 << 40}, local: true}
	if err := k.enoughMemory(); err == nil || !strings.Contains(err.Error(), "of memory") {
		t.Errorf("%v", err)
	}
}
