package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// name is a name that endpoints come from. Its addresses are under Group.mu.
type name struct {
	host      string
	port      uint16
	addresses []string // the last answer, sorted
	failed    error    // why there has been none
	doubts    chan struct{}
	stop      func()
}

// splitName reads "name:port".
func splitName(text string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, err
	}
	if host == "" {
		return "", 0, errNoName
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		return "", 0, fmt.Errorf("%s is every address of a machine, and none to connect to", host)
	}
	n, err := strconv.ParseUint(service, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("the port %q is not 1 to 65535", service)
	}
	return host, uint16(n), nil
}

// findNames looks up the names among the endpoints that are not followed yet, all at once. Those that are not found
// are there without addresses.
func (g *Group) findNames(list []EndpointOptions) map[string]*name {
	found := map[string]*name{}
	var all sync.WaitGroup
	for _, o := range list {
		if _, ok := parsePlace(o.Address); ok {
			continue
		}
		g.mu.Lock()
		known := g.names[o.Address] != nil
		g.mu.Unlock()
		if known {
			continue
		}
		n := &name{doubts: make(chan struct{}, 1)}
		n.host, n.port, _ = splitName(o.Address) // it has been checked
		found[o.Address] = n
		all.Go(func() {
			addresses, err := g.ask(g.context, n)
			if err != nil {
				g.options.Log.Warn("upstream name is not found", "upstream", g.options.Name, "name", n.host, "why", err)
			}
			n.addresses, n.failed = addresses, err
		})
	}
	all.Wait()
	return found
}

// followNames begins to follow the names of the wishes, and ends it for others. Under mu.
func (g *Group) followNames(found map[string]*name) {
	wished := map[string]bool{}
	for _, o := range g.wishes {
		wished[o.Address] = true
	}
	for text, n := range g.names {
		if !wished[text] {
			n.stop()
			delete(g.names, text)
		}
	}
	for text, n := range found {
		if g.names[text] != nil {
			continue // another call was quicker
		}
		var ctx context.Context
		ctx, n.stop = context.WithCancel(g.context)
		g.names[text] = n
		g.tasks.Go(func() { g.follow(ctx, n) })
	}
}

// addressesOf is the addresses of an endpoint's options. Under mu.
func (g *Group) addressesOf(text string) []string {
	if n := g.names[text]; n != nil {
		return n.addresses
	}
	if _, ok := parsePlace(text); ok {
		return []string{text}
	}
	return nil
}

// follow looks a name up again and again.
func (g *Group) follow(ctx context.Context, n *name) {
	o := &g.options.Resolve
	wait := o.Min
	for n.rest(ctx, g.jittered(wait), o.Min) {
		addresses, err := g.ask(ctx, n)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			g.notFound(n, err)
			wait = o.Min
			continue
		}
		wait = min(2*wait, o.Max)
		g.mu.Lock()
		if !slices.Equal(addresses, n.addresses) && ctx.Err() == nil {
			wait = o.Min
			n.addresses, n.failed = addresses, nil
			g.options.Log.Info("upstream name has other addresses", "upstream", g.options.Name, "name", n.host,
				"addresses", addresses)
			g.rebuild()
		}
		g.mu.Unlock()
	}
}

// notFound notes that a name was not found again.
func (g *Group) notFound(n *name, why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	what := "upstream name is not found; its last addresses hold"
	if n.failed != nil {
		what = "upstream name is not found"
		if n.failed = why; len(g.set.Load().endpoints) == 0 {
			g.rebuild()
		}
	}
	g.options.Log.Warn(what, "upstream", g.options.Name, "name", n.host, "why", why)
}

// doubt has the name looked up sooner, because one of its addresses does not answer.
func (n *name) doubt() {
	select {
	case n.doubts <- struct{}{}:
	default: // it is doubted already
	}
}

// rest waits, no longer than least once there is a doubt. It reports false when the context ended before.
func (n *name) rest(ctx context.Context, d, least time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-n.doubts:
		return sleep(ctx, min(d, least))
	}
}

// ask looks a name up once and returns its addresses with the port, sorted. An answer without any is an error.
func (g *Group) ask(ctx context.Context, n *name) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, g.options.Resolve.Timeout)
	defer cancel()
	answer, err := g.options.Resolve.Lookup(ctx, n.host)
	if err != nil {
		return nil, err
	}
	four := false
	for i := range answer {
		answer[i] = answer[i].Unmap()
		four = four || answer[i].Is4()
	}
	var addresses []string
	for _, a := range answer {
		if a.IsValid() && !a.IsUnspecified() && (a.Is4() || !four || g.options.Resolve.IPv6) {
			addresses = append(addresses, netip.AddrPortFrom(a, n.port).String())
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%s has no address", n.host)
	}
	slices.Sort(addresses)
	return slices.Compact(addresses), nil
}

// jittered is a time give or take a tenth, so that what began together does not stay together.
func (g *Group) jittered(d time.Duration) time.Duration {
	tenth := int64(d / 10)
	if tenth == 0 {
		return d
	}
	return d - time.Duration(tenth) + time.Duration(g.options.random(2*tenth))
}

// sleep waits, and reports false when the context ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
