package app

import (
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/stream"
)

// streamHandler makes the handlers of a listener that passes connections on.
func (a *App) streamHandler(l *config.Listener, where string) (func() conn.Handler, error) {
	group, err := a.group(l.Upstream, where)
	if err != nil {
		return nil, err
	}
	o := a.sessionOptions(l)
	o.Group = group
	made, err := stream.NewTCP(o)
	if err != nil {
		return nil, err
	}
	a.streams = append(a.streams, sessions{l.Address.String(), made.Counts})
	return made.Handler, nil
}

// sessionOptions is what the configuration says of the sessions of a listener.
func (a *App) sessionOptions(l *config.Listener) stream.TCPOptions {
	c := a.plan.Config
	u, named := c.Upstreams[l.Upstream]
	if !named {
		u = config.UpstreamTo()
	}
	o := stream.TCPOptions{
		Name:       l.Address.String(),
		Idle:       timeOf(u.Timeouts.Tunnel),
		Lifetime:   timeOf(u.Timeouts.Lifetime),
		HeaderTime: timeOf(config.DurationOrUnlimited(c.Timeouts.Head)),
		Accept:     acceptedHeader[l.ProxyProtocol.Accept],
		Send:       sentHeader[l.ProxyProtocol.Send],
		Log:        a.options.Log,
	}
	for _, subnet := range l.ProxyProtocol.Trusted {
		o.Trusted = append(o.Trusted, subnet.Prefix)
	}
	if l.PerClient != config.Unlimited {
		o.PerClient = int(l.PerClient)
	}
	if a.access != nil {
		o.Records = a.access.Sessions()
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
	listener string
	counts   func() stream.Counts
}

// streamStatus is a listener that passes on, as the status document shows it: the sessions of one by their names.
type streamStatus struct {
	Listener string           `json:"listener"`
	Counts   map[string]int64 `json:"counts"`
}

func (a *App) streamStatus() []streamStatus {
	var all []streamStatus
	for _, of := range a.streams {
		counts, numbers := of.counts(), make(map[string]int64)
		for name, n := range counts.All() {
			numbers[name.String()] = n
		}
		all = append(all, streamStatus{of.listener, numbers})
	}
	return all
}
