package upstream

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
)

const (
	maxAgents  = 256 // conn.Dialer.Number is below
	maxSources = 255
)

// Endpoint is one server of a group. All its methods may be called from any goroutine.
type Endpoint struct {
	group   *Group
	address string
	name    string // what it was configured as: its address, or a name and a port
	id      uint64
	targets []conn.Target // one for each source
	gauges  []*gauge      // of the same; nil where there are no ports

	weight    atomic.Int32
	limit     atomic.Int64  // connections
	open      atomic.Int64  // connections, with those being made
	busy      atomic.Int64  // of open: leased, or being made for a want
	status    atomic.Uint32 // statusDown and others; 0: well
	returned  atomic.Int64  // when it came back, for slow start; 0: long ago, justBack: nobody has looked since
	cameBack  atomic.Int64  // the same in Unix nanoseconds, for people
	idleLimit atomic.Uint32 // milliseconds after which an idle link is retired
	learner   learner
	outlier   outlier
	stop      func() // ends its checks; under Group.mu
	from      *name  // that it is an address of; nil: it was configured as an address

	connected atomic.Uint64 // connections made
	failed    atomic.Uint64 // connections that could not be made
	broken    atomic.Uint64 // failures reported
	reason    struct {      // of the status, for people
		sync.Mutex
		text string
	}

	shares [maxAgents]atomic.Pointer[share]
}

// What keeps an endpoint from being chosen, as bits of Endpoint.status.
const (
	statusDown    uint32 = 1 << iota // its checks fail
	statusEjected                    // what was asked of it failed
	statusGone                       // it is no longer of the group
)

const justBack = -1

// Address is the endpoint's "ip:port" or "unix:path".
func (e *Endpoint) Address() string { return e.address }

// ID tells endpoints apart, for sticky cookies: the same address has the same in every process.
func (e *Endpoint) ID() uint64 { return e.id }

// Target is where to connect to, for what is not dialled by an agent, such as datagrams. It must not be changed.
func (e *Endpoint) Target() *conn.Target { return &e.targets[0] }

// identify is the FNV-1a hash of an address.
func identify(address string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(address) {
		hash = (hash ^ uint64(address[i])) * 1099511628211
	}
	return hash
}

// place is an address as it can be connected to.
type place struct {
	address netip.AddrPort
	path    string
}

// parsePlace reads "ip:port", "unix:/path" or "unix:@abstract"; false: it is none of them.
func parsePlace(text string) (p place, ok bool) {
	if path, unix := strings.CutPrefix(text, "unix:"); unix {
		return place{path: path}, len(path) > 1 && (path[0] == '/' || path[0] == '@')
	}
	address, err := netip.ParseAddrPort(text)
	return place{address: address}, err == nil && address.Port() != 0 && !address.Addr().IsUnspecified()
}

// newEndpoint makes an endpoint of a place; it is well.
func (g *Group) newEndpoint(address, name string, at place) *Endpoint {
	o := &g.options
	e := &Endpoint{group: g, address: address, name: name, id: identify(address)}
	base := conn.Target{
		Address: at.address, Path: at.path, KeepAlive: o.KeepAlive, UserTimeout: o.UserTimeout,
	}
	for _, source := range o.Sources {
		if at.path == "" && source.Is4() == at.address.Addr().Unmap().Is4() {
			from := base
			from.Source = source
			e.targets = append(e.targets, from)
		}
	}
	if len(e.targets) == 0 {
		e.targets = []conn.Target{base}
	}
	if at.path == "" {
		for i := range e.targets {
			e.gauges = append(e.gauges, gaugeOf(e.targets[i].Source, at.address))
		}
	}
	e.idleLimit.Store(uint32(o.Pool.IdleTimeout.Milliseconds()))
	return e
}

// reserve counts a connection that is about to be made; false: there are as many as may be.
func (e *Endpoint) reserve(limit int64) bool {
	for {
		open := e.open.Load()
		if open >= limit {
			return false
		}
		if e.open.CompareAndSwap(open, open+1) {
			return true
		}
	}
}

// ramping reports that slow start passes the endpoint over this time.
func (e *Endpoint) ramping(now int64) bool {
	returned := e.returned.Load()
	if returned == 0 {
		return false
	}
	if returned == justBack {
		e.returned.CompareAndSwap(justBack, max(now, 1))
		returned = now
	}
	whole := int64(e.group.options.SlowStart)
	since := now - returned
	if since >= whole {
		e.returned.CompareAndSwap(returned, 0)
		return false
	}
	return e.group.options.random(whole) >= since+whole/16 // never less than a sixteenth, so that it gets warm at all
}

// comesBack has its share grow from now on.
func (e *Endpoint) comesBack() {
	if e.group.options.SlowStart > 0 {
		e.returned.Store(justBack)
		e.cameBack.Store(time.Now().UnixNano())
	}
}

// set and clearStatus change one bit of the status and report whether that changed it.
func (e *Endpoint) setStatus(bit uint32, why string) bool {
	e.reason.Lock()
	e.reason.text = why
	e.reason.Unlock()
	return e.status.Or(bit)&bit == 0
}

func (e *Endpoint) clearStatus(bit uint32) bool { return e.status.And(^bit)&bit != 0 }

// state and why are the status for people.
func (e *Endpoint) state() (state, why string) {
	status := e.status.Load()
	if status == 0 {
		if came := e.cameBack.Load(); came != 0 && time.Since(time.Unix(0, came)) < e.group.options.SlowStart {
			return "starting", ""
		}
		return "up", ""
	}
	e.reason.Lock()
	why = e.reason.text
	e.reason.Unlock()
	switch {
	case status&statusGone != 0:
		return "draining", why
	case status&statusDown != 0:
		return "down", why
	}
	return "ejected", why
}
