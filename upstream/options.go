package upstream

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/balance"
)

// Options is what a group is made of. Zero fields get the default that is named with them.
type Options struct {
	// Name is the group's, for logs and status pages.
	Name      string
	Endpoints []EndpointOptions
	// Policy chooses the endpoint; round robin.
	Policy balance.Policy
	Pool   PoolOptions
	Queue  QueueOptions
	// ConnectTimeout is how long an endpoint may take to accept a connection; 5 s.
	ConnectTimeout time.Duration
	// Attempts is how many endpoints are dialled for one want, one after the other, until one accepts; 3.
	Attempts int
	// Health has the endpoints checked; nil: they are not.
	Health *HealthOptions
	// Eject has endpoints passed over for a while that fail again and again; nil: they are not.
	Eject   *EjectOptions
	Resolve ResolveOptions
	// SlowStart is how long the share of an endpoint grows that came, or came back, to a group at work; 0: it has it
	// at once.
	SlowStart time.Duration
	// Sources are the local addresses to connect from, the one with the fewest ports in use first; empty: the kernel
	// chooses.
	Sources []netip.Addr
	// KeepAlive and UserTimeout are those of conn.Target.
	KeepAlive, UserTimeout time.Duration
	// Log gets a line for every endpoint whose state changes; nil: nobody is told.
	Log *slog.Logger

	random func(n int64) int64 // in tests: for slow start and jitter
}

// EndpointOptions is one endpoint, or with a name as many as the name has addresses.
type EndpointOptions struct {
	// Address is "ip:port", "name:port", "unix:/path" or "unix:@abstract".
	Address string
	// Weight is the share of the choices, in proportion to the others; 1.
	Weight int
	// Connections is the largest number of open connections from this process; Pool.Max.
	Connections int
}

// PoolOptions says how idle links are kept. All numbers but Total are for one endpoint and the whole process.
type PoolOptions struct {
	// Off closes every link when it is released.
	Off bool
	// Alone keeps links on the thread that dialled them: none is borrowed from another.
	Alone bool
	// Min is how many links are kept open, dialled before they are needed; 0.
	Min int
	// Max is how many links may be open; 4096.
	Max int
	// MaxIdle is how many of them may be idle; 1024, or Max if that is less.
	MaxIdle int
	// Total is how many may be idle on one thread, to all endpoints; 8192.
	Total int
	// IdleTimeout is how long a link stays idle at most; 60 s. It is shorter if the endpoint is known to be quicker.
	// The last Min links stay longer than that.
	IdleTimeout time.Duration
	// MaxAge is how old a link may become before it is not used again; 1 h. It is at most 20 days.
	MaxAge time.Duration
	// LookAfter is how long a link must have been idle to be looked at before it is used again; 100 ms.
	LookAfter time.Duration
}

// QueueOptions says how many wait for a connection when every endpoint has as many as it may, and for how long.
type QueueOptions struct {
	// Limit is for one thread; 1024. Negative: nobody waits.
	Limit int
	// Timeout is 5 s.
	Timeout time.Duration
}

// HealthOptions says how endpoints are checked. An endpoint is taken as well until the checks have found otherwise.
type HealthOptions struct {
	// Path is asked for with GET; empty: a connection that is accepted is enough.
	Path string
	// Host is the Host of that request; the endpoint's address, as it was configured.
	Host string
	// StatusMin and StatusMax are the statuses of an endpoint that is well; 200 and 399.
	StatusMin, StatusMax int
	// Interval is the time between two checks, give or take a tenth; 5 s. Timeout is for one check; 2 s.
	Interval, Timeout time.Duration
	// Rise is how many good checks in a row bring an endpoint back, Fall how many bad ones take it out; 2 and 3.
	Rise, Fall int
}

// EjectOptions says when an endpoint that fails is passed over. When its time is over, one use tries it: if that
// goes well it is back, else it is out again for twice as long.
type EjectOptions struct {
	// Failures is how many in a row; 5.
	Failures int
	// Base is how long the first time; 1 s. It doubles each time, up to Max; 1 min.
	Base, Max time.Duration
	// Share is the largest part of the endpoints that may be out for what they answer, in percent, but one of several
	// always may; 50. Endpoints that accept no connection are out whatever their share: nothing is lost by that.
	Share int
}

// ResolveOptions says how often names are looked up again. The system's resolver does not tell how long an answer
// holds, so the time between two look-ups goes from Min, after a change or a failure, up to Max by doubling. While
// look-ups fail the last answer holds.
type ResolveOptions struct {
	// Min is 5 s, Max 1 min. Timeout is for one look-up; 5 s.
	Min, Max, Timeout time.Duration
	// IPv6 has both the IPv4 and the IPv6 addresses of a name used. Else the latter are used only where there are none
	// of the former, because many a server listens to one of both.
	IPv6 bool
	// Lookup returns the addresses of a name; the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}
