package app

import (
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/stream"
	"github.com/myriad-server/myriad/web"
)

// front is a listener as it is served, and the same one as the generations serve it in turn.
type front struct {
	config *config.Listener
	where  string // what its upstream is called that has no name
	group  *listen.Group
	number int   // the site's
	more   []int // further ones: the sockets of seats of other workers that are gone
	seats  []int // which these are
	web    *webFront
	tcp    *stream.TCP
	udp    *stream.UDP
	of     any // what tcp, udp or the handlers are made of
}

// listener makes what a model listens on. The socket is opened when the model asks for it.
func (g *generation) listener(i int) (*front, serve.Listener, error) {
	l := &g.plan.Config.Listeners[i]
	spec := specOf(l, g.plan.Accept == serve.ReusePort && g.plan.Loops > 1)
	f := &front{config: l, where: listenerName(i), group: listen.NewGroup(spec), number: i}
	given, err := g.givenGroup(i, spec)
	switch {
	case err == nil:
		f.group = given
	case g.options.Worker:
		return nil, serve.Listener{}, err
	}
	made := serve.Listener{
		Name: l.Address.String(), Network: string(l.Address.Network), Open: f.group.Open, Closed: f.group.Closed,
	}
	made.Alone = f.group.Lent()
	if spec.ReusePort && l.ReusePort == config.Auto && given == nil {
		made.Open = alone(spec, f.group)
	}
	err = nil
	switch {
	case l.Protocol == config.StreamUDP:
		made.Datagram, err = g.datagramHandler(f)
	case l.Address.Network == config.UDP:
		made.Datagram = plainDatagrams(l)
	default:
		made.Handler, err = g.handlers(f)
	}
	if err == nil {
		g.fronts = append(g.fronts, f)
	}
	return f, made, err
}

// plainDatagrams are what answers datagrams that are not passed on.
func plainDatagrams(l *config.Listener) func() conn.DatagramHandler {
	if l.Protocol == config.Echo {
		return func() conn.DatagramHandler { return echo{} }
	}
	return func() conn.DatagramHandler { return discard{} }
}

// handlers are what serves the connections of a listener.
func (g *generation) handlers(f *front) (func() conn.Handler, error) {
	switch f.config.Protocol {
	case config.StreamTCP:
		return g.streamHandler(f)
	case config.Echo:
		return g.plainHandler(func(p *plain) conn.Handler { return &echoStream{plain: *p} }), nil
	case config.Discard:
		return g.plainHandler(func(p *plain) conn.Handler { return &discardStream{plain: *p} }), nil
	}
	f.web = g.webFront()
	return f.web.handler, nil
}

// specOf describes the listening socket.
func specOf(l *config.Listener, shared bool) listen.Spec {
	s := listen.Spec{
		Network:       string(l.Address.Network),
		Name:          l.Address.Path,
		Backlog:       l.Backlog,
		SendBuffer:    int(l.SendBuffer),
		ReceiveBuffer: int(l.ReceiveBuffer),
		NoDelay:       l.NoDelay,
		KeepAlive: listen.KeepAlive{
			On: l.KeepAlive.Enabled, Idle: time.Duration(l.KeepAlive.Idle),
			Interval: time.Duration(l.KeepAlive.Interval), Count: l.KeepAlive.Count,
		},
		UserTimeout: time.Duration(l.UserTimeout),
		DeferAccept: time.Duration(l.DeferAccept),
		FastOpen:    int(l.FastOpen),
		ReusePort:   l.ReusePort == config.Yes || l.ReusePort == config.Auto && shared,
		V6Only:      l.V6Only,
		Mode:        fs.FileMode(l.Mode),
	}
	switch {
	case l.Address.Network != config.Unix:
		s.Address = l.Address.AddrPort()
	case l.Protocol == config.StreamUDP:
		s.Network, s.ReusePort = "unixgram", false
	default:
		s.ReusePort = false
	}
	s.Congestion = congestion(l.Congestion, s)
	return s
}

// congestion is the congestion control that a listener's key asks for; empty is the kernel's default. Control that
// paces, as BBR does, costs timers: on the loopback interface that is twice the processor time of a large transfer,
// for a path that cannot be congested. See docs/adr/0003.
func congestion(key string, s listen.Spec) string {
	switch {
	case key == "system":
		return ""
	case key != "auto":
		return key
	case s.Network == "tcp" && s.Address.Addr().IsLoopback():
		return "reno" // the one that every kernel has and lets everybody use
	}
	return ""
}

// alone makes sure that nobody else listens on the address before the first of our own sockets that share it is
// opened: SO_REUSEPORT would let a second server of the same user in without a word, and half of the requests would
// go to each. The socket that finds it out is closed at once; a client that comes in this moment, before the server
// has said that it is there, is reset.
func alone(s listen.Spec, group *listen.Group) func(int) (int, error) {
	return func(worker int) (int, error) {
		if worker == 0 && s.Address.Port() != 0 {
			lone := s
			lone.ReusePort = false
			socket, err := listen.Open(lone)
			if err != nil {
				return -1, err
			}
			if err := sys.Close(socket.FD); err != nil {
				return -1, fmt.Errorf("listen on %s: %w", s, err)
			}
		}
		return group.Open(worker)
	}
}

// webFront is the servers of one listener. Each loop gets a server of its own, because the counters of a server are
// shared by its handlers, and what two loops count in one place they pay for. Models without loops, which make handlers
// by the thousand, share a few.
type webFront struct {
	servers   []atomic.Pointer[web.Server]
	latencies []*meter.Histogram
	next      atomic.Uint32
}

func (g *generation) webFront() *webFront {
	n := max(g.plan.Loops, sharedServers)
	f := &webFront{servers: make([]atomic.Pointer[web.Server], n)}
	for i := range n {
		f.latencies = append(f.latencies, new(meter.Histogram))
		s := g.server(f.latencies[i])
		g.counters.Add(s.Counts)
		f.servers[i].Store(s)
	}
	g.sight.watch(f.latencies)
	return f
}

// handler makes one more handler.
func (f *webFront) handler() conn.Handler {
	return f.servers[int(f.next.Add(1)-1)%len(f.servers)].Load().Handler()
}

// replace has the servers of another generation answer from now on.
func (f *webFront) replace(g *generation) {
	for i := range f.servers {
		next := g.server(f.latencies[i])
		f.servers[i].Load().Replace(next)
		f.servers[i].Store(next)
	}
}

// sharedServers is how many servers the handlers of a model without loops share.
const sharedServers = 8

// server is the web server of the configuration.
func (g *generation) server(latencies *meter.Histogram) *web.Server {
	c := g.plan.Config
	s := &web.Server{
		Root: g.root,
		Limits: web.Limits{
			HeadBytes: int(c.Limits.Head), TargetBytes: int(c.Limits.Target), Fields: c.Limits.Fields,
			BodyBytes: int64(c.Limits.Body), Requests: c.Limits.RequestsPerConnection,
			OutputBytes: int64(c.Limits.OutputPerConnection),
		},
		Timeouts: web.Timeouts{
			Head: time.Duration(c.Timeouts.Head), Body: time.Duration(c.Timeouts.Body),
			Idle: time.Duration(c.Timeouts.Idle), Write: time.Duration(c.Timeouts.Write),
			Request: time.Duration(c.Timeouts.Request), Linger: time.Duration(c.Timeouts.Linger),
		},
		Name:     c.Server.Name,
		Panicked: g.panicked,
	}
	if g.access != nil {
		s.Log, s.LogSample = g.access, c.AccessLog.Sample
	}
	s.LargestBody = largestBody(c)
	s.AnyMethod = proxies(c)
	s.Started = g.prewarm
	g.attend(s, latencies)
	if c.Limits.Body == 0 {
		s.Limits.BodyBytes = -1 // none at all, where zero would be the default
	}
	if c.Timeouts.Linger == 0 {
		s.Timeouts.Linger = -1
	}
	return s
}
