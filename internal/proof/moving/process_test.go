// Package moving has connections of every kind go from one server to another and back, in the middle of what they say.
package moving

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/serve/reactor"
	"github.com/myriad-server/myriad/serve/servetest"
	"github.com/myriad-server/myriad/stream"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/route"
	"github.com/myriad-server/myriad/web/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take that is going to happen.
const patience = 30 * time.Second

// The listeners of a process, by number.
const (
	webListener = iota
	streamListener
	listeners
)

// process is what a process of the product would be: a model with its own groups, counters and logs. The two of a test
// share nothing but what they hand to each other.
type process struct {
	serve.Steering
	t         *testing.T
	addresses [listeners]netip.AddrPort
	streams   *stream.TCP
	groups    []*upstream.Group
	tunnels   proxy.TunnelCounters
	stop      func()

	mu      sync.Mutex
	records []stream.Record
	ended   []proxy.TunnelRecord
}

// Log keeps the records of sessions, and LogTunnel those of tunnels.
func (p *process) Log(r *stream.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records = append(p.records, *r)
}

func (p *process) LogTunnel(r *proxy.TunnelRecord) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = append(p.ended, *r)
}

// echoes is a WebSocket service that sends every message back, with its number on the connection.
type echoes struct{ socket.Defaults }

func (echoes) Opened(c *socket.Conn) { c.Attach(byte(0)) }

func (echoes) Message(c *socket.Conn, opcode ws.Opcode, p []byte) {
	n := c.Attached().(byte)
	c.Attach(n + 1)
	_ = c.Send(opcode, append([]byte{'a' + n%26}, p...))
}

func (echoes) Pack(c *socket.Conn, state []byte) ([]byte, bool) {
	return append(state, c.Attached().(byte)), true
}

func (echoes) Unpack(c *socket.Conn, state []byte) error {
	if len(state) != 1 {
		return conn.ErrState
	}
	c.Attach(state[0])
	return nil
}

// start begins a process in front of a server of streams and one of upgrades.
func start(t *testing.T, f driver.Factory, direct bool, streams, upgrades string) *process {
	t.Helper()
	p := &process{t: t}
	var err error
	p.streams, err = stream.NewTCP(stream.TCPOptions{Group: p.group("streams", streams), Records: p})
	if err != nil {
		t.Fatal(err)
	}
	passes, err := proxy.New(proxy.Options{Group: p.group("upgrades", upgrades), Tunnels: p, Counters: &p.tunnels})
	if err != nil {
		t.Fatal(err)
	}
	root, err := route.New(
		route.Route{Path: "/hello", Handler: web.HandlerFunc(func(x *web.Exchange) { x.Reply(x.Query()) })},
		route.Route{Path: "/ws", Handler: socket.New(echoes{}, socket.Options{Deflate: &ws.Deflate{Keep: true}})},
		route.Route{Path: "/tunnel", Handler: passes},
	)
	if err != nil {
		t.Fatal(err)
	}
	server := &web.Server{Root: root}
	site := servetest.Site()
	site.Driver, site.Limits.Loops, site.Limits.Drain = f, 2, patience
	site.Options.Direct = direct
	site.Steer = func(s serve.Steering) { p.Steering = s }
	var opened []*listen.Group
	for _, h := range []func() conn.Handler{webListener: server.Handler, streamListener: p.streams.Handler} {
		spec, err := listen.Parse("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		spec.ReusePort, spec.NoDelay = true, true
		g := listen.NewGroup(spec)
		opened = append(opened, g)
		site.Listeners = append(site.Listeners, serve.Listener{
			Name: "moving", Network: "tcp", Open: g.Open, Closed: g.Closed, Handler: h,
		})
	}
	p.run(&site)
	for i, g := range opened {
		p.addresses[i] = g.Spec().Address
	}
	return p
}

// run serves until stop.
func (p *process) run(site *serve.Site) {
	ready, ended := make(chan struct{}), make(chan error, 1)
	site.Ready = func() { close(ready) }
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- reactor.New().Serve(ctx, site) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := await(p.t, ended, "the end of a process"); err != nil {
			p.t.Error(err)
		}
		for _, g := range p.groups {
			g.Close()
		}
	})
	p.t.Cleanup(p.stop)
	await(p.t, ready, "the start of a process")
}

// group is the servers at one address.
func (p *process) group(name, address string) *upstream.Group {
	g, err := upstream.New(upstream.Options{
		Name: name, Policy: balance.RoundRobin{}, Endpoints: []upstream.EndpointOptions{{Address: address}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.groups = append(p.groups, g)
	return g
}

// leased is how many connections to servers are in use.
func (p *process) leased() (n int) {
	for _, g := range p.groups {
		for _, e := range g.Snapshot().Endpoints {
			n += e.Leased
		}
	}
	return n
}

// await takes the next value, which must come in time.
func await[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("%s: nothing came", what)
	}
	return v
}

// pair is two processes that hand their connections to each other.
type pair struct {
	t    *testing.T
	all  [2]*process
	over chan struct{} // closed when clients are to end
	sent uint64        // by clients of streams

	mu    sync.Mutex
	heard sync.Cond // one of the clients was answered
}

// depart has the connections of one go to the other, until n have arrived.
func (two *pair) depart(from, n int) {
	two.t.Helper()
	parcels := make(chan *conn.Parcel, 1024)
	stop, err := two.all[from].Depart(serve.Departure{
		Room: func() int { return cap(parcels) / 4 }, Take: func(p *conn.Parcel) { parcels <- p },
	})
	if err != nil {
		two.t.Fatal(err)
	}
	for range n {
		p := await(two.t, parcels, "a connection that leaves")
		if err := two.all[1-from].Arrive(p); err != nil {
			two.t.Errorf("a connection of listener %d is refused: %v", p.Listener, err)
		}
	}
	stop()
}
