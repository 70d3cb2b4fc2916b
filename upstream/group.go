package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
)

// Endpoint is one server of a group. All its methods may be called from any goroutine.
type Endpoint struct {
	address string
	target  conn.Target
}

// Address is the endpoint's "ip:port" or "unix:path".
func (e *Endpoint) Address() string { return e.address }

// ID tells endpoints apart, for sticky cookies: the same address has the same in every process.
func (e *Endpoint) ID() uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(e.address) {
		hash = (hash ^ uint64(e.address[i])) * 1099511628211
	}
	return hash
}

// Target is where to connect to, for what is not dialled by an agent, such as datagrams.
func (e *Endpoint) Target() *conn.Target { return &e.target }

// KeepAliveHint tells what the endpoint said about its idle timeout, in a header Keep-Alive: timeout=N.
func (e *Endpoint) KeepAliveHint(seconds int) {}

// Group is a set of endpoints, shared by all threads of control. All its methods may be called from any goroutine.
type Group struct {
	options   Options
	endpoints []*Endpoint
	picker    balance.Picker
}

// New makes a group. Its checks run until Close.
func New(o Options) (*Group, error) {
	g := &Group{options: o}
	if o.Policy == nil {
		g.options.Policy = balance.RoundRobin{}
	}
	if len(o.Endpoints) == 0 {
		return nil, errors.New("upstream: a group needs an endpoint")
	}
	if err := g.SetEndpoints(o.Endpoints); err != nil {
		return nil, err
	}
	return g, nil
}

// SetEndpoints replaces the endpoints. The links of those that stay are not touched; those that go are drained.
func (g *Group) SetEndpoints(list []EndpointOptions) error {
	var members []balance.Member
	var endpoints []*Endpoint
	for _, o := range list {
		e := &Endpoint{address: o.Address}
		if path, ok := strings.CutPrefix(o.Address, "unix:"); ok {
			e.target.Path = path
		} else {
			a, err := netip.ParseAddrPort(o.Address)
			if err != nil {
				return fmt.Errorf("upstream: %w", err)
			}
			e.target.Address = a
		}
		endpoints = append(endpoints, e)
		members = append(members, balance.Member{Name: o.Address, Weight: o.Weight})
	}
	g.endpoints, g.picker = endpoints, g.options.Policy.Build(members)
	return nil
}

// Endpoint returns the endpoint with that ID, or nil.
func (g *Group) Endpoint(id uint64) *Endpoint {
	for _, e := range g.endpoints {
		if e.ID() == id {
			return e
		}
	}
	return nil
}

// Snapshot is the state of a group, for status pages.
type Snapshot struct{ Name string }

// Snapshot returns the group's state now.
func (g *Group) Snapshot() Snapshot { return Snapshot{Name: g.options.Name} }

// Close ends the group's checks. Idle links are closed, and nothing is granted any more.
func (g *Group) Close() {}

// Agent is the group on the thread of control of d; the same one each time for the same thread. It must be called on
// that thread.
func (g *Group) Agent(d conn.Dialer) *Agent { return &Agent{group: g, dialer: d} }
