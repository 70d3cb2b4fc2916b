package rate_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/myriad-server/myriad/web/rate"
)

// clock is a time that stands still until it is moved.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func limiter(t interface {
	Helper()
	Fatal(...any)
}, c *clock, o rate.Options,
) *rate.Limiter {
	t.Helper()
	if c.Time.IsZero() {
		c.Time = time.Unix(1_000_000, 0)
	}
	if o.Clients == 0 {
		o.Clients = 1000
	}
	o.Now = c.now
	l, err := rate.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var ann, bob = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")

// TestLimit has clients make requests at will. No more than the limit are admitted in a window, and who waits as long
// as it is told is admitted.
func TestLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most, c := rapid.IntRange(1, 20).Draw(t, "most"), new(clock)
		const per = time.Second
		l := limiter(t, c, rate.Options{Requests: most, Per: per})
		admitted := map[int64]int{}
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			c.Time = c.Add(time.Duration(rapid.Int64Range(0, int64(per/5)).Draw(t, "pause")))
			wait := l.Admit(ann)
			if wait > 0 && rapid.Bool().Draw(t, "waits") {
				if wait > 2*per {
					t.Fatalf("it is to wait for %v", wait)
				}
				c.Time = c.Add(wait)
				if more := l.Admit(ann); more > 0 {
					t.Fatalf("after %v it is to wait for another %v", wait, more)
				}
				wait = 0
			}
			if wait == 0 {
				window := c.UnixNano() / int64(per)
				if admitted[window]++; admitted[window] > most {
					t.Fatalf("%d of %d are admitted in a window", admitted[window], most)
				}
			}
		}
	})
}

// TestClients knows clients by their address, of IPv6 by its first half, and does not bound who has none.
func TestClients(t *testing.T) {
	l := limiter(t, new(clock), rate.Options{Requests: 1, Per: time.Second})
	for _, c := range []struct {
		address netip.Addr
		waits   bool
	}{
		{ann, false},
		{ann, true},
		{netip.MustParseAddr("::ffff:192.0.2.1"), true},
		{netip.MustParseAddr("192.0.2.2"), false},
		{bob, false},
		{netip.MustParseAddr("2001:db8::2"), true},
		{netip.MustParseAddr("2001:db8:0:1::1"), false},
		{netip.Addr{}, false},
		{netip.Addr{}, false},
	} {
		if wait := l.Admit(c.address); wait > 0 != c.waits {
			t.Errorf("%v is to wait for %v", c.address, wait)
		}
	}
	if l.Refused() != 3 {
		t.Errorf("%d were refused", l.Refused())
	}
}

// TestRoom has more clients than are remembered: they are admitted, and remembered when others are old.
func TestRoom(t *testing.T) {
	c := new(clock)
	l := limiter(t, c, rate.Options{Requests: 1, Per: time.Second, Clients: 64})
	for i := range 1000 {
		if wait := l.Admit(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})); wait > 0 {
			t.Fatalf("client %d is to wait for %v", i, wait)
		}
	}
	if n := l.Uncounted(); n < 1000-64 {
		t.Errorf("%d were not counted", n)
	}
	before := l.Uncounted()
	c.Time = c.Add(3 * time.Second)
	for range 2 {
		l.Admit(ann)
	}
	if l.Uncounted() != before || l.Refused() != 1 {
		t.Errorf("%d were not counted, %d refused", l.Uncounted()-before, l.Refused())
	}
}

// TestShared has three processes tell each other.
func TestShared(t *testing.T) {
	c := new(clock)
	var all [3]*rate.Limiter
	for i := range all {
		all[i] = limiter(t, c, rate.Options{Requests: 9, Per: time.Second, Shared: true})
	}
	for _, l := range all {
		for range 3 {
			if wait := l.Admit(ann); wait > 0 {
				t.Fatalf("it is to wait for %v", wait)
			}
		}
		l.Admit(bob)
	}
	for i, l := range all {
		const few = 20 // one client at a time
		var told []byte
		for p := l.Told(nil, few); len(p) > 0; p = l.Told(nil, few) {
			told = append(told, p...)
		}
		if len(told) != 2*few {
			t.Errorf("%d bytes are told of two clients", len(told))
		}
		for j, other := range all {
			if j != i {
				other.Heard(told)
			}
		}
	}
	for i, l := range all {
		if l.Admit(ann) == 0 {
			t.Errorf("limiter %d does not know of the others", i)
		}
		if l.Admit(bob) > 0 {
			t.Errorf("limiter %d counts too much", i)
		}
		l.Heard([]byte("short")) // of another version, perhaps
	}
}

// TestRefusedOptions looks at limits that are none.
func TestRefusedOptions(t *testing.T) {
	for _, o := range []rate.Options{
		{Per: time.Second, Clients: 100},
		{Requests: 1, Clients: 100},
		{Requests: 1, Per: time.Second},
	} {
		if _, err := rate.New(o); err == nil || !strings.Contains(err.Error(), "rate") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestAllocates nothing for a client that is known, shared or not.
func TestAllocates(t *testing.T) {
	l := limiter(t, new(clock), rate.Options{Requests: 100, Per: time.Second, Shared: true})
	told := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(1000, func() { l.Admit(ann); told = l.Told(told[:0], 100) }); n > 0 {
		t.Errorf("%v allocations for a request", n)
	}
}

func BenchmarkAdmit(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprint("shared=", shared), func(b *testing.B) {
			l, err := rate.New(rate.Options{Requests: 1 << 30, Per: time.Second, Clients: 1000, Shared: shared})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				l.Admit(ann)
			}
		})
	}
}
