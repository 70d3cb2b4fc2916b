package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// upstreams checks the upstreams, and that whoever names one names one that there is.
func (r *rules) upstreams() {
	used := make(map[string]bool)
	for i, l := range r.config.Listeners {
		if r.streamListener(item("listeners", i), l) {
			used[l.Upstream] = true
		}
	}
	for i, route := range r.config.Routes {
		if route.Proxy != nil {
			r.proxy(child(item("routes", i), "proxy"), route)
			used[route.Proxy.Upstream] = true
		}
	}
	if model := r.config.Engine.Model; len(used) > 0 && slices.Contains(r.known.Loopless, model) {
		r.refuse(fmt.Sprintf("the %s model cannot proxy: it has no event loops to connect from", model), r.proxyingModels(),
			"engine.model")
	}
	for _, name := range slices.Sorted(maps.Keys(r.config.Upstreams)) {
		u, path := r.config.Upstreams[name], child("upstreams", name)
		if !plain(name) {
			r.refuse(fmt.Sprintf("%q is no name for an upstream", name), "write letters, digits, - and _", path)
		}
		if !used[name] {
			r.warn("nothing proxies to this upstream", "name it in a route's proxy.upstream, or leave it out", path)
		}
		r.upstream(path, u)
	}
}

// reference checks where something is proxied to: an upstream by its name, or destinations.
func (r *rules) reference(path, name string, to []Destination) {
	at := child(path, "upstream")
	switch {
	case name == "" && len(to) == 0:
		r.refuse("there is nothing to proxy to", `write upstream: and the name of one, or to: ["127.0.0.1:9001"]`, path)
	case name != "" && len(to) > 0:
		r.refuse("upstream and to both say where to", "keep one of the two", at, child(path, "to"))
	case name != "":
		names := slices.Sorted(maps.Keys(r.config.Upstreams))
		if _, ok := r.config.Upstreams[name]; ok {
			break
		}
		mend := fmt.Sprintf("write it, as in upstreams: {%s: {to: [\"127.0.0.1:9001\"]}}", name)
		if len(names) > 0 {
			mend = suggestWord(name, names)
		}
		r.refuse(fmt.Sprintf("there is no upstream %q", name), mend, at)
	}
	r.destinations(child(path, "to"), to)
}

// proxyingModels is what to write instead of a model that cannot proxy.
func (r *rules) proxyingModels() string {
	var models []string
	for _, model := range r.known.Models {
		if !slices.Contains(r.known.Loopless, model) {
			models = append(models, "engine.model: "+model)
		}
	}
	return "write " + orList(models)
}

func (r *rules) destinations(path string, to []Destination) {
	for i, d := range to {
		at := item(path, i)
		if d.nowhere() {
			message, mend := "there is no address", destinationMend
			if d.text != "" {
				_, err := parseDestination(d.text)
				message, mend = split(err)
			}
			r.refuse(message, mend, at)
			continue
		}
		for j, earlier := range to[:i] {
			if !earlier.nowhere() && earlier.Equal(d) {
				r.refuse(fmt.Sprintf("%s is here already, as %s", d, item(path, j)), "keep one of the two; endpoints have a weight",
					at)
				break
			}
		}
		r.ownAddress(at, d)
	}
}

// ownAddress warns of a proxy that would connect to itself.
func (r *rules) ownAddress(path string, d Destination) {
	host := d.Host
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, _ := netip.ParseAddr(host)
	for i, l := range r.config.Listeners {
		a := l.Address
		same := d.Path != "" && a.Network == Unix && a.Path == d.Path ||
			ip.IsValid() && a.Network != Unix && a.Port == d.Port &&
				(a.IP == ip || !a.IP.IsValid() && ip.IsLoopback() || a.IP.IsUnspecified() && ip.IsLoopback())
		if same && a.Network != "" {
			r.warn(fmt.Sprintf("%s is %s of this server: it would proxy to itself", d, item("listeners", i)),
				"write the address of another server", path)
		}
	}
}

func (r *rules) upstream(path string, u Upstream) {
	destinations := u.To
	switch {
	case len(u.To) == 0 && len(u.Endpoints) == 0:
		r.refuse("there is no endpoint", `write at least one, as in to: ["127.0.0.1:9001"]`, child(path, "to"), path)
	case len(u.To) > 0 && len(u.Endpoints) > 0:
		r.refuse("to and endpoints both say where to", "keep one of the two", child(path, "to"), child(path, "endpoints"))
	case len(u.Endpoints) > 0:
		seen := make([]Destination, 0, len(u.Endpoints))
		for i, e := range u.Endpoints {
			at := child(item(child(path, "endpoints"), i), "address")
			switch {
			case e.Address.nowhere():
				r.refuse("there is no address", destinationMend, at)
			case slices.ContainsFunc(seen, e.Address.Equal):
				r.refuse(fmt.Sprintf("%s is here already", e.Address), "keep one of the two", at)
			default:
				r.ownAddress(at, e.Address)
			}
			seen = append(seen, e.Address)
		}
	default:
		r.destinations(child(path, "to"), destinations)
	}
	r.name(child(path, "balance"), "policy", u.Balance, r.known.Policies, wordAuto)
	if u.Key.Source != "" && u.Balance != wordAuto && u.Balance != "maglev" {
		r.warn(fmt.Sprintf("%s does not look at the key", u.Balance), "write balance: maglev, or leave the key out",
			child(path, "key"))
	}
	if u.Sticky != nil && !isToken(u.Sticky.Cookie) {
		r.refuse(fmt.Sprintf("%q is not the name of a cookie", u.Sticky.Cookie), "write letters, digits, - and _",
			path+".sticky.cookie")
	}
	r.wholeSeconds(child(path, "keepalive"), time.Duration(u.KeepAlive))
	r.upstreamPairs(path, u)
}

// upstreamPairs checks keys of an upstream against each other.
func (r *rules) upstreamPairs(path string, u Upstream) {
	below := func(less, more string, wrong bool) {
		if wrong {
			r.refuse(fmt.Sprintf("it is more than %s", more), "lower it, or raise "+more, path+"."+less, path+"."+more)
		}
	}
	below("pool.min", "pool.max", CountOrUnlimited(u.Pool.Min) > u.Pool.Max)
	below("pool.min", "pool.idle", u.Pool.Min > u.Pool.Idle)
	below("eject.base", "eject.max", u.Eject.Base > u.Eject.Max)
	below("resolve.min", "resolve.max", u.Resolve.Min > u.Resolve.Max)
	if h := u.Health; h != nil {
		if h.Timeout > h.Interval {
			r.refuse(fmt.Sprintf("a check may take %v (health.timeout) and they are %v apart (health.interval)", h.Timeout,
				h.Interval), "make the timeout no longer than the interval", path+".health.timeout", path+".health.interval")
		}
		if h.HTTP != nil && !strings.HasPrefix(h.HTTP.Path, "/") {
			r.refuse(fmt.Sprintf("%q does not begin with /", h.HTTP.Path), fmt.Sprintf("did you mean %q?", "/"+h.HTTP.Path),
				path+".health.http.path")
		}
		if h.HTTP != nil {
			r.visible(path+".health.http.path", h.HTTP.Path)
			r.visible(path+".health.http.host", h.HTTP.Host)
		}
	}
	if !u.Pool.Enabled && u.Pool.Min > 0 {
		r.warn("nothing is kept while the pool is not enabled", "leave it out", path+".pool.min")
	}
}

// visible checks a text that goes into the head of a request as it is.
func (r *rules) visible(path, text string) {
	if strings.IndexFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f }) >= 0 {
		r.refuse(fmt.Sprintf("%q holds a character that is not visible ASCII", text), "leave it out", path)
	}
}

// proxy checks the action of a route.
func (r *rules) proxy(path string, route Route) {
	p := route.Proxy
	r.reference(path, p.Upstream, p.To)
	if p.Strip {
		r.strip(child(path, "strip"), route)
	}
	if p.Host == "" {
		r.refuse("a request has a Host field", "write client, upstream or a name", child(path, "host"))
	}
	r.visible(child(path, "host"), p.Host)
	if p.Prefix != "" && p.Prefix[0] != '/' {
		r.refuse(fmt.Sprintf("%q does not begin with /", p.Prefix), fmt.Sprintf("did you mean %q?", "/"+p.Prefix),
			child(path, "prefix"))
	}
	if strings.ContainsAny(p.Prefix, "?#") {
		r.refuse("a path ends before its ? or #", "leave out what follows it", child(path, "prefix"))
	}
	r.visible(child(path, "prefix"), p.Prefix)
	r.headerEdits(child(path, "request_headers"), p.RequestHeaders, true)
	r.headerEdits(child(path, "response_headers"), p.ResponseHeaders, false)
}

// framing are the fields that no edit touches, because they frame a message or belong to one connection.
var framing = []string{
	"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
	"upgrade",
}

// headerEdits checks changes of fields: those of a request or of an answer.
func (r *rules) headerEdits(path string, edits HeaderEdits, request bool) {
	check := func(name, at string, refuse func(message, mend, path string)) {
		lower := strings.ToLower(name)
		switch {
		case !isToken(name):
			refuse(fmt.Sprintf("%q is not the name of a field", name), "write letters, digits and hyphens", at)
		case slices.Contains(framing, lower):
			refuse(fmt.Sprintf("%s frames the message and cannot be changed", name), "leave it out", at)
		case lower == "host" && request:
			refuse("the Host field has a key of its own", "write proxy.host", at)
		}
	}
	for _, lines := range []struct {
		key    string
		values map[string]string
	}{{"set", edits.Set}, {"add", edits.Add}} {
		for _, name := range slices.Sorted(maps.Keys(lines.values)) {
			at := child(child(path, lines.key), name)
			check(name, at, r.refuseName)
			r.headerValue(at, lines.values[name])
		}
	}
	for i, name := range edits.Remove {
		check(name, item(child(path, "remove"), i), func(message, mend, path string) { r.refuse(message, mend, path) })
	}
}

// streamListener checks what a listener says of upstreams. It reports whether the listener proxies.
func (r *rules) streamListener(path string, l Listener) bool {
	stream := l.Protocol == StreamTCP || l.Protocol == StreamUDP
	if !stream {
		const mend = "write protocol: tcp, or, for http, a route with a proxy"
		if l.Upstream != "" || len(l.To) > 0 {
			r.refuse(fmt.Sprintf("a listener that speaks %s does not proxy", l.Protocol), mend, child(path, "upstream"),
				child(path, "to"), path)
		}
		if l.ProxyProtocol.said() {
			r.refuse("the PROXY protocol is for listeners that speak tcp", "leave it out", child(path, "proxy_protocol"))
		}
		return false
	}
	r.reference(path, l.Upstream, l.To)
	protocol := child(path, "protocol")
	udp := l.Address.Network == UDP
	switch {
	case l.Protocol == StreamUDP && l.Address.Network == TCP:
		mend := fmt.Sprintf("did you mean %q?", "udp://"+strings.TrimPrefix(l.Address.text, "tcp://"))
		r.refuse(fmt.Sprintf("%s takes no datagrams", l.Address), mend, child(path, "address"), protocol)
	case l.Protocol == StreamTCP && udp:
		r.refuse("over udp there is no tcp", "write protocol: udp", protocol)
	case l.Protocol == StreamUDP && l.ProxyProtocol.said():
		r.refuse("the PROXY protocol is for listeners that speak tcp", "leave it out", child(path, "proxy_protocol"))
	}
	u, named := r.config.Upstreams[l.Upstream]
	if key := u.Key; named && key.Source != "" && key.Source != KeyClient {
		r.refuse(fmt.Sprintf("%s has a key of %s, and %s has no requests to find it in", l.Upstream, key, l.Protocol),
			"write key: client, or make another upstream", child(path, "upstream"))
	}
	return true
}
