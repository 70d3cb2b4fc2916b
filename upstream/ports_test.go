package upstream

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// withPorts has the kernel have so many ports.
func withPorts(t *testing.T, p portRange) {
	before := kernelPorts
	kernelPorts = func() portRange { return p }
	t.Cleanup(func() { kernelPorts = before })
}

func TestCountPorts(t *testing.T) {
	for _, c := range []struct {
		span, reserved string
		want           int
	}{
		{"32768\t60999", "", 28232},
		{"1000 1099", "1000,1050-1059", 89},
		{"1000 1099", "1-999,1099-65535", 99},
		{"1000 1000", "1000", 1},
		{"", "", 28232},
	} {
		if got := countPorts(c.span, c.reserved); got != c.want {
			t.Errorf("%q without %q are %d ports, want %d", c.span, c.reserved, got, c.want)
		}
	}
	if n := kernelPorts().capacity; n < 1 || n > 65535 {
		t.Errorf("this kernel has %d ports", n)
	}
}

func TestLingeringOfPorts(t *testing.T) {
	near, far := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		reuse     int
		near, far time.Duration
	}{{0, time.Minute, time.Minute}, {1, time.Second, time.Second}, {2, time.Second, time.Minute}} {
		p := portRange{reuse: c.reuse}
		if n, f := p.lingering(near), p.lingering(far); n != c.near || f != c.far {
			t.Errorf("tcp_tw_reuse %d: %v and %v", c.reuse, n, f)
		}
	}
}

// TestGauge compares a gauge with a list of when each port began to linger.
func TestGauge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keeps := rapid.SampledFrom([]time.Duration{time.Second, lingers}).Draw(t, "keeps")
		width := int64(keeps) / lingerSteps
		g := &gauge{width: width}
		now, open := int64(0), 0
		var lingering []int64 // the step each began in
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) {
				now += rapid.Int64Range(0, int64(rapid.SampledFrom([]time.Duration{
					time.Second / 2, 10 * time.Second, 3 * time.Minute,
				}).Draw(t, "about"))).Draw(t, "time")
			},
			"take": func(*rapid.T) {
				if g.take(now, 1000) {
					open++
				}
			},
			"give": func(t *rapid.T) {
				if open == 0 {
					t.Skip("none is open")
				}
				lingers := rapid.Bool().Draw(t, "lingers")
				g.give(now, lingers)
				open--
				if lingers {
					lingering = append(lingering, now/width)
				}
			},
			"": func(t *rapid.T) {
				want := 0
				for _, step := range lingering {
					if now/width-step <= lingerSteps {
						want++
					}
				}
				if o, l := g.used(now); o != open || l != want {
					t.Fatalf("%d open and %d lingering; want %d and %d", o, l, open, want)
				}
			},
		})
	})
}

func TestPortGuard(t *testing.T) {
	withPorts(t, portRange{capacity: 4})
	m := newMachine(1)
	var sources []netip.Addr
	for _, text := range []string{"10.9.0.1", "10.9.0.2", "fd00::1"} {
		sources = append(sources, netip.MustParseAddr(text))
	}
	g, err := New(Options{Sources: sources, Endpoints: []EndpointOptions{{Address: "10.2.0.1:80"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	a := g.Agent(m.threads[0])
	from := map[netip.Addr]int{}
	var all []*user
	for range 8 {
		u := granted(t, a)
		from[u.line().target.Source]++
		all = append(all, u)
	}
	if from[sources[0]] != 4 || from[sources[1]] != 4 {
		t.Errorf("connections by source: %v", from)
	}
	u := want(a)
	var ports *PortsError
	if !errors.Is(u.err, ErrNoPorts) || !errors.As(u.err, &ports) {
		t.Fatalf("denied with %v", u.err)
	}
	for _, part := range []string{
		ports.Source.String(), "10.2.0.1:80", "4 open, 0 lingering, of 4", "ip_local_port_range",
	} {
		if !strings.Contains(ports.Error(), part) {
			t.Errorf("%q does not say %q", ports, part)
		}
	}
	// A link that we close first leaves its port for a minute; one that the endpoint ended does not.
	a.Release(all[0].link, false)
	m.turn()
	if u := want(a); !errors.Is(u.err, ErrNoPorts) {
		t.Errorf("a lingering port was used: %v", u.err)
	}
	ended := all[1].line()
	ended.end()
	a.Release(all[1].link, false)
	m.turn()
	granted(t, a)
	m.pass(62 * time.Second)
	granted(t, a)
	s := g.Snapshot()
	if p := s.Endpoints[0].Ports; len(p) != 2 || p[0].Open+p[1].Open != 8 || p[0].Lingering != 0 || p[0].Capacity != 4 {
		t.Errorf("the gauges are %+v", p)
	}
	expect(t, g, map[Counter]uint64{DeniedNoPorts: 2})
}

func TestKernelHasNoPorts(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Eject: &EjectOptions{Failures: 1}})
	u := want(g.Agent(m.threads[0]))
	m.conns[0].fail(syscall.EADDRNOTAVAIL)
	var ports *PortsError
	if !errors.As(u.err, &ports) || !ports.Kernel || !strings.Contains(u.err.Error(), "the kernel has no more") {
		t.Errorf("denied with %v", u.err)
	}
	if s := g.Snapshot().Endpoints[0]; s.State != "up" || s.Failed != 0 {
		t.Errorf("it is held against the endpoint: %+v", s)
	}
}

func TestAnotherEndpointHasPorts(t *testing.T) {
	withPorts(t, portRange{capacity: 1})
	m := newMachine(1)
	g, err := New(Options{Endpoints: []EndpointOptions{{Address: "10.3.0.1:80"}, {Address: "unix:@there"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for range 6 {
		granted(t, g.Agent(m.threads[0]))
	}
	if s := g.Snapshot().Endpoints; s[0].Open != 1 || s[1].Open != 5 || s[1].Ports != nil {
		t.Errorf("there are %d and %d connections", s[0].Open, s[1].Open)
	}
}

func TestGaugesAreSharedAndDropped(t *testing.T) {
	before := len(gauges.of)
	m := newMachine(1)
	o := Options{Endpoints: []EndpointOptions{{Address: "10.4.0.1:80"}}}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	u := granted(t, g.Agent(m.threads[0]))
	if p := other.Snapshot().Endpoints[0].Ports[0]; p.Open != 1 {
		t.Errorf("another group to the same destination sees %d ports", p.Open)
	}
	u.link.Conn.Abort(nil)
	m.turn()
	g.Close()
	other.Close()
	if after := len(gauges.of); after != before {
		t.Errorf("%d gauges, %d before", after, before)
	}
}
