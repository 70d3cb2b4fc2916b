package upstream

import (
	"net/netip"
	"time"
)

// Snapshot is the state of a group, for status pages and metrics. Its numbers were read one after the other while
// work went on.
type Snapshot struct {
	Name   string
	Policy string
	// Waiting are the wants that wait for a connection to become free.
	Waiting   int
	Counts    Counts
	Endpoints []EndpointSnapshot
}

// EndpointSnapshot is the state of one endpoint.
type EndpointSnapshot struct {
	// Address is "ip:port" or "unix:path"; Name is what it was configured as.
	Address, Name string
	// State is "up", "starting" (its share still grows), "down" (its checks fail), "ejected" (what was asked of it
	// failed) or "draining". Why says more.
	State, Why string
	Weight     int
	// Open are all connections, of which Idle and Leased; what is left is being made or on its way between threads.
	// Limit is how many there may be.
	Open, Idle, Leased, Limit int
	// Connected are the connections made, Failed those that could not be made, Broken the uses reported as failures.
	Connected, Failed, Broken uint64
	// Learned is its idle timeout as far as known, and IdleLimit after what time idle links are retired.
	Learned, IdleLimit time.Duration
	// Ports are the local ports towards it, one line for each source; none for Unix sockets.
	Ports []PortsSnapshot
}

// PortsSnapshot is the use of local ports from one source. Invalid is the source that the kernel chooses.
type PortsSnapshot struct {
	Source                    netip.Addr
	Open, Lingering, Capacity int
}

// Snapshot returns the group's state now.
func (g *Group) Snapshot() Snapshot {
	now := Snapshot{Name: g.options.Name, Policy: g.options.Policy.Name(), Waiting: int(g.waiting.Load())}
	g.mu.Lock()
	now.Counts = g.past
	for i := range g.agents {
		if a := g.agents[i].Load(); a != nil {
			a.tally.addTo(&now.Counts)
		}
	}
	g.mu.Unlock()
	for _, e := range g.set.Load().endpoints {
		now.Endpoints = append(now.Endpoints, e.snapshot())
	}
	return now
}

func (e *Endpoint) snapshot() EndpointSnapshot {
	s := EndpointSnapshot{
		Address: e.address, Name: e.name, Weight: int(e.weight.Load()),
		Open: int(e.open.Load()), Leased: int(e.busy.Load()), Limit: int(e.limit.Load()),
		Connected: e.connected.Load(), Failed: e.failed.Load(), Broken: e.broken.Load(),
		Learned: e.Learned(), IdleLimit: time.Duration(e.idleLimit.Load()) * time.Millisecond,
	}
	s.State, s.Why = e.state()
	for i := range e.shares {
		if share := e.shares[i].Load(); share != nil {
			s.Idle += int(share.idle.Load())
		}
	}
	for _, g := range e.gauges {
		open, lingering := g.usedLately()
		s.Ports = append(s.Ports, PortsSnapshot{g.source, open, lingering, kernelPorts().capacity})
	}
	return s
}
