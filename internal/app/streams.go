package app

import (
	"iter"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/stream"
)

// streamHandler makes the handlers of a listener that passes connections on.
func (g *generation) streamHandler(l *config.Listener, where string) (func() conn.Handler, error) {
	group, err := g.group(l.Upstream, where)
	if err != nil {
		return nil, err
	}
	o := g.sessionOptions(l)
	o.Group = group
	made, err := stream.NewTCP(o)
	if err != nil {
		return nil, err
	}
	g.streams = append(g.streams, sessions{listener: l.Address.String(), counts: made.Counts})
	return made.Handler, nil
}

// datagramHandler makes the handlers of a listener that passes datagrams on.
func (g *generation) datagramHandler(l *config.Listener, where string) (func() conn.DatagramHandler, error) {
	group, err := g.group(l.Upstream, where)
	if err != nil {
		return nil, err
	}
	u := g.timesOf(l)
	o := stream.UDPOptions{
		Name:     l.Address.String(),
		Group:    group,
		Idle:     time.Duration(u.Datagrams),
		Lifetime: time.Duration(u.Lifetime),
		Sessions: g.plan.sessions(l),
		Evict:    l.Datagrams.Evict,
		Answers:  int(l.Datagrams.Answers),
		Log:      g.options.Log,
	}
	if l.PerClient != config.Unlimited {
		o.PerClient = int(l.PerClient)
	}
	if g.access != nil {
		o.Records = g.access.Sessions()
	}
	made, err := stream.NewUDP(o)
	if err != nil {
		return nil, err
	}
	g.streams = append(g.streams, sessions{listener: l.Address.String(), counts: made.Counts, datagrams: made})
	g.closers = append(g.closers, func() error { // before the access log, which was opened first
		made.Finish()
		return nil
	})
	return made.Handler, nil
}

// timesOf are the timeouts of the upstream of a listener.
func (g *generation) timesOf(l *config.Listener) config.UpstreamTimeouts {
	u, named := g.plan.Config.Upstreams[l.Upstream]
	if !named {
		u = config.UpstreamTo()
	}
	return u.Timeouts
}

// sessionOptions is what the configuration says of the sessions of a listener.
func (g *generation) sessionOptions(l *config.Listener) stream.TCPOptions {
	u := g.timesOf(l)
	o := stream.TCPOptions{
		Name:       l.Address.String(),
		Idle:       time.Duration(u.Tunnel),
		Lifetime:   time.Duration(u.Lifetime),
		HeaderTime: time.Duration(g.plan.Config.Timeouts.Head),
		Accept:     acceptedHeader[l.ProxyProtocol.Accept],
		Send:       sentHeader[l.ProxyProtocol.Send],
		Log:        g.options.Log,
	}
	for _, subnet := range l.ProxyProtocol.Trusted {
		o.Trusted = append(o.Trusted, subnet.Prefix)
	}
	if l.PerClient != config.Unlimited {
		o.PerClient = int(l.PerClient)
	}
	if g.access != nil {
		o.Records = g.access.Sessions()
	}
	return o
}

var acceptedHeader = map[config.ProxyAccept]stream.Header{
	config.ProxyAcceptOff: stream.NoHeader,
	config.ProxyAcceptV1:  stream.HeaderV1,
	config.ProxyAcceptV2:  stream.HeaderV2,
	config.ProxyAcceptAny: stream.AnyHeader,
}

var sentHeader = map[config.ProxySend]stream.Header{
	config.ProxySendOff: stream.NoHeader,
	config.ProxySendV1:  stream.HeaderV1,
	config.ProxySendV2:  stream.HeaderV2,
}

// sessions is what a listener that passes on has counted.
type sessions struct {
	listener  string
	counts    func() stream.Counts
	datagrams *stream.UDP // nil: it passes on bytes
}

// Datagrams yields the listeners that pass datagrams on, by their addresses, for whoever lists their sessions.
func (a *App) Datagrams() iter.Seq2[string, *stream.UDP] {
	return func(yield func(string, *stream.UDP) bool) {
		for _, of := range a.now().streams {
			if of.datagrams != nil && !yield(of.listener, of.datagrams) {
				return
			}
		}
	}
}

// streamStatus is a listener that passes on, as the status document shows it: the sessions of one by their names.
type streamStatus struct {
	Listener string           `json:"listener"`
	Counts   map[string]int64 `json:"counts"`
}

func (a *App) streamStatuses() []streamStatus {
	var all []streamStatus
	for _, of := range a.now().streams {
		counts, numbers := of.counts(), make(map[string]int64)
		for name, n := range counts.All() {
			numbers[name.String()] = n
		}
		all = append(all, streamStatus{of.listener, numbers})
	}
	return all
}
