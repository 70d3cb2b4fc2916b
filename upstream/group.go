package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
)

// Group is a set of endpoints, shared by all threads of control. All its methods may be called from any goroutine.
type Group struct {
	options Options

	set     atomic.Pointer[set]
	agents  [maxAgents]atomic.Pointer[Agent]
	running atomic.Int32 // agents
	top     atomic.Int32 // one more than the highest number of an agent
	waiting atomic.Int64 // wants in the queues of all agents
	closed  atomic.Bool

	context context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup // checks and look-ups

	mu      sync.Mutex
	wishes  []EndpointOptions
	names   map[string]*name
	past    Counts // of agents whose thread has ended
	repeats repeats
	changed bool // SetEndpoints or a name changed the set after New
}

// set is the endpoints at one time, and who chooses among them. It never changes; another takes its place.
type set struct {
	endpoints []*Endpoint
	picker    balance.Picker
	byID      map[uint64]*Endpoint
	nameless  *NameError // why it is empty, if it would not be if names were found
}

// New makes a group, looks its names up, and begins its checks, which run until Close. A name that cannot be found is
// no error: it is looked up again, and until then has no endpoints.
func New(o Options) (*Group, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	g := &Group{options: o, names: map[string]*name{}, repeats: repeats{saved: mostSaved}}
	g.context, g.cancel = context.WithCancel(context.Background())
	g.set.Store(&set{picker: o.Policy.Build(nil)})
	if err := g.SetEndpoints(o.Endpoints); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Name is the group's.
func (g *Group) Name() string { return g.options.Name }

// SetEndpoints replaces the endpoints. Those that stay keep their links, their state and what was learned of them; the
// idle links of those that go are closed, and the leased ones when they are released. New names are looked up first.
func (g *Group) SetEndpoints(list []EndpointOptions) error {
	if len(list) > maxEndpoints {
		return fmt.Errorf("upstream: %d endpoints; at most %d may be", len(list), maxEndpoints)
	}
	seen := map[string]bool{}
	for _, o := range list {
		if err := o.check(); err != nil {
			return err
		}
		if seen[o.Address] {
			return fmt.Errorf("upstream: endpoint %q is there twice", o.Address)
		}
		seen[o.Address] = true
	}
	found := g.findNames(list)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed.Load() {
		return ErrClosed
	}
	g.wishes = slices.Clone(list)
	g.followNames(found)
	g.rebuild()
	g.changed = true
	return nil
}

func (o *EndpointOptions) check() error {
	if o.Weight < 0 || o.Weight > balance.MaxWeight {
		return fmt.Errorf("upstream: endpoint %q has weight %d; it may be 1 to %d", o.Address, o.Weight, balance.MaxWeight)
	}
	if o.Connections < 0 {
		return fmt.Errorf("upstream: endpoint %q: Connections is negative", o.Address)
	}
	if _, ok := parsePlace(o.Address); ok {
		return nil
	}
	if _, _, err := splitName(o.Address); err != nil {
		return fmt.Errorf("upstream: endpoint %q is neither ip:port, name:port nor unix:path: %w", o.Address, err)
	}
	return nil
}

// rebuild makes the set anew from the wishes and the names' addresses, keeping the endpoints that stay. Under mu.
func (g *Group) rebuild() {
	before := map[string]*Endpoint{}
	for _, e := range g.set.Load().endpoints {
		before[e.address] = e
	}
	next := &set{byID: map[uint64]*Endpoint{}}
	kept := map[string]bool{}
	for i := range g.wishes {
		o := &g.wishes[i]
		if n := g.names[o.Address]; n != nil && n.failed != nil && next.nameless == nil {
			next.nameless = &NameError{Name: o.Address, Err: n.failed}
		}
		for _, address := range g.addressesOf(o.Address) {
			if kept[address] || len(next.endpoints) == maxEndpoints {
				continue // two names may share an address; the first has it
			}
			kept[address] = true
			e := before[address]
			if e == nil {
				at, _ := parsePlace(address)
				e = g.newEndpoint(address, o.Address, at)
				e.from = g.names[o.Address]
				g.begin(e)
			}
			e.weight.Store(int32(max(1, o.Weight)))
			e.limit.Store(int64(g.options.Pool.Max))
			if o.Connections > 0 {
				e.limit.Store(int64(o.Connections))
			}
			next.endpoints = append(next.endpoints, e)
			next.byID[e.id] = e
		}
	}
	if len(next.endpoints) > 0 {
		next.nameless = nil
	}
	members := make([]balance.Member, len(next.endpoints))
	for i, e := range next.endpoints {
		members[i] = balance.Member{Name: e.address, Weight: int(e.weight.Load()), Load: e.busy.Load}
	}
	next.picker = g.options.Policy.Build(members)
	g.set.Store(next)
	for address, e := range before {
		if !kept[address] {
			g.finish(e)
		}
	}
	g.poke()
}

// begin starts the checks of an endpoint that came. Under mu.
func (g *Group) begin(e *Endpoint) {
	if g.changed {
		e.comesBack()
	}
	var ctx context.Context
	ctx, e.stop = context.WithCancel(g.context)
	if g.options.Health != nil {
		g.tasks.Go(func() { e.checkOn(ctx) })
	}
}

// finish lets an endpoint go. Under mu.
func (g *Group) finish(e *Endpoint) {
	e.stop()
	e.setStatus(statusGone, "it is no longer of the group")
	for _, ports := range e.gauges {
		ports.drop()
	}
}

// Endpoint returns the endpoint with that ID, or nil if there is none in the group.
func (g *Group) Endpoint(id uint64) *Endpoint { return g.set.Load().byID[id] }

// Close ends the group's checks and waits for them. Idle links are closed, leased ones when they are released, and
// nothing is granted any more.
func (g *Group) Close() {
	g.mu.Lock()
	if g.closed.Swap(true) {
		g.mu.Unlock()
		return
	}
	g.cancel()
	for _, e := range g.set.Load().endpoints {
		g.finish(e)
	}
	g.mu.Unlock()
	g.tasks.Wait()
	g.poke()
}

// Agent is the group on the thread of control of d, the same one each time for the same dialer. It must be called on
// that thread.
func (g *Group) Agent(d conn.Dialer) *Agent {
	at := &g.agents[d.Number()]
	before := at.Load()
	if before != nil && before.dialer == d {
		return before
	}
	a := newAgent(g, d)
	g.mu.Lock()
	if before != nil { // its thread has ended, and another has its number
		before.tally.addTo(&g.past)
		g.waiting.Add(-int64(before.queue.length))
	} else {
		g.running.Add(1)
		g.top.Store(max(g.top.Load(), int32(d.Number())+1))
	}
	at.Store(a)
	g.mu.Unlock()
	a.wake()
	return a
}

// poke has every agent look at what has changed.
func (g *Group) poke() {
	for i := range g.agents {
		if a := g.agents[i].Load(); a != nil {
			a.poke()
		}
	}
}

// noteState logs what became of an endpoint, and has the agents look. That it is lost is a warning.
func (e *Endpoint) noteState(what string, why string) {
	level := slog.LevelInfo
	if e.status.Load() != 0 {
		level = slog.LevelWarn
	}
	e.group.options.Log.Log(context.Background(), level, "upstream endpoint is "+what,
		"upstream", e.group.options.Name, "endpoint", e.address, "why", why)
	e.group.poke()
}

// errNoName says that what stands before the port is no name.
var errNoName = errors.New("it has no name")
