package main

import (
	"errors"
	"strings"

	"github.com/myriad-server/myriad/internal/config"
)

type proxyCommand struct {
	To []string `sep:"none" placeholder:"ADDR" help:"Where to pass on to, such as app.internal:8080 or unix:@app."`
	serverFlags
	TCP     bool   `name:"tcp" xor:"layer" help:"Pass on bytes without a look at them."`
	UDP     bool   `name:"udp" xor:"layer" help:"Pass on datagrams."`
	Balance string `placeholder:"POLICY" help:"How one of them is chosen, such as least_connections."`
	NoPool  bool   `help:"Make a connection for every request, and keep none."`
}

const nothingToProxy = `nowhere to proxy to: name one address or more, or a configuration, such as
    myriad proxy --to 127.0.0.1:9001 --to 127.0.0.1:9002
    myriad proxy --tcp --listen 127.0.0.1:5432 --to unix:/run/postgresql/.s.PGSQL.5432
    myriad proxy --config myriad.yaml`

// flagUpstream is the name of the upstream that --to makes.
const flagUpstream = "default"

// Run proxies until a signal.
func (p *proxyCommand) Run(c console) error {
	overrides, err := p.overrides()
	if err != nil {
		return usage(err)
	}
	return p.run(c, overrides)
}

// overrides is what the flags of this command alone say.
func (p *proxyCommand) overrides() ([]config.Override, error) {
	var overrides []config.Override
	add := func(flag, path string, value any) {
		overrides = append(overrides, config.Override{Flag: flag, Path: path, Value: value})
	}
	if len(p.To) == 0 && p.Config == "" && !p.sets("upstreams", "routes", "listeners") {
		return nil, errors.New(nothingToProxy)
	}
	protocol, upstream := config.HTTP, ""
	switch {
	case p.TCP:
		protocol, upstream = config.StreamTCP, flagUpstream
	case p.UDP:
		protocol, upstream = config.StreamUDP, flagUpstream
	}
	fallback := ""
	if len(p.To) > 0 && (p.Config == "" || protocol != config.HTTP) {
		fallback = "127.0.0.1:8080"
	}
	overrides = p.listeners(fallback, protocol, upstream)
	if len(p.To) > 0 {
		to := "--to " + strings.Join(p.To, " --to ")
		add(to, "upstreams."+flagUpstream, config.UpstreamTo(p.To...))
		if protocol == config.HTTP {
			add(to, "routes", []config.Route{config.ProxyRoute(flagUpstream)})
		}
	}
	if p.Balance != "" {
		add("--balance "+p.Balance, "upstreams."+flagUpstream+".balance", p.Balance)
	}
	if p.NoPool {
		add("--no-pool", "upstreams."+flagUpstream+".pool.enabled", "false")
	}
	return overrides, nil
}
