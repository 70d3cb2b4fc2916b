package app

import (
	"iter"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/stream"
)

// streamHandler makes the handlers of a listener that passes connections on.
func (g *generation) streamHandler(f *front) (func() conn.Handler, error) {
	group, err := g.group(f.config.Upstream, f.where)
	if err != nil {
		return nil, err
	}
	o := g.sessionOptions(f.config)
	o.Group = group
	f.of = o
	if f.tcp == nil {
		f.tcp, err = stream.NewTCP(o)
	} else {
		f.tcp, err = f.tcp.Successor(o)
	}
	if err != nil {
		return nil, err
	}
	return f.tcp.Handler, nil
}

// datagramHandler makes the handlers of a listener that passes datagrams on.
func (g *generation) datagramHandler(f *front) (func() conn.DatagramHandler, error) {
	o, err := g.datagramOptions(f)
	if f.of = o; err == nil {
		f.udp, err = stream.NewUDP(o)
	}
	if err != nil {
		return nil, err
	}
	return f.udp.Handler, nil
}

// datagramOptions is what the configuration says of the datagrams of a listener.
func (g *generation) datagramOptions(f *front) (stream.UDPOptions, error) {
	l := f.config
	group, err := g.group(l.Upstream, f.where)
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
	return o, err
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

// Datagrams yields the listeners that pass datagrams on, by their addresses, for whoever lists their sessions.
func (a *App) Datagrams() iter.Seq2[string, *stream.UDP] {
	return func(yield func(string, *stream.UDP) bool) {
		for _, f := range a.now().fronts {
			if f.udp != nil && !yield(f.config.Address.String(), f.udp) {
				return
			}
		}
	}
}

// sessions yields what the listeners that pass on have counted, by their addresses.
func (a *App) sessions() iter.Seq2[string, stream.Counts] {
	return func(yield func(string, stream.Counts) bool) {
		for _, f := range a.now().fronts {
			var counts stream.Counts
			switch {
			case f.tcp != nil:
				counts = f.tcp.Counts()
			case f.udp != nil:
				counts = f.udp.Counts()
			default:
				continue
			}
			if !yield(f.config.Address.String(), counts) {
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
	for listener, counts := range a.sessions() {
		numbers := make(map[string]int64)
		for name, n := range counts.All() {
			numbers[name.String()] = n
		}
		all = append(all, streamStatus{listener, numbers})
	}
	return all
}
