package app

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/web"
)

// configured is the default configuration changed by lines as --set takes them.
func configured(t *testing.T, lines ...string) *config.Config {
	t.Helper()
	overrides := []config.Override{{Flag: "test", Path: "routes", Value: []config.Route{config.RespondRoute("hello")}}}
	for _, line := range lines {
		overrides = append(overrides, config.SetFlag(line))
	}
	c, _, err := Known().Load("", overrides)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func planned(t *testing.T, h Host, lines ...string) *Plan {
	t.Helper()
	p, err := NewPlan(configured(t, lines...), h)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanLoopsAndAccept(t *testing.T) {
	for _, test := range []struct {
		name   string
		lines  []string
		loops  int
		accept serve.Accept
	}{
		{"a loop for each processor", nil, 4, serve.ReusePort},
		{"as many loops as said", []string{"engine.loops=3"}, 3, serve.ReusePort},
		{"one acceptor", []string{"engine.accept=acceptor"}, 4, serve.OneAcceptor},
		{"a listener that does not share", []string{"listeners[0].reuseport=false"}, 4, serve.OneAcceptor},
		{
			"one loop needs no sharing",
			[]string{"listeners[0].reuseport=false", "engine.loops=1", "engine.accept=reuseport"},
			1, serve.ReusePort,
		},
		{
			"a unix socket is shared in another way",
			[]string{"listeners=[{address: 'unix:@a', reuseport: false}]"},
			4, serve.ReusePort,
		},
		{"a model without loops", []string{"engine.model=thread"}, 0, serve.ReusePort},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := planned(t, roomy(), append(test.lines, "engine.driver=auto")...)
			if p.Loops != test.loops || p.Accept != test.accept {
				t.Errorf("%d loops, accept %s; want %d and %s", p.Loops, p.Accept, test.loops, test.accept)
			}
		})
	}
	c := configured(t, "listeners[0].reuseport=false", "engine.accept=reuseport")
	if _, err := NewPlan(c, roomy()); err == nil || !strings.Contains(err.Error(), "listeners[0].reuseport is false") {
		t.Errorf("two keys that exclude each other: %v", err)
	}
}

// TestMostLoops holds the bound of engine.loops against what a process can have: no more is planned, and no less may be
// asked for.
func TestMostLoops(t *testing.T) {
	large := roomy()
	large.Processors = 4 * loop.MaxLoops
	if p := planned(t, large); p.Loops != loop.MaxLoops {
		t.Errorf("auto is %d loops with %d processors, want %d", p.Loops, large.Processors, loop.MaxLoops)
	}
	if p := planned(t, large, fmt.Sprint("engine.loops=", loop.MaxLoops)); p.Loops != loop.MaxLoops {
		t.Errorf("%d loops are planned, want %d", p.Loops, loop.MaxLoops)
	}
	over := []config.Override{config.SetFlag(fmt.Sprint("engine.loops=", loop.MaxLoops+1))}
	_, _, err := Known().Load("", over)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("write at most ", loop.MaxLoops)) {
		t.Errorf("more loops than a process can have: %v", err)
	}
}

// TestKnown holds what a configuration is checked with against what there is.
func TestKnown(t *testing.T) {
	known := Known()
	if want := []string{"single", "thread", "goroutine", "workpool"}; !sameSet(known.Loopless, want) {
		t.Errorf("the models without loops are %v, not %v", known.Loopless, want)
	}
	for _, name := range config.Methods() {
		if _, ok := web.MethodNamed(name); !ok {
			t.Errorf("%s can be configured, and not be served", name)
		}
	}
	for m := range http1.Method(32) {
		if _, ok := web.MethodNamed(m.String()); ok && !slices.Contains(config.Methods(), m.String()) {
			t.Errorf("%s can be served, and not be configured", m)
		}
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

func TestPlanDriver(t *testing.T) {
	for _, test := range []struct {
		lines []string
		name  string
		want  driver.Options
	}{
		{[]string{"engine.driver=epoll", "engine.trigger=level"}, "epoll", driver.Options{Level: true}},
		{[]string{"engine.driver=rtsig", "engine.signal=per_descriptor"}, "rtsig", driver.Options{PerDescriptor: true}},
		{[]string{"engine.driver=sweep", "engine.sweep=1ms"}, "sweep", driver.Options{Sweep: time.Millisecond}},
		{[]string{"engine.model=goroutine"}, "runtime", driver.Options{}},
		{[]string{"engine.model=thread"}, "blocking", driver.Options{}},
	} {
		p := planned(t, roomy(), test.lines...)
		if test.want.Sweep == 0 {
			test.want.Sweep = 10 * time.Millisecond
		}
		if diff := cmp.Diff(test.want, p.driverOptions()); diff != "" || p.DriverName() != test.name {
			t.Errorf("%v gives %s %s", test.lines, p.DriverName(), diff)
		}
	}
}

func TestPlanWarns(t *testing.T) {
	small := roomy()
	small.Descriptors = 4000
	for _, test := range []struct {
		name  string
		host  Host
		lines []string
		want  string // empty: nothing
	}{
		{"nothing", roomy(), nil, ""},
		{"an unused driver", roomy(), []string{"engine.model=thread", "engine.driver=epoll"}, "is not used"},
		{"more than can be held", small, []string{"engine.driver=epoll", "limits.connections=9999"}, "is 9999"},
		{"direct without uring", roomy(), []string{"engine.driver=epoll", "engine.direct=always"}, "uring driver"},
		{
			"sessions of datagrams", small,
			[]string{`listeners=[{address: "udp://:1", protocol: udp, to: [a:1]}]`, "engine.driver=epoll"},
			"2000 sessions of datagrams, not for 4096",
		},
		{"large caches", small, []string{"routes=[{files: {root: .}}]", "engine.driver=epoll"}, "1000 descriptors, not 4096"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := planned(t, test.host, test.lines...)
			warnings := p.Warnings
			for _, unused := range p.Unused {
				warnings = append(warnings, unused.Error())
			}
			if test.want == "" && len(warnings) > 0 ||
				test.want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], test.want)) {
				t.Errorf("the warnings are %q, want one with %q", warnings, test.want)
			}
		})
	}
}

func TestCachesShareWhatThereIs(t *testing.T) {
	small := roomy()
	small.Descriptors = 4000
	p := planned(t, small, "engine.driver=epoll", `routes=[
		{prefix: /a, files: {root: ., precompressed: [], cache: {entries: 3000}}},
		{files: {root: ., precompressed: [gzip], cache: {entries: 500}}}]`)
	a, b := p.cacheEntries(p.Config.Routes[0].Files), p.cacheEntries(p.Config.Routes[1].Files)
	if a != 750 || b != 125 {
		t.Errorf("%d and %d entries, want 750 and 125: 4000 descriptors wanted, 1000 to be had", a, b)
	}
	if p := planned(t, roomy(), "routes=[{files: {root: .}}]"); p.cacheEntries(p.Config.Routes[0].Files) != 1024 {
		t.Error("a cache was cut without need")
	}
}

func TestSpec(t *testing.T) {
	whole := `listeners=[{address: "127.0.0.1:80", backlog: 7, send_buffer: 8KiB, receive_buffer: 16KiB, nodelay: false,
		keepalive: {enabled: true, idle: 9s, interval: 8s, count: 7}, user_timeout: 6s, defer_accept: 5s, fast_open: 4,
		reuseport: true, v6only: true, mode: 0600}]`
	usual := listen.KeepAlive{On: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}
	for _, test := range []struct {
		name   string
		line   string
		shared bool
		want   listen.Spec
	}{
		{"everything", whole, false, listen.Spec{
			Network: "tcp", Address: netip.MustParseAddrPort("127.0.0.1:80"), Backlog: 7, SendBuffer: 8 << 10,
			ReceiveBuffer: 16 << 10, UserTimeout: 6 * time.Second, DeferAccept: 5 * time.Second, FastOpen: 4,
			KeepAlive:  listen.KeepAlive{On: true, Idle: 9 * time.Second, Interval: 8 * time.Second, Count: 7},
			Congestion: "reno", ReusePort: true, V6Only: true, Mode: 0o600,
		}},
		{"system's congestion control", `listeners=[{address: "127.0.0.1:80", congestion: system}]`, false, listen.Spec{
			Network: "tcp", Address: netip.MustParseAddrPort("127.0.0.1:80"), Backlog: 4096, NoDelay: true, KeepAlive: usual,
			Mode: 0o660,
		}},
		{"shared", `listeners=[{address: ":80"}]`, true, listen.Spec{
			Network: "tcp", Address: netip.MustParseAddrPort("[::]:80"), Backlog: 4096, NoDelay: true, KeepAlive: usual,
			ReusePort: true, Mode: 0o660,
		}},
		{"unix", `listeners=[{address: "unix:/run/a.sock", reuseport: true}]`, true, listen.Spec{
			Network: "unix", Name: "/run/a.sock", Backlog: 4096, NoDelay: true, KeepAlive: usual, Mode: fs.FileMode(0o660),
		}},
		{"udp", `listeners=[{address: "udp://127.0.0.1:9", protocol: echo, reuseport: false}]`, true, listen.Spec{
			Network: "udp", Address: netip.MustParseAddrPort("127.0.0.1:9"), Backlog: 4096, NoDelay: true, KeepAlive: usual,
			Mode: 0o660,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := configured(t, test.line)
			compare := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
			if diff := cmp.Diff(test.want, specOf(&c.Listeners[0], test.shared), compare); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	p := planned(t, roomy(), "limits.connections=11", "engine.loops=2", "engine.workers=3", "engine.queue=4",
		"engine.block=32KiB", "engine.blocks=64", "limits.output_per_connection=1MiB", "timeouts.drain=0s")
	want := serve.Limits{
		Loops: 2, Workers: 3, Queue: 4, Connections: 11, BlockBytes: 32 << 10, Blocks: 64, OutputBytes: 1 << 20, Drain: 1,
	}
	if diff := cmp.Diff(want, p.limits()); diff != "" {
		t.Error(diff)
	}
}

func TestSite(t *testing.T) {
	p := planned(t, roomy(), `listeners=[{address: "127.0.0.1:0"}, {address: "unix:@myriad-site", protocol: echo},
		{address: "udp://127.0.0.1:0", protocol: discard}]`)
	a, err := New(p, Options{Log: discarding})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.site.Validate(); err != nil {
		t.Error(err)
	}
	var networks []string
	for i, l := range a.site.Listeners {
		networks = append(networks, l.Network)
		if (l.Datagram != nil) != (i == 2) {
			t.Errorf("listener %s takes datagrams or connections, but not the right ones", l.Name)
		}
	}
	if !slices.Equal(networks, []string{"tcp", "unix", "udp"}) {
		t.Errorf("the networks are %v", networks)
	}
}

func TestExamine(t *testing.T) {
	h, err := Examine()
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int64{
		"processors": int64(h.Processors), "descriptors": h.Descriptors, "files": h.Files, "memory": h.MemoryBytes,
		"threads": h.Threads, "signals": h.Signals, "backlog": h.Backlog,
	} {
		if n < 1 {
			t.Errorf("%s is %d", name, n)
		}
	}
}
