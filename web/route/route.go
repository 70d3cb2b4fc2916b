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
	// Fixed says that Handler gives the same answer to every method, so that the table itself answers OPTIONS, with 204
	// and what is allowed, unless Methods names it.
	Fixed bool
	// Handler answers. Required.
	Handler web.Handler
}

// Table is a list of routes. It is a web.Handler, never changes, and may be used by all threads.
type Table struct {
	routes []route
	only   web.Handler // of a table with one route that matches everything and adds nothing
	fixed  bool        // what only gives is the same for every method
}

// route is a Route prepared for matching.
type route struct {
	host    string // in lower case; of a wildcard what follows the "*"
	under   bool   // host is a wildcard
	text    string
	kind    kind
	methods web.Methods // none allows all
	fixed   bool
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
			t.only, t.fixed = r.handler, r.fixed
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
		m, ok := web.MethodNamed(name)
		if !ok {
			return r, fmt.Errorf("%q is no method that can be served", name)
		}
		r.methods |= web.MethodsOf(m)
	}
	if r.methods.Has(http1.GET) {
		r.methods |= web.MethodsOf(http1.HEAD)
	}
	r.fixed = from.Fixed
	r.lines = web.FieldLines(from.Fields...)
	return r, nil
}

// Serve hands the exchange to the first route that matches. When routes match in all but the method the answer is
// 405 with their methods, or those methods alone if that was the question; when none does it is 404. A route further
// down may match then: it answers, and what it allows is told together with theirs. If it finds nothing under a path
// that a route before it names as a whole, the answer is 405 all the same. A path that no route takes, but one does
// with a "/" behind it as its prefix, is sent there.
func (t *Table) Serve(x *web.Exchange) {
	if t.only != nil {
		if t.fixed && x.Method() == http1.OPTIONS {
			x.RefuseMethod(web.AllMethods)
			return
		}
		t.only.Serve(x)
		return
	}
	path, host, method := x.Path(), trimDot(x.Host()), x.Method()
	passed := false
	for i := range t.routes {
		r := &t.routes[i]
		if !r.matches(host, path) {
			continue
		}
		if r.methods != 0 && !r.methods.Has(method) {
			x.Elsewhere(r.methods, r.kind == whole)
			passed = true
			continue
		}
		if len(r.lines) > 0 {
			x.AddLines(r.lines)
		}
		if r.fixed && r.methods == 0 && method == http1.OPTIONS {
			x.RefuseMethod(web.AllMethods)
			return
		}
		r.handler.Serve(x)
		return
	}
	switch {
	case passed:
		x.RefuseMethod(0)
	case !t.redirected(x, host, path, method):
		x.Fail(404)
	}
}

// redirected sends who asks for "/a" to "/a/", if that is the prefix of a route, and reports whether it did. What a
// client would send along is not sent elsewhere.
func (t *Table) redirected(x *web.Exchange, host, path []byte, method http1.Method) bool {
	if method != http1.GET && method != http1.HEAD {
		return false
	}
	for i := range t.routes {
		r := &t.routes[i]
		if r.kind != prefix || len(r.text) != len(path)+1 || r.text[len(path)] != '/' || r.text[:len(path)] != string(path) ||
			!r.serves(host) || r.methods != 0 && !r.methods.Has(method) {
			continue
		}
		x.AddLines(r.lines)
		var space [512]byte
		b := append(web.EscapePath(space[:0], path), '/')
		if query := x.Query(); query != nil {
			b = append(b, '?')
			b = append(b, query...)
		}
		x.AddBytes("Location", b)
		x.Status(308)
		x.Reply(nil)
		return true
	}
	return false
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
	return r.serves(host)
}

// serves compares the host.
func (r *route) serves(host []byte) bool {
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
