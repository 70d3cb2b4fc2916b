package sys

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func openEthtool(t *testing.T) *Ethtool {
	t.Helper()
	e, err := OpenEthtool()
	if errors.Is(err, syscall.ENOENT) {
		t.Skip("the kernel speaks no ethtool over netlink")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// The loopback link is the one that every machine has: it segments and receives in batches, and it has no hardware.
func TestEthtoolOfLoopback(t *testing.T) {
	e := openEthtool(t)
	features, err := e.Features("lo")
	if err != nil {
		t.Fatal(err)
	}
	if segmentation := features["tx-tcp-segmentation"]; !segmentation.Active {
		t.Errorf("tx-tcp-segmentation: %+v of %v", segmentation, features)
	}
	if loopback := features["loopback"]; !loopback.Active || !loopback.Fixed {
		t.Errorf("loopback: %+v", loopback)
	}
	if _, err := e.Rings("lo"); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("rings: %v", err)
	}
	if _, err := e.Channels("lo"); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("channels: %v", err)
	}
	if _, err := e.Coalescing("lo"); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("coalescing: %v", err)
	}
	if _, err := e.Features("no-such-link"); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("features of nothing: %v", err)
	}
}

// What a card says must agree with itself; which cards there are, the machine decides.
func TestEthtoolOfCards(t *testing.T) {
	e := openEthtool(t)
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	rings := 0
	for _, link := range links {
		r, err := e.Rings(link.Name)
		if errors.Is(err, syscall.EOPNOTSUPP) {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", link.Name, err)
			continue
		}
		rings++
		if r.Receive == 0 || r.Receive > r.ReceiveMost || r.Send > r.SendMost {
			t.Errorf("%s: rings %+v", link.Name, r)
		}
		c, err := e.Channels(link.Name)
		if err == nil && (c.Combined > c.CombinedMost || c.Receive > c.ReceiveMost || c.Combined+c.Receive == 0) {
			t.Errorf("%s: channels %+v", link.Name, c)
		}
	}
	if rings == 0 {
		t.Skip("no link of this machine has rings")
	}
}

func TestAttributesThatAreCutShort(t *testing.T) {
	whole := AppendAttribute(AppendAttribute(nil, 1, []byte("abc")), 2|Nested, []byte{9})
	for n := range len(whole) + 1 {
		var got []uint16
		Attributes(whole[:n], func(kind uint16, value []byte) {
			got = append(got, kind)
			if kind == 1 && string(value) != "abc" || kind == 2 && value[0] != 9 {
				t.Errorf("%d bytes: attribute %d is %q", n, kind, value)
			}
		})
		want := 0
		if n >= 7 {
			want = 1
		}
		if n >= 13 {
			want = 2
		}
		if len(got) != want {
			t.Errorf("%d bytes: attributes %v", n, got)
		}
	}
	long := []byte{255, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if over, err := visitMessages(long, new(bool), nil); !over || err == nil {
		t.Errorf("a message longer than its datagram: %v, %v", over, err)
	}
}

func TestRootQdiscs(t *testing.T) {
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	roots, _, err := RootQdiscs()
	if err != nil {
		t.Fatal(err)
	}
	if roots[loopback.Index] == "" {
		t.Errorf("no discipline at the root of lo: %v", roots)
	}
}
