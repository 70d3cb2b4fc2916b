package loop

import (
	"net/netip"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
)

// TestDress asks the kernel what was set on a socket before it connects.
func TestDress(t *testing.T) {
	for _, c := range []struct {
		family int
		target conn.Target
		want   map[sys.Option]int // by level and name
	}{
		{family: sys.Inet4, target: conn.Target{}, want: map[sys.Option]int{
			{Level: sys.LevelTCP, Name: sys.NoDelay}:          1,
			{Level: sys.LevelSocket, Name: sys.KeepAlive}:     0,
			{Level: sys.LevelTCP, Name: sys.UserTimeout}:      0,
			{Level: sys.LevelIP, Name: sys.BindAddressNoPort}: 0,
		}},
		{family: sys.Inet4, target: conn.Target{
			Source: netip.MustParseAddr("127.0.0.7"), KeepAlive: 90 * time.Second, UserTimeout: 1500 * time.Millisecond,
		}, want: map[sys.Option]int{
			{Level: sys.LevelSocket, Name: sys.KeepAlive}:     1,
			{Level: sys.LevelTCP, Name: sys.KeepAliveIdle}:    90,
			{Level: sys.LevelTCP, Name: sys.UserTimeout}:      1500,
			{Level: sys.LevelIP, Name: sys.BindAddressNoPort}: 1,
		}},
		{family: sys.Inet6, target: conn.Target{Source: netip.IPv6Loopback()}, want: map[sys.Option]int{
			{Level: sys.LevelIP, Name: sys.BindAddressNoPort}: 1,
		}},
	} {
		fd, err := sys.Socket(c.family, sys.Stream, true)
		if err != nil {
			t.Logf("family %d is left out: %v", c.family, err)
			continue
		}
		if err := dress(fd, &c.target); err != nil {
			t.Fatalf("%+v: %v", c.target, err)
		}
		for o, want := range c.want {
			if got, err := sys.GetOption(fd, o); err != nil || got != want {
				t.Errorf("%+v: option %d of level %d is %d, not %d (%v)", c.target, o.Name, o.Level, got, want, err)
			}
		}
		local, err := sys.LocalAddress(fd)
		if err != nil || local.Port() != 0 || c.target.Source.IsValid() && local.Addr() != c.target.Source {
			t.Errorf("%+v: the socket is at %v before it connects (%v)", c.target, local, err)
		}
		_ = sys.Close(fd)
	}
}
