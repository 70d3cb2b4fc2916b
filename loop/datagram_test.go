package loop_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
)

// sizes notes how long the datagrams are that come.
type sizes struct{ seen []int }

func (s *sizes) Datagram(_ conn.Datagrams, _ netip.AddrPort, p []byte) {
	s.seen = append(s.seen, len(p))
}

// TestLongDatagramsAreDropped sends datagrams around the size of a block, which the kernel cuts: those that are too
// long do not arrive at all, are counted, and are spoken of once in a while.
func TestLongDatagramsAreDropped(t *testing.T) {
	const block, longest = 256, 256 - 176
	kernel := sim.New(sim.Options{Seed: 1})
	pool, err := buf.NewPool(block, 64, buf.Heap)
	if err != nil {
		t.Fatal(err)
	}
	d, err := kernel.Open(driver.Options{Blocks: pool, Ops: 64})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	var set meter.Set
	l, err := loop.New(loop.Options{
		Driver: d, Blocks: pool, Meter: &set, Connections: 1, OutputBytes: 1 << 20, Clock: kernel.Clock,
		Log: slog.New(slog.NewTextHandler(&text, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := kernel.ListenDatagrams()
	if err != nil {
		t.Fatal(err)
	}
	got := &sizes{}
	if err := l.ListenDatagrams(socket.Descriptor(), got, false); err != nil {
		t.Fatal(err)
	}
	var want []int
	dropped := 0
	for i, size := range []int{0, longest, longest + 1, block - 84, block - 1, block, block + 1, 60_000, 1, longest + 2} {
		at := time.Duration(i+1) * time.Second
		if i == 9 {
			at = 20 * time.Second // another line is due
		}
		kernel.After(at, func() { socket.Send(netip.AddrPortFrom(netip.IPv4Unspecified(), 9), make([]byte, size)) })
		if size <= longest {
			want = append(want, size)
		} else {
			dropped++
		}
	}
	kernel.After(30*time.Second, func() { l.Stop(false) })
	if err := l.Run(); err != nil {
		t.Fatal(err)
	}
	set.Publish()
	counts := set.Snapshot()
	if !slices.Equal(got.seen, want) || counts[meter.Truncated] != int64(dropped) || counts[meter.BytesIn] != longest+1 {
		t.Errorf("%v arrived, not %v; %d dropped, %d bytes", got.seen, want, counts[meter.Truncated], counts[meter.BytesIn])
	}
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	for i, n := range []int{1, dropped} {
		wanted := fmt.Sprintf("longest=%d dropped=%d ", longest, n)
		if len(lines) != 2 || !strings.Contains(lines[i], wanted) {
			t.Errorf("the log is\n%s\nwithout %q", &text, wanted)
		}
	}
	if n := pool.Lent(); n != 0 {
		t.Errorf("%d blocks are missing", n)
	}
}
