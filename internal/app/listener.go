package app

import (
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/web"
)

// listener makes what a model listens on. The socket is opened when the model asks for it.
func (g *generation) listener(i int) (serve.Listener, error) {
	l := &g.plan.Config.Listeners[i]
	spec := specOf(l, g.plan.Accept == serve.ReusePort && g.plan.Loops > 1)
	group := listen.NewGroup(spec)
	g.groups = append(g.groups, group)
	made := serve.Listener{
		Name: l.Address.String(), Network: string(l.Address.Network), Open: group.Open, Closed: group.Closed,
	}
	if spec.ReusePort && l.ReusePort == config.Auto {
		made.Open = alone(spec, group)
	}
	udp := l.Address.Network == config.UDP
	var err error
	switch {
	case l.Protocol == config.StreamTCP:
		made.Handler, err = g.streamHandler(l, listenerName(i))
	case l.Protocol == config.StreamUDP:
		made.Datagram, err = g.datagramHandler(l, listenerName(i))
	case udp && l.Protocol == config.Echo:
		made.Datagram = func() conn.DatagramHandler { return echo{} }
	case udp:
		made.Datagram = func() conn.DatagramHandler { return discard{} }
	case l.Protocol == config.Echo:
		made.Handler = g.plainHandler(func(p *plain) conn.Handler { return &echoStream{plain: *p} })
	case l.Protocol == config.Discard:
		made.Handler = g.plainHandler(func(p *plain) conn.Handler { return &discardStream{plain: *p} })
	default:
		made.Handler = g.webHandler()
	}
	return made, err
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

// webHandler makes the handlers of one listener. Each loop gets a server of its own, because the counters of a server
// are shared by its handlers, and what two loops count in one place they pay for. Models without loops, which make
// handlers by the thousand, share a few.
func (g *generation) webHandler() func() conn.Handler {
	servers := make([]*web.Server, max(g.plan.Loops, sharedServers))
	for i := range servers {
		servers[i] = g.server()
		g.counters.Add(servers[i].Counts)
	}
	var next atomic.Uint32
	return func() conn.Handler { return servers[int(next.Add(1)-1)%len(servers)].Handler() }
}

// sharedServers is how many servers the handlers of a model without loops share.
const sharedServers = 8

// server is the web server of the configuration.
func (g *generation) server() *web.Server {
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
	g.attend(s)
	if c.Limits.Body == 0 {
		s.Limits.BodyBytes = -1 // none at all, where zero would be the default
	}
	if c.Timeouts.Linger == 0 {
		s.Timeouts.Linger = -1
	}
	return s
}
