// Package upstream keeps connections to the servers behind a proxy. A [Group] is a set of endpoints, shared by all
// threads of control: which there are, which are well, how many connections each may have. An [Agent] is a group as
// one thread of control sees it: it dials, keeps idle connections in a pool, and lets those wait that have to.
//
// Whoever needs a connection fills in a [Want] and calls [Agent.Acquire]. The answer is [Waiter.Granted] with an open
// [Link], or [Waiter.Denied] with the reason; it may come from within Acquire, or later. A granted link is leased: the
// callbacks of its connection go to Want.Handler, but for Opened, which Granted stands for, until the link is given
// back with [Agent.Release] or has ended.
//
// An idle link is watched by the agent. The peer's end of it teaches the endpoint's idle timeout, and links are retired
// before that; bytes that nobody asked for close it. When no idle link is left on this thread but one lies unused on
// another, it is moved here; only when there is none, a connection is made.
//
// An endpoint that does not accept a connection is not the end: another is tried, as long as there are any and
// Options.Attempts allows. Taking a pooled link and giving it back allocates nothing, locks nothing and makes no system
// call.
package upstream

import (
	"errors"
	"fmt"
	"net/netip"
)

// Why a link was denied, for Waiter.Denied. A *NameError, a *DialError and a *PortsError say more; errors.Is finds
// these in them.
var (
	// ErrNoEndpoint means that no endpoint is well, or there is none.
	ErrNoEndpoint = errors.New("no endpoint is available")
	// ErrQueueFull means that every connection is in use, and as many wait as may.
	ErrQueueFull = errors.New("too many wait for a connection to an endpoint")
	// ErrQueueTimeout means that no connection became free in time.
	ErrQueueTimeout = errors.New("no connection to an endpoint became free in time")
	// ErrConnectTimeout means that the endpoint did not answer in time; it comes within a *DialError.
	ErrConnectTimeout = errors.New("the endpoint did not accept the connection in time")
	// ErrNoPorts means that no local port is left; it comes within a *PortsError.
	ErrNoPorts = errors.New("no local port is left")
	// ErrClosed means that the group was closed.
	ErrClosed = errors.New("the upstream group was closed")
)

// NameError says that there is no endpoint because no name of any was found. It is ErrNoEndpoint.
type NameError struct {
	// Name is one of the names, with its port, and Err what came of looking it up.
	Name string
	Err  error
}

// Error names the name and the reason.
func (e *NameError) Error() string { return fmt.Sprintf("finding %s: %v", e.Name, e.Err) }

// Unwrap is the reason.
func (e *NameError) Unwrap() error { return e.Err }

// Is reports that it is ErrNoEndpoint.
func (e *NameError) Is(target error) bool { return target == ErrNoEndpoint }

// DialError says that a connection to an endpoint could not be made, and why.
type DialError struct {
	Endpoint *Endpoint
	Err      error
}

// Error names the endpoint and the reason.
func (e *DialError) Error() string {
	return fmt.Sprintf("connecting to %s: %v", e.Endpoint.Address(), e.Err)
}

// Unwrap is the reason.
func (e *DialError) Unwrap() error { return e.Err }

// PortsError says that a connection was not made because local ports towards its destination ran out, or would have:
// the last few are left to others. It is ErrNoPorts.
type PortsError struct {
	// Source is the local address; invalid where the kernel chooses it.
	Source      netip.Addr
	Destination netip.AddrPort
	// Open are the ports of connections, Lingering those of connections that we closed first and that the kernel keeps
	// for a minute (TIME_WAIT); both of this process only. Capacity is how many there are in all.
	Open, Lingering, Capacity int
	// Kernel says that it was the kernel that had none (EADDRNOTAVAIL), whatever is counted here.
	Kernel bool
}

// Error says what is exhausted and what can be done.
func (e *PortsError) Error() string {
	source := "the default source address"
	if e.Source.IsValid() {
		source = e.Source.String()
	}
	counted := "refused before the last is taken"
	if e.Kernel {
		counted = "the kernel has no more"
	}
	return fmt.Sprintf("no local port is left from %s to %s (%d open, %d lingering, of %d; %s): add source addresses, "+
		"widen net.ipv4.ip_local_port_range, or keep connections in the pool longer",
		source, e.Destination, e.Open, e.Lingering, e.Capacity, counted)
}

// Is reports that it is ErrNoPorts.
func (e *PortsError) Is(target error) bool { return target == ErrNoPorts }
