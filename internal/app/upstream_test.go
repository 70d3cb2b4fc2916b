package app

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/stream"
	"github.com/myriad-server/myriad/upstream"
)

// proxying is a configuration of upstreams, routes and listeners, as a file has them.
const (
	someUpstreams = `upstreams={web: {to: [127.0.0.1:1]}, data: {to: [127.0.0.1:2]}, names: {to: [127.0.0.1:3]}, ` +
		`spare: {to: [127.0.0.1:4]}, both: {to: [127.0.0.1:5]}}`
	someListeners = `listeners=[{address: ":80"}, {address: ":81", protocol: tcp, upstream: data}, ` +
		`{address: "udp://:82", protocol: udp, upstream: names}, {address: ":83", protocol: tcp, upstream: both}, ` +
		`{address: ":84", protocol: tcp, to: [127.0.0.1:6]}]`
	someRoutes = `routes=[{path: /a, proxy: {upstream: web}}, {path: /b, proxy: {to: [127.0.0.1:7]}}, ` +
		`{path: /c, proxy: {upstream: both}}]`
)

func TestTargets(t *testing.T) {
	c := configured(t, someUpstreams, someListeners, someRoutes)
	got := make(map[string]string)
	var names []string
	for _, target := range targets(c) {
		policy, err := balanceOf(&target)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, target.name)
		got[target.name] = target.config.To[0].String() + " " + policy.Name()
	}
	want := map[string]string{
		"web": "127.0.0.1:1 round_robin", "data": "127.0.0.1:2 least_connections", "names": "127.0.0.1:3 maglev",
		"both": "127.0.0.1:5 least_connections", "listeners[4]": "127.0.0.1:6 least_connections",
		"routes[1]": "127.0.0.1:7 round_robin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.Equal(names, []string{"both", "data", "names", "web", "listeners[4]", "routes[1]"}) {
		t.Errorf("the order is %v", names)
	}
}

func TestGroupOptions(t *testing.T) {
	var all []target
	for _, to := range []string{
		`upstreams.a={to: ["http://[::1]:1", "unix://@b"], balance: random}`,
		`upstreams.a={endpoints: [{address: "a.internal:1", weight: 3, connections: 7}, {address: "b:1"}], key: client,
		   pool: {min: 1, max: 5, idle: 3, idle_timeout: 2s, max_age: 3s, share: false}, queue: {limit: 9, timeout: 8s},
		   timeouts: {connect: 7s}, slow_start: 6s, keepalive: off, user_timeout: 4s, sources: [127.0.0.2],
		   health: {http: {path: /well}, interval: 10s, timeout: 9s, rise: 8, fall: 7},
		   eject: {failures: off}, resolve: {min: 6s, max: 16s, ipv6: true}}`,
	} {
		all = append(all, targets(configured(t, to, "routes=[{proxy: {upstream: a}}]"))...)
	}
	first, err := groupOptions(&all[0])
	if err != nil {
		t.Fatal(err)
	}
	want := []upstream.EndpointOptions{{Address: "[::1]:1"}, {Address: "unix:@b"}}
	if diff := cmp.Diff(want, first.Endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	if e := first.Eject; first.Policy.Name() != "random" || e == nil || e.Failures != 5 || e.Share != 50 ||
		first.Pool.Off || first.Pool.Max < 1<<30 || first.Health != nil || first.KeepAlive != time.Minute {
		t.Errorf("got %+v", first)
	}
	second, err := groupOptions(&all[1])
	if err != nil {
		t.Fatal(err)
	}
	whole := upstream.Options{
		Name: "a", Policy: second.Policy,
		Endpoints: []upstream.EndpointOptions{
			{Address: "a.internal:1", Weight: 3, Connections: 5}, {Address: "b:1", Weight: 1, Connections: 5},
		},
		Pool: upstream.PoolOptions{
			Alone: true, Min: 1, Max: 5, MaxIdle: 3, IdleTimeout: 2 * time.Second, MaxAge: 3 * time.Second,
		},
		Queue:          upstream.QueueOptions{Limit: 9, Timeout: 8 * time.Second},
		ConnectTimeout: 7 * time.Second, SlowStart: 6 * time.Second, UserTimeout: 4 * time.Second,
		Sources: []netip.Addr{netip.MustParseAddr("127.0.0.2")},
		Health: &upstream.HealthOptions{
			Path: "/well", Interval: 10 * time.Second, Timeout: 9 * time.Second, Rise: 8, Fall: 7,
		},
		Resolve: upstream.ResolveOptions{Min: 6 * time.Second, Max: 16 * time.Second, IPv6: true},
	}
	compared := cmp.Options{cmpopts.IgnoreUnexported(upstream.Options{}), cmpopts.EquateComparable(netip.Addr{})}
	if diff := cmp.Diff(whole, second, compared); diff != "" || second.Policy.Name() != "maglev" {
		t.Errorf("%s (-want +got):\n%s", second.Policy.Name(), diff)
	}
}

func TestUpstreamConnections(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  int
	}{
		{nil, 0},
		{[]string{"upstreams.a={to: [a:1, b:1], pool: {max: 10}}", "routes=[{proxy: {upstream: a}}]"}, 20},
		{
			[]string{
				"upstreams.a={endpoints: [{address: a:1, connections: 3}, {address: b:1}], pool: {max: 10}}",
				"routes=[{proxy: {upstream: a}}]",
			},
			13,
		},
		{[]string{"routes=[{proxy: {to: [a:1]}}]"}, 1<<31 - 1},
		{[]string{`listeners=[{address: "udp://:1", protocol: udp, to: [a:1]}]`}, 0},
	} {
		if got := demandOf(planned(t, roomy(), test.lines...)).Upstream; got != test.want {
			t.Errorf("%v: %d, want %d", test.lines, got, test.want)
		}
	}
}

// sessionOptions of a listener, and those of its datagrams, come from three places of the configuration.
func TestSessionOptions(t *testing.T) {
	c := configured(t, `upstreams.a={to: [a:1], timeouts: {tunnel: 3s, lifetime: unlimited}}`,
		`listeners=[{address: ":80", protocol: tcp, upstream: a, per_client: 4,
		   proxy_protocol: {accept: any, send: v1, trusted: [10.0.0.0/8]}}, {address: ":81", protocol: tcp, to: [a:1]}]`,
		"timeouts.head=2s")
	g := &generation{App: &App{options: Options{Log: slog.New(slog.DiscardHandler)}}, plan: &Plan{Config: c}}
	got := g.sessionOptions(&c.Listeners[0])
	if got.Idle != 3*time.Second || got.Lifetime != stream.Unlimited || got.HeaderTime != 2*time.Second ||
		got.PerClient != 4 || got.Accept != stream.AnyHeader || got.Send != stream.HeaderV1 ||
		len(got.Trusted) != 1 || got.Trusted[0].String() != "10.0.0.0/8" {
		t.Errorf("got %+v", got)
	}
	got = g.sessionOptions(&c.Listeners[1])
	if got.Idle != time.Hour || got.PerClient != 0 || got.Accept != stream.NoHeader || got.Send != stream.NoHeader {
		t.Errorf("got %+v", got)
	}
}

func TestUnknownUpstream(t *testing.T) {
	g := &generation{plan: planned(t, roomy())}
	if _, err := g.group("", "routes[0]"); err == nil || !strings.Contains(err.Error(), "routes[0]") {
		t.Errorf("got %v", err)
	}
	broken := &target{name: "a", config: config.UpstreamTo("a:1")}
	broken.config.Balance = "dice"
	if _, err := groupOptions(broken); err == nil {
		t.Error("an unknown policy makes a group")
	}
}

func TestLimitsLeaveRoomForUpstreams(t *testing.T) {
	host := roomy()
	host.Descriptors = 20_000
	for _, test := range []struct {
		lines []string
		want  int
	}{
		{[]string{"engine.driver=epoll", "engine.loops=2"}, 20_000 - reserve},
		// Half of them are clients, and half of them upstreams.
		{[]string{"engine.driver=epoll", "engine.loops=2", "routes=[{proxy: {to: [a:1]}}]"}, 20_000 - reserve},
		{[]string{"engine.loops=2", "limits.connections=100", "routes=[{proxy: {to: [a:1]}}]"}, 200},
		{
			[]string{
				"engine.loops=2", "limits.connections=100", "upstreams.a={to: [a:1], pool: {max: 10}}",
				"routes=[{proxy: {upstream: a}}]",
			},
			110,
		},
	} {
		if got := planned(t, host, test.lines...).limits().Connections; got != test.want {
			t.Errorf("%v: %d connections, want %d", test.lines, got, test.want)
		}
	}
}
