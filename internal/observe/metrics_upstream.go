package observe

import "github.com/myriad-server/myriad/upstream"

var (
	ofUpstream = []string{"upstream"}
	ofEndpoint = []string{"upstream", "endpoint"}
	ofState    = []string{"upstream", "endpoint", "state"}
	ofPorts    = []string{"upstream", "endpoint", "source", "state"}
)

// others is the name of the endpoints that have no lines of their own.
const others = "others"

// states are those of endpoints.
var states = []string{"up", "starting", "down", "ejected", "draining"}

func (s series) upstreams(all []upstream.Snapshot) {
	left := mostEndpoints
	for i := range all {
		u := &all[i]
		s.gauge("upstream_waiting", "Requests that wait for a connection.", float64(u.Waiting), ofUpstream, u.Name)
		for _, c := range upstream.Counters() {
			s.counter("upstream_"+c.String()+"_total", c.Help(), float64(u.Counts[c]), ofUpstream, u.Name)
		}
		var rest endpoints
		for j := range u.Endpoints {
			if left == 0 {
				rest.add(&u.Endpoints[j])
				continue
			}
			left--
			one := endpoints{name: u.Endpoints[j].Address}
			one.add(&u.Endpoints[j])
			s.endpoints(u.Name, &one)
		}
		if rest.in != nil {
			rest.name = others
			s.endpoints(u.Name, &rest)
		}
	}
}

// endpoints is one endpoint, or several added up.
type endpoints struct {
	name                      string
	in                        map[string]int // by state: how many
	open, idle, leased        int
	connected, failed, broken uint64
	ports                     []ports
}

// ports is the use of local ports from one source.
type ports struct {
	source                string
	open, lingering, free int
}

func (e *endpoints) add(one *upstream.EndpointSnapshot) {
	if e.in == nil {
		e.in = make(map[string]int)
	}
	e.in[one.State]++
	e.open, e.idle, e.leased = e.open+one.Open, e.idle+one.Idle, e.leased+one.Leased
	e.connected, e.failed, e.broken = e.connected+one.Connected, e.failed+one.Failed, e.broken+one.Broken
	for i, p := range one.Ports {
		source := "any"
		if p.Source.IsValid() {
			source = p.Source.String()
		}
		if i == len(e.ports) {
			e.ports = append(e.ports, ports{source: source})
		}
		to := &e.ports[i] // all endpoints of an upstream are reached from the same sources
		to.open, to.lingering = to.open+p.Open, to.lingering+p.Lingering
		to.free += max(p.Capacity-p.Open-p.Lingering, 0)
	}
}

func (s series) endpoints(of string, e *endpoints) {
	for _, state := range states {
		s.gauge("upstream_endpoints", "Endpoints, by state.", float64(e.in[state]), ofState, of, e.name, state)
	}
	for _, use := range []struct {
		state string
		n     int
	}{{"idle", e.idle}, {"leased", e.leased}, {"opening", max(e.open-e.idle-e.leased, 0)}} {
		s.gauge("upstream_connections", "Connections to an endpoint: idle in the pool, leased to a request, or opening.",
			float64(use.n), ofState, of, e.name, use.state)
	}
	s.counter("upstream_endpoint_connected_total", "Connections made to an endpoint.", float64(e.connected),
		ofEndpoint, of, e.name)
	s.counter("upstream_endpoint_failed_total", "Connections to an endpoint that could not be made.", float64(e.failed),
		ofEndpoint, of, e.name)
	s.counter("upstream_endpoint_broken_total", "Exchanges with an endpoint that failed.", float64(e.broken),
		ofEndpoint, of, e.name)
	for _, p := range e.ports {
		for _, use := range []struct {
			state string
			n     int
		}{{"open", p.open}, {"lingering", p.lingering}, {"free", p.free}} {
			s.gauge("upstream_ports", "Local ports towards an endpoint: in use, not free again yet, and left.",
				float64(use.n), ofPorts, of, e.name, p.source, use.state)
		}
	}
}
