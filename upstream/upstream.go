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
// before that; bytes that nobody asked for close it.
package upstream

import (
	"errors"
	"fmt"
)

// Why a link was denied, for Waiter.Denied. A *DialError and a *PortsError say more; errors.Is knows them.
var (
	// ErrNoEndpoint: no endpoint is well, or there is none.
	ErrNoEndpoint = errors.New("no endpoint is available")
	// ErrQueueFull: every connection is in use, and as many as may are waiting.
	ErrQueueFull = errors.New("too many wait for a connection to an endpoint")
	// ErrQueueTimeout: no connection became free in time.
	ErrQueueTimeout = errors.New("no connection to an endpoint became free in time")
	// ErrConnectTimeout: the endpoint did not answer in time; always within a *DialError.
	ErrConnectTimeout = errors.New("the endpoint did not accept the connection in time")
	// ErrNoPorts: no local port is left; always within a *PortsError.
	ErrNoPorts = errors.New("no local port is left")
	// ErrClosed: the group was closed.
	ErrClosed = errors.New("the upstream group was closed")
)

// DialError says that a connection to an endpoint could not be made, and why.
type DialError struct {
	Endpoint *Endpoint
	Err      error
}

// Error names the endpoint and the reason.
func (e *DialError) Error() string {
	return fmt.Sprintf("dialling %s: %v", e.Endpoint.Address(), e.Err)
}

// Unwrap is the reason.
func (e *DialError) Unwrap() error { return e.Err }
