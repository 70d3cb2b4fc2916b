package app

import (
	"time"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/upstream"
)

// upstreamStatus is an upstream as the status document shows it.
type upstreamStatus struct {
	Name      string            `json:"name"`
	Policy    string            `json:"policy"`
	Waiting   int               `json:"waiting"` // requests that wait for a connection
	Endpoints []endpointStatus  `json:"endpoints"`
	Counts    map[string]uint64 `json:"counts"`
}

// endpointStatus is one endpoint.
type endpointStatus struct {
	Address     string       `json:"address"`
	Name        string       `json:"name"` // as it was configured
	State       string       `json:"state"`
	Why         string       `json:"why,omitempty"`
	Weight      int          `json:"weight"`
	Open        int          `json:"open"`
	Idle        int          `json:"idle"`
	Leased      int          `json:"leased"`
	Limit       int          `json:"limit,omitempty"` // none: there is no limit
	Connected   uint64       `json:"connected"`
	Failed      uint64       `json:"failed"`
	Broken      uint64       `json:"broken"`
	Learned     float64      `json:"learned_idle_seconds,omitempty"` // after which it ends idle connections
	IdleSeconds float64      `json:"idle_limit_seconds"`             // after which they are retired
	Ports       []portStatus `json:"ports,omitempty"`
}

// portStatus is the local ports in use from one source address.
type portStatus struct {
	Source    string `json:"source"`
	Open      int    `json:"open"`
	Lingering int    `json:"lingering"`
	Capacity  int    `json:"capacity"`
}

// upstreamStatuses looks at all upstreams.
func (a *App) upstreamStatuses() []upstreamStatus {
	var all []upstreamStatus
	for _, t := range targets(a.now().plan.Config) {
		all = append(all, statusOf(a.now().upstreams[t.name].Snapshot()))
	}
	return all
}

func statusOf(s upstream.Snapshot) upstreamStatus {
	made := upstreamStatus{
		Name: s.Name, Policy: s.Policy, Waiting: s.Waiting, Endpoints: []endpointStatus{}, Counts: map[string]uint64{},
	}
	for _, counter := range upstream.Counters() {
		made.Counts[counter.String()] = s.Counts[counter]
	}
	for _, e := range s.Endpoints {
		endpoint := endpointStatus{
			Address: e.Address, Name: e.Name, State: e.State, Why: e.Why, Weight: e.Weight,
			Open: e.Open, Idle: e.Idle, Leased: e.Leased, Limit: e.Limit,
			Connected: e.Connected, Failed: e.Failed, Broken: e.Broken,
			Learned: seconds(e.Learned), IdleSeconds: seconds(e.IdleLimit),
		}
		if endpoint.Limit == countOf(config.Unlimited) {
			endpoint.Limit = 0
		}
		for _, p := range e.Ports {
			source := "any"
			if p.Source.IsValid() {
				source = p.Source.String()
			}
			endpoint.Ports = append(endpoint.Ports, portStatus{source, p.Open, p.Lingering, p.Capacity})
		}
		made.Endpoints = append(made.Endpoints, endpoint)
	}
	return made
}

func seconds(d time.Duration) float64 { return d.Truncate(time.Millisecond).Seconds() }
