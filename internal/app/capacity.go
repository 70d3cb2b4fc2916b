package app

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/myriad-server/myriad/internal/config"
)

// Demand is what a configuration wants of a host.
type Demand struct {
	// Connections is limits.connections; 0 is "auto".
	Connections int
	// Model and Driver by name. A driver without a name is one that the model brings along.
	Model, Driver string
	// Direct is engine.direct.
	Direct config.Direct
	// Loops, Listeners, Workers and Queue count what their keys say; Loops is 0 under a model without.
	Loops, Listeners, Workers, Queue int
	// CachedFiles is how many descriptors of files the routes want to keep between requests.
	CachedFiles int
	// Upstream is how many connections there may be to upstreams at a time; 0 without a proxy.
	Upstream int
	// Sessions is how many sessions of datagrams there may be; each has a socket of its own.
	Sessions int
	// Pipes is how many descriptors the pipes may take through which the kernel moves the bytes of proxied connections.
	Pipes int
	// BlockBytes and Blocks are the memory for bytes on their way, Blocks for each loop.
	BlockBytes, Blocks int
	// Backlog is the smallest backlog of the listeners.
	Backlog int
}

// Wall is a limit that a growing number of connections runs into.
type Wall struct {
	// Name is what runs out.
	Name string
	// At is the number of connections that reach it.
	At int
	// Why says where the number comes from, Fix how to move the wall.
	Why, Fix string
}

// Capacity is what a configuration can hold on a host.
type Capacity struct {
	// Limit is the number of connections that the server is told to hold.
	Limit int
	// Direct tells that connections take no descriptors of the process.
	Direct bool
	// CachedFiles is how many of the wanted descriptors of files may be kept: connections need some too.
	CachedFiles int
	// Sessions is how many of the wanted sessions of datagrams there are descriptors for.
	Sessions int
	// Pipes is how many of the wanted descriptors of pipes are counted on; a connection that finds none is copied.
	Pipes int
	// Limiter is the wall that Limit comes from.
	Limiter Wall
	// Walls are what bounds the connections that are open, the first to be reached first.
	Walls []Wall
	// Busy is what bounds the connections that are at work in one moment.
	Busy Wall
	// Waiting is what bounds the connections that the kernel keeps until they are accepted.
	Waiting Wall
}

// What a connection takes, in bytes. The kernel's part was measured: socket, file, and the timers and waits behind it.
const (
	kernelBytes    = 4608
	loopBytes      = 256
	goroutineBytes = 8 << 10
	threadBytes    = 48 << 10 // a kernel stack, and the runtime's part of a thread
)

const (
	// processDescriptors are those of the process itself: the standard three, the runtime's, logs, and some to spare
	// for whoever looks into the server. Where there are few, it makes do with leastDescriptors.
	processDescriptors = 64
	leastDescriptors   = 12
	// loopDescriptors are those of one driver and its wake-up.
	loopDescriptors = 8
	// filesShare is the part of the descriptors that cached files may take.
	filesShare = 4
	// sessionsShare is the part that sessions of datagrams may take.
	sessionsShare = 2
	// relayedShare of relayedOf blocks are what proxied clients can have at work: an eighth is kept from what is
	// passed on, and each client has bytes on their way on two connections, its own and the one to its upstream.
	relayedShare, relayedOf = 7, 16
	// pipesOfLoop are the descriptors of the pipes that one loop may have: two for each of 256 directions of proxied
	// connections that have bytes on their way.
	pipesOfLoop = 2 * 256
	// A proxied connection has a descriptor, so has the one to its upstream, and each direction has a pipe of two: of six
	// descriptors pipes can take four.
	pipesOfSession, descriptorsOfSession = 4, 6
	// loopSlots is how many connections one loop can number.
	loopSlots = 1<<24 - 1
	// spareThreads are those of the runtime.
	spareThreads = 64
)

// Compute finds the walls of a configuration on a host. It looks at nothing but its arguments.
func Compute(h Host, d Demand) Capacity {
	c := Capacity{
		CachedFiles: int(min(int64(d.CachedFiles), h.Descriptors/filesShare)),
		Sessions:    int(min(int64(d.Sessions), h.Descriptors/sessionsShare)),
	}
	reserve := min(processDescriptors, max(h.Descriptors/8, leastDescriptors)) +
		int64(loopDescriptors*d.Loops+d.Listeners*max(d.Loops, 1)+c.CachedFiles+c.Sessions)
	c.Pipes = int(min(int64(d.Pipes), max(h.Descriptors-reserve, 0)*pipesOfSession/descriptorsOfSession))
	reserve += int64(c.Pipes)
	c.Walls = machine(h, d)
	if wall, ok := c.descriptors(h, d, reserve); ok {
		c.Walls = append(c.Walls, wall)
	}
	if d.Connections > 0 {
		c.Walls = append(c.Walls, Wall{
			Name: "configuration", At: d.Connections,
			Why: fmt.Sprintf("limits.connections is %d", d.Connections), Fix: "raise it",
		})
	}
	c.Limiter = slices.MinFunc(c.Walls, func(a, b Wall) int { return cmp.Compare(a.At, b.At) })
	c.Limit = c.Limiter.At
	c.Walls = append(c.Walls, model(d)...)
	slices.SortStableFunc(c.Walls, func(a, b Wall) int { return cmp.Compare(a.At, b.At) })
	c.Busy, c.Waiting = busy(h, d), waiting(h, d)
	return c
}

// descriptors is the wall of descriptors, if connections take any, and decides whether those that are accepted do.
func (c *Capacity) descriptors(h Host, d Demand, reserve int64) (wall Wall, ok bool) {
	left := h.Descriptors - reserve
	wall = Wall{
		Name: "descriptors", At: count(withUpstream(left, d)),
		Why: fmt.Sprintf("RLIMIT_NOFILE is %d, of which %d are for %s%s", h.Descriptors, reserve, c.reserved(),
			sharedText(d)),
		Fix: "raise it (ulimit -Hn, or LimitNOFILE= of the service)",
	}
	if d.Driver == "uring" {
		switch {
		case d.Direct == config.DirectAlways, d.Direct == config.DirectAuto && d.Connections > wall.At:
			c.Direct = true
		case d.Direct == config.DirectAuto && d.Connections == 0 && int64(d.Upstream) > left/2:
			// Each client of a proxy may need a descriptor for its upstream, so that its own is one too many.
			c.Direct = true
		case d.Direct == config.DirectAuto:
			wall.Fix += ", or set limits.connections to more, or engine.direct to always: the uring driver then holds them " +
				"without descriptors"
		}
	}
	if c.Direct {
		// What is dialled takes a descriptor all the same. Where there can be more of them than descriptors, each
		// connection may need one; where there cannot, those that find none wait for one.
		wall.At = count(left)
		wall.Why = fmt.Sprintf("RLIMIT_NOFILE is %d, of which %d are for %s; a connection to an upstream takes one",
			h.Descriptors, reserve, c.reserved())
	}
	return wall, !c.Direct || int64(d.Upstream) > left
}

// reserved is what has descriptors besides connections.
func (c *Capacity) reserved() string {
	if c.Pipes == 0 {
		return "listeners, files and drivers"
	}
	return fmt.Sprintf("listeners, files, drivers and pipes (%d, for the bytes of tcp proxying)", c.Pipes)
}

// withUpstream is how many connections fit into n places when each may bring another one along, to an upstream.
func withUpstream(n int64, d Demand) int64 {
	if d.Upstream == 0 {
		return n
	}
	return max(n/2, n-int64(d.Upstream))
}

// sharedText says that connections to upstreams were counted in.
func sharedText(d Demand) string {
	if d.Upstream == 0 {
		return ""
	}
	return ", and a connection to an upstream takes one too"
}

// machine is the walls of the machine besides descriptors.
func machine(h Host, d Demand) []Wall {
	each, what := int64(kernelBytes+loopBytes), "loop"
	switch {
	case d.Model == "thread":
		each, what = kernelBytes+threadBytes, "thread"
	case d.Loops == 0:
		each, what = kernelBytes+goroutineBytes, "goroutine"
	}
	blocks := int64(d.BlockBytes) * int64(d.Blocks) * int64(max(d.Loops, 1))
	walls := []Wall{
		{
			Name: "memory", At: count(withUpstream((h.MemoryBytes-blocks)/each, d)),
			Why: fmt.Sprintf("%s are free, less %s for blocks, and a connection takes about %d bytes (%s)",
				size(h.MemoryBytes), size(blocks), each, what),
			Fix: "give the machine more memory, or lower engine.blocks",
		},
		{
			Name: "files", At: count(withUpstream(h.Files, d)),
			Why: fmt.Sprintf("the system may open %d more files", h.Files), Fix: "raise fs.file-max",
		},
	}
	if d.Model == "thread" {
		walls = append(walls, Wall{
			Name: "threads", At: count(h.Threads/2 - spareThreads),
			Why: fmt.Sprintf("half of the %d threads that this process may have", h.Threads),
			Fix: "choose another model, or raise kernel.threads-max, kernel.pid_max and pids.max",
		})
	}
	if d.Loops > 0 {
		walls = append(walls, Wall{
			Name: "slots", At: loopSlots * d.Loops,
			Why: fmt.Sprintf("a loop numbers %d connections", loopSlots), Fix: "raise engine.loops",
		})
	}
	return walls
}

// model is the walls of models that bound their connections themselves.
func model(d Demand) []Wall {
	switch d.Model {
	case "workpool":
		return []Wall{{
			Name: "workers", At: d.Workers + d.Queue,
			Why: fmt.Sprintf("%d workers hold a connection each, and %d wait", d.Workers, d.Queue),
			Fix: "raise engine.workers and engine.queue, or choose another model",
		}}
	case "single":
		return []Wall{{
			Name: "model", At: 1, Why: "the single model serves one connection at a time", Fix: "choose another model",
		}}
	}
	return nil
}

// busy is what bounds the connections that have something on its way in the same moment. Beyond it they wait.
func busy(h Host, d Demand) Wall {
	blocks := d.Blocks * max(d.Loops, 1)
	least := Wall{
		Name: "blocks", At: blocks, Why: fmt.Sprintf("there are %d blocks of %s", blocks, size(int64(d.BlockBytes))),
		Fix: "raise engine.blocks",
	}
	if d.Upstream > 0 {
		least.At = max(1, int(int64(blocks)*relayedShare/relayedOf))
		least.Why += ", an eighth of them kept free by proxying, and a proxied connection takes two"
	}
	if d.Driver == "rtsig" && h.Signals < int64(least.At) {
		least = Wall{
			Name: "signals", At: count(h.Signals),
			Why: fmt.Sprintf("RLIMIT_SIGPENDING is %d; beyond it every connection is looked at", h.Signals),
			Fix: "raise it (ulimit -i, or LimitSIGPENDING= of the service)",
		}
	}
	if d.Model == "workpool" && d.Workers < least.At {
		least = Wall{
			Name: "workers", At: d.Workers, Why: fmt.Sprintf("there are %d workers", d.Workers), Fix: "raise engine.workers",
		}
	}
	if d.Model == "single" {
		least = model(d)[0]
	}
	return least
}

func waiting(h Host, d Demand) Wall {
	if int64(d.Backlog) <= h.Backlog {
		return Wall{Name: "backlog", At: d.Backlog, Why: fmt.Sprintf("listeners[].backlog is %d", d.Backlog), Fix: "raise it"}
	}
	return Wall{
		Name: "somaxconn", At: int(h.Backlog), Why: fmt.Sprintf("net.core.somaxconn is %d", h.Backlog),
		Fix: fmt.Sprintf("sysctl -w net.core.somaxconn=%d", d.Backlog),
	}
}

// First is the first wall.
func (c *Capacity) First() Wall { return c.Walls[0] }

// String is one line for the operator.
func (c *Capacity) String() string {
	first := c.First()
	return fmt.Sprintf("holds %d connections, first wall: %s (%s; %s); %d at work at a time (%s), %d waiting (%s)",
		first.At, first.Name, first.Why, first.Fix, c.Busy.At, c.Busy.Name, c.Waiting.At, c.Waiting.Name)
}

// attributes is the line for a log.
func (c *Capacity) attributes() []any {
	first := c.First()
	return []any{
		"connections", first.At, "first_wall", first.Name, "why", first.Why, "fix", first.Fix,
		"at_work", c.Busy.At, "at_work_wall", c.Busy.Name, "waiting", c.Waiting.At, "waiting_wall", c.Waiting.Name,
	}
}

// demandOf reads the demand out of a plan whose model, driver and loops are chosen.
func demandOf(p *Plan) Demand {
	c := p.Config
	d := Demand{
		Connections: int(c.Limits.Connections),
		Model:       p.Model.Name(), Driver: p.Driver.Name, Direct: c.Engine.Direct,
		Loops: p.Loops, Listeners: len(c.Listeners), Workers: c.Engine.Workers, Queue: c.Engine.Queue,
		BlockBytes: int(c.Engine.Block), Blocks: c.Engine.Blocks, Backlog: math.MaxInt,
	}
	for _, l := range c.Listeners {
		d.Backlog = min(d.Backlog, l.Backlog)
	}
	for _, r := range c.Routes {
		if r.Files != nil {
			d.CachedFiles += r.Files.Cache.Entries * descriptorsPerEntry(r.Files)
		}
	}
	d.Upstream = upstreamConnections(c)
	for _, l := range c.Listeners {
		if l.Protocol == config.StreamTCP {
			d.Pipes = pipesOfLoop * p.Loops
		}
		if l.Protocol == config.StreamUDP {
			d.Sessions += l.Datagrams.Sessions
		}
	}
	return d
}

// upstreamConnections is how many connections there may be to upstreams, as far as the configuration says.
func upstreamConnections(c *config.Config) int {
	all := 0
	for _, t := range targets(c) {
		if !t.uses.http && !t.uses.tcp {
			continue // datagrams have sockets of their own
		}
		for range t.config.To {
			all += countOf(t.config.Pool.Max)
		}
		for _, e := range t.config.Endpoints {
			all += countOf(min(e.Connections, t.config.Pool.Max))
		}
	}
	return min(all, math.MaxInt32)
}

// descriptorsPerEntry is how many descriptors a remembered file may hold: its own, and one for each encoding.
func descriptorsPerEntry(f *config.Files) int { return 1 + len(f.Precompressed) }

// count is a number of connections: at least one, because a server that holds none need not be started.
func count(n int64) int { return int(min(max(n, 1), math.MaxInt32)) }

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.4g %s", value, units[unit])
}
