package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/balance"
)

const (
	longestAge   = 20 * 24 * time.Hour // ages are kept in 32 bits of milliseconds
	maxEndpoints = 4096
)

// withDefaults fills in what was left out, and says what cannot be.
func (o Options) withDefaults() (Options, error) {
	if o.Policy == nil {
		o.Policy = balance.RoundRobin{}
	}
	fill(&o.ConnectTimeout, 5*time.Second)
	fill(&o.Attempts, 3)
	fill(&o.Pool.Max, 4096)
	fill(&o.Pool.MaxIdle, min(1024, o.Pool.Max))
	fill(&o.Pool.Total, 8192)
	fill(&o.Pool.IdleTimeout, time.Minute)
	fill(&o.Pool.MaxAge, time.Hour)
	fill(&o.Pool.LookAfter, 100*time.Millisecond)
	fill(&o.Queue.Limit, 1024)
	fill(&o.Queue.Timeout, 5*time.Second)
	fill(&o.Resolve.Min, 5*time.Second)
	fill(&o.Resolve.Max, time.Minute)
	fill(&o.Resolve.Timeout, 5*time.Second)
	if o.Resolve.Lookup == nil {
		o.Resolve.Lookup = lookup
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.random == nil {
		o.random = rand.Int64N
	}
	if h := o.Health; h != nil {
		o.Health = h.withDefaults()
	}
	if e := o.Eject; e != nil {
		o.Eject = e.withDefaults()
	}
	o.Pool.IdleTimeout = min(o.Pool.IdleTimeout, longestAge)
	o.Pool.MaxAge = min(o.Pool.MaxAge, longestAge)
	err := o.check()
	return o, err
}

func (h HealthOptions) withDefaults() *HealthOptions {
	fill(&h.StatusMin, 200)
	fill(&h.StatusMax, 399)
	fill(&h.Interval, 5*time.Second)
	fill(&h.Timeout, 2*time.Second)
	fill(&h.Rise, 2)
	fill(&h.Fall, 3)
	return &h
}

func (e EjectOptions) withDefaults() *EjectOptions {
	fill(&e.Failures, 5)
	fill(&e.Base, time.Second)
	fill(&e.Max, max(time.Minute, e.Base))
	fill(&e.Share, 50)
	return &e
}

func fill[T cmp.Ordered](field *T, otherwise T) {
	var zero T
	if *field == zero {
		*field = otherwise
	}
}

// check says what cannot be.
func (o *Options) check() error {
	for _, positive := range []struct {
		name string
		n    int64
	}{
		{"Attempts", int64(o.Attempts)},
		{"Pool.Max", int64(o.Pool.Max)},
		{"Pool.MaxIdle", int64(o.Pool.MaxIdle)},
		{"Pool.Total", int64(o.Pool.Total)},
		{"ConnectTimeout", int64(o.ConnectTimeout)},
		{"Pool.IdleTimeout", int64(o.Pool.IdleTimeout)},
		{"Pool.MaxAge", int64(o.Pool.MaxAge)},
		{"Queue.Timeout", int64(o.Queue.Timeout)},
		{"Resolve.Min", int64(o.Resolve.Min)},
		{"Resolve.Timeout", int64(o.Resolve.Timeout)},
	} {
		if positive.n < 0 {
			return fmt.Errorf("upstream: %s is negative", positive.name)
		}
	}
	switch {
	case o.Pool.Min < 0 || o.Pool.Min > o.Pool.Max:
		return fmt.Errorf("upstream: Pool.Min is %d; it must be 0 to Pool.Max, which is %d", o.Pool.Min, o.Pool.Max)
	case o.Resolve.Max < o.Resolve.Min:
		return errors.New("upstream: Resolve.Max is less than Resolve.Min")
	case o.SlowStart < 0:
		return errors.New("upstream: SlowStart is negative")
	case len(o.Sources) > maxSources:
		return fmt.Errorf("upstream: %d sources; %d may be", len(o.Sources), maxSources)
	}
	for _, source := range o.Sources {
		if !source.IsValid() || source.IsUnspecified() {
			return fmt.Errorf("upstream: %v is no address to connect from", source)
		}
	}
	return nil
}

// lookup asks the system's resolver.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
