package bus_test

import (
	"net/netip"
	"testing"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/sys"
)

// TestLetter reads what was sealed, twice, as two children do.
func TestLetter(t *testing.T) {
	type secret struct {
		At    netip.AddrPort
		Token string
	}
	want := secret{netip.MustParseAddrPort("127.0.0.1:4222"), "hush"}
	f, err := bus.Seal(want)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for range 2 {
		fd, err := sys.Duplicate(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		var got secret
		if err := bus.Unseal(fd, &got); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if f, err := bus.Seal(make([]byte, 64<<10)); err == nil {
		_ = f.Close()
		t.Error("a letter may be of any length")
	}
}

// TestReservation has a server come, go and come again at an address that is kept, and nobody else in between.
func TestReservation(t *testing.T) {
	r, err := bus.Reserve(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		s := serve(t, bus.ServerOptions{Listen: r.Address, Token: "hush"})
		if s.URL() != "nats://"+r.Address.String() {
			t.Errorf("it listens at %s", s.URL())
		}
		connect(t, bus.Options{URLs: []string{s.URL()}, Token: "hush"}).Close()
		s.Close()
		other, err := bus.Reserve(netip.AddrPortFrom(r.Address.Addr(), 0))
		if err != nil {
			t.Fatal(err)
		}
		if other.Address == r.Address {
			t.Error("the address is kept for two")
		}
		other.Close()
	}
}
