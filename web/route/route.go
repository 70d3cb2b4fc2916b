// Package route chooses who answers a request: an ordered list of routes, of which the first that matches has it.
package route

import (
	"errors"
	"fmt"
	"strings"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
)

// Route is a match and what answers. What it leaves out matches anything.
type Route struct {
	// Host is the request's host without its port: a name, or "*." and a name for every name under it. The case of
	// letters does not matter, nor does a dot at the end.
	Host string
	// Path, Prefix and Suffix are the whole path, its beginning, and its end; at most one of them is set. They are
	// compared byte by byte with the path as web.Normalize gives it.
	Path, Prefix, Suffix string
	// Methods are the methods, such as "GET", which allows HEAD too. Without any, every method.
	Methods []string
	// Fields are added to every answer of the route.
	Fields []http1.FieldLine
	// Handler answers. Required.
	Handler web.Handler
}

// Table is a list of routes. It is a web.Handler, never changes, and may be used by all threads.
type Table struct {
	routes []route
	only   web.Handler // of a table with one route that matches everything and adds nothing
}

// route is a Route prepared for matching.
type route struct {
	host    string // in lower case; of a wildcard what follows the "*"
	under   bool   // host is a wildcard
	text    string
	kind    kind
	methods uint16 // a bit for each http1.Method; zero allows all
	lines   []byte
	handler web.Handler
}

// kind says how the text of a route is compared with the path.
type kind uint8

const (
	anything kind = iota
	whole
	prefix
	suffix
)

// New makes a table. An error says which route is wrong, counted from one, and why.
func New(routes ...Route) (*Table, error) {
	t := &Table{routes: make([]route, 0, len(routes))}
	for i := range routes {
		r, err := prepare(&routes[i])
		if err != nil {
			return nil, fmt.Errorf("route %d: %w", i+1, err)
		}
		t.routes = append(t.routes, r)
	}
	if len(t.routes) == 1 {
		if r := &t.routes[0]; r.host == "" && r.kind == anything && r.methods == 0 && len(r.lines) == 0 {
			t.only = r.handler
		}
	}
	return t, nil
}

func prepare(from *Route) (r route, err error) {
	if r.handler = from.Handler; r.handler == nil {
		return r, errors.New("nothing answers")
	}
	r.host = strings.TrimSuffix(strings.ToLower(from.Host), ".")
	if name, under := strings.CutPrefix(r.host, "*."); under {
		r.host, r.under = "."+name, true
	}
	if strings.Contains(r.host, "*") || r.host == "." || strings.ContainsAny(r.host, " /") {
		return r, fmt.Errorf("%q is no host: it is a name, or \"*.\" and a name", from.Host)
	}
	for k, text := range map[kind]string{whole: from.Path, prefix: from.Prefix, suffix: from.Suffix} {
		if text == "" {
			continue
		}
		if r.kind != anything {
			return r, errors.New("more than one of path, prefix and suffix")
		}
		if k != suffix && text[0] != '/' {
			return r, fmt.Errorf("%q does not begin with \"/\", so no path can match it", text)
		}
		r.kind, r.text = k, text
	}
	for _, name := range from.Methods {
		m := methodNamed(name)
		if m == http1.Other {
			return r, fmt.Errorf("%q is no method that can be served", name)
		}
		r.methods |= 1 << m
	}
	if r.methods&(1<<http1.GET) != 0 {
		r.methods |= 1 << http1.HEAD
	}
	r.lines = web.FieldLines(from.Fields...)
	return r, nil
}

// methods are those that reach a handler, in the order of an Allow field.
var methods = [...]http1.Method{
	http1.GET, http1.HEAD, http1.POST, http1.PUT, http1.DELETE, http1.OPTIONS, http1.PATCH,
}

func methodNamed(name string) http1.Method {
	for _, m := range methods {
		if m.String() == name {
			return m
		}
	}
	return http1.Other
}

// Serve hands the exchange to the first route that matches. When routes match in all but the method the answer is
// 405 with their methods, or those methods alone if that was the question; when none does it is 404.
func (t *Table) Serve(x *web.Exchange) {
	if t.only != nil {
		t.only.Serve(x)
		return
	}
	path, host := x.Path(), trimDot(x.Host())
	method := uint16(1) << x.Method()
	allowed := uint16(0)
	for i := range t.routes {
		r := &t.routes[i]
		if !r.matches(host, path) {
			continue
		}
		if r.methods != 0 && r.methods&method == 0 {
			allowed |= r.methods
			continue
		}
		if len(r.lines) > 0 {
			x.AddLines(r.lines)
		}
		r.handler.Serve(x)
		return
	}
	switch {
	case allowed == 0:
		x.Fail(404)
	case x.Method() == http1.OPTIONS:
		allow(x, allowed|1<<http1.OPTIONS)
		x.Status(204)
		x.Reply(nil)
	default:
		allow(x, allowed)
		x.Fail(405)
	}
}

// matches compares everything but the method: the path first, because that costs least.
func (r *route) matches(host, path []byte) bool {
	switch r.kind {
	case whole:
		if string(path) != r.text {
			return false
		}
	case prefix:
		if len(path) < len(r.text) || string(path[:len(r.text)]) != r.text {
			return false
		}
	case suffix:
		if len(path) < len(r.text) || string(path[len(path)-len(r.text):]) != r.text {
			return false
		}
	}
	switch {
	case r.host == "":
		return true
	case r.under:
		return len(host) > len(r.host) && http1.EqualFold(host[len(host)-len(r.host):], r.host)
	}
	return http1.EqualFold(host, r.host)
}

func trimDot(host []byte) []byte {
	if n := len(host); n > 0 && host[n-1] == '.' {
		return host[:n-1]
	}
	return host
}

// allow adds the Allow field for a set of methods.
func allow(x *web.Exchange, set uint16) {
	var space [64]byte
	b := space[:0]
	for _, m := range methods {
		if set&(1<<m) == 0 {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, m.String()...)
	}
	x.AddBytes("Allow", b)
}
