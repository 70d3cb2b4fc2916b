package app

import (
	"fmt"
	"slices"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/standard"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/serve"
)

// Plan is everything that is decided before a server starts.
type Plan struct {
	Config *config.Config
	// Driver is what the model's loops open; it has no name under a model that brings its own way to move bytes.
	Driver driver.Factory
	// Passed is what the automatic choice of the driver passed over.
	Passed []standard.Passed
	Model  serve.Model
	// Loops is how many event loops there are; 0 under a model that has none.
	Loops  int
	Accept serve.Accept
	Spread balance.Policy
	// Capacity is what this configuration can hold on this machine.
	Capacity Capacity
	// Warnings are for the operator.
	Warnings []string
	// Unused are warnings too: engine keys that were said, and that the model and the driver make no use of.
	Unused []config.Problem

	lent map[int]int // sockets of a service manager, by listener
}

// Known is the names that a configuration may choose from.
func Known() config.Known {
	var known config.Known
	for _, f := range standard.Drivers() {
		known.Drivers = append(known.Drivers, f.Name)
	}
	for _, m := range standard.Models() {
		known.Models = append(known.Models, m.Name())
		if m.Driver() != "" {
			known.Loopless = append(known.Loopless, m.Name())
		}
	}
	for _, p := range balance.Policies() {
		known.Policies = append(known.Policies, p.Name())
	}
	return known
}

// NewPlan decides how c is served on a host. The configuration must have been checked.
func NewPlan(c *config.Config, h Host) (*Plan, error) {
	p := &Plan{Config: c}
	var err error
	if p.Model, err = standard.Model(c.Engine.Model); err != nil {
		return nil, err
	}
	if p.Spread, err = balance.ByName(c.Engine.Balance); err != nil {
		return nil, err
	}
	if p.Model.Driver() == "" {
		if p.Driver, p.Passed, err = standard.Driver(c.Engine.Driver); err != nil {
			return nil, err
		}
		if p.Loops = int(c.Engine.Loops); p.Loops == 0 {
			p.Loops = min(max(h.Processors/max(c.Engine.Processes, 1), 1), loop.MaxLoops)
		}
	}
	p.Unused = c.Unused(p.Driver.Name)
	if p.Accept, err = acceptOf(c, p.Loops); err != nil {
		return nil, err
	}
	demand := demandOf(p)
	p.Capacity = Compute(h, demand)
	p.warn(demand)
	return p, nil
}

// warn tells the operator what will not be as configured.
func (p *Plan) warn(d Demand) {
	add := func(format string, args ...any) { p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...)) }
	first := p.Capacity.First()
	if d.Connections > p.Capacity.Limit {
		add("limits.connections is %d, and %d can be held: %s; %s", d.Connections, p.Capacity.Limit, first.Why, first.Fix)
	}
	if d.Sessions > p.Capacity.Sessions {
		add("there are descriptors for %d sessions of datagrams, not for %d: raise RLIMIT_NOFILE, or lower "+
			"listeners[].datagrams.sessions", p.Capacity.Sessions, d.Sessions)
	}
	if d.CachedFiles > p.Capacity.CachedFiles {
		add("the caches of files may take %d descriptors, not %d, so that connections have some: raise RLIMIT_NOFILE, or "+
			"lower routes[].files.cache.entries", p.Capacity.CachedFiles, d.CachedFiles)
	}
}

// sessions is how many sessions of datagrams a listener may have: what it asks for, or its part of what there is.
func (p *Plan) sessions(l *config.Listener) int {
	wanted := demandOf(p).Sessions
	if wanted <= p.Capacity.Sessions {
		return l.Datagrams.Sessions
	}
	return max(1, int(int64(l.Datagrams.Sessions)*int64(p.Capacity.Sessions)/int64(wanted)))
}

// cacheEntries is how many files a route may remember: what it asks for, or its part of what there is.
func (p *Plan) cacheEntries(f *config.Files) int {
	wanted := demandOf(p).CachedFiles
	if wanted <= p.Capacity.CachedFiles {
		return f.Cache.Entries
	}
	return int(int64(f.Cache.Entries) * int64(p.Capacity.CachedFiles) / int64(wanted))
}

// acceptOf decides how connections come to the loops. A listener that may not share its address has one acceptor.
func acceptOf(c *config.Config, loops int) (serve.Accept, error) {
	model := c.Engine.ProcessModel
	shared := c.Engine.Processes > 0 && (model == config.ProcessShared || model == config.ProcessPrefork)
	if c.Engine.Accept == config.AcceptAcceptor || shared && c.Engine.Accept == config.AcceptAuto {
		return serve.OneAcceptor, nil
	}
	if shared {
		return 0, fmt.Errorf("engine.accept is reuseport, and engine.process_model is %s: there is one socket for all; "+
			"leave one of the two out", model)
	}
	for i, l := range c.Listeners {
		if loops < 2 || l.ReusePort != config.No || l.Address.Network == config.Unix {
			continue
		}
		if c.Engine.Accept == config.AcceptReusePort {
			return 0, fmt.Errorf("engine.accept is reuseport, and listeners[%d].reuseport is false: %d loops cannot "+
				"listen on %s; leave one of the two out", i, loops, l.Address)
		}
		return serve.OneAcceptor, nil
	}
	return serve.ReusePort, nil
}

// sharesSockets reports that several workers accept from one socket: all of them, or those at Unix names alone.
func (p *Plan) sharesSockets() bool {
	return p.Config.Engine.ProcessModel == config.ProcessShared ||
		slices.ContainsFunc(p.Config.Listeners, func(l config.Listener) bool { return l.Address.Network == config.Unix })
}

// DriverName is what moves the bytes: the driver, or what the model brings along.
func (p *Plan) DriverName() string {
	if own := p.Model.Driver(); own != "" {
		return own
	}
	return p.Driver.Name
}

// attributes are what is true of the model: one without loops has none to count, and one loop has nobody to share
// accepting with.
func (p *Plan) attributes() []any {
	all := []any{"driver", p.DriverName(), "model", p.Model.Name()}
	if p.Loops > 0 {
		all = append(all, "loops", p.Loops)
	}
	if p.Loops > 1 {
		all = append(all, "accept", p.Accept)
	}
	if p.Model.Name() == "workpool" {
		all = append(all, "workers", p.Config.Engine.Workers, "queue", p.Config.Engine.Queue)
	}
	return all
}

func (p *Plan) driverOptions() driver.Options {
	e := &p.Config.Engine
	return driver.Options{
		Sweep:         time.Duration(e.Sweep),
		Level:         e.Trigger == config.TriggerLevel,
		PerDescriptor: e.Signal == config.SignalPerDescriptor,
		Direct:        p.Capacity.Direct,
		Shared:        p.Config.Engine.Processes > 0 && p.sharesSockets(),
	}
}

func (p *Plan) limits() serve.Limits {
	c := p.Config
	return serve.Limits{
		Loops:       p.Loops,
		Workers:     c.Engine.Workers,
		Queue:       c.Engine.Queue,
		Connections: p.Capacity.Limit + min(p.Capacity.Limit, upstreamConnections(c)),
		BlockBytes:  int(c.Engine.Block),
		Blocks:      c.Engine.Blocks,
		OutputBytes: int64(c.Limits.OutputPerConnection),
		Drain:       max(time.Duration(c.Timeouts.Drain), time.Nanosecond),
	}
}
