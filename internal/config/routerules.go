package config

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
)

func (r *rules) routes() {
	routes := r.config.Routes
	speaksHTTP := slices.ContainsFunc(r.config.Listeners, func(l Listener) bool { return l.Protocol == HTTP })
	if len(routes) == 0 && speaksHTTP {
		r.warn("there are no routes: every answer will be 404",
			`write one, as in [{respond: {body: "hello"}}]`, "routes")
	}
	if len(routes) > 0 && len(r.config.Listeners) > 0 && !speaksHTTP {
		r.warn("no listener speaks http: the routes are never asked", "write protocol: http at a listener", "routes")
	}
	for i, route := range routes {
		path := item("routes", i)
		r.host(child(path, "host"), route.Host)
		r.target(path, route)
		r.methods(child(path, "methods"), route.Methods)
		r.action(path, route)
		r.headers(child(path, "headers"), route.Headers)
		for j, earlier := range routes[:i] {
			if earlier.covers(route) {
				r.warn(fmt.Sprintf("this route never answers: %s comes first and takes all of its requests",
					item("routes", j)), "move it up, or narrow the earlier one", path)
				break
			}
		}
	}
}

func (r *rules) host(path, host string) {
	name := strings.TrimPrefix(host, "*.")
	literal := strings.HasPrefix(host, "[")
	valid := func(c rune) bool {
		return plain(string(c)) || c == '.' || literal && strings.ContainsRune("[]:", c)
	}
	bare, port, hasPort := strings.Cut(host, ":")
	switch {
	case host == "":
	case hasPort && !literal && strings.Trim(port, "0123456789") == "":
		r.refuse("a host is matched without its port", fmt.Sprintf("did you mean %q?", bare), path)
	case host == "*":
		r.refuse("every host is what a route without a host matches", "leave the key out", path)
	case name == "" || strings.IndexFunc(name, func(c rune) bool { return !valid(c) }) >= 0:
		r.refuse(fmt.Sprintf("%q is not a host", host), `write a name such as "example.com" or "*.example.com"`, path)
	}
}

func (r *rules) target(path string, route Route) {
	var said []string
	for _, match := range []struct{ name, value string }{
		{"path", route.Path}, {"prefix", route.Prefix}, {"suffix", route.Suffix},
	} {
		at := child(path, match.name)
		_, written := r.source.places[at]
		switch {
		case match.value == "" && !written:
			continue
		case match.value == "":
			r.refuse("it is empty and would match nothing", "write it, or leave the key out", at)
		case match.name != "suffix" && match.value[0] != '/':
			r.refuse(fmt.Sprintf("%q does not begin with /", match.value), fmt.Sprintf("did you mean %q?",
				"/"+match.value), at)
		case strings.ContainsAny(match.value, "?#"):
			r.refuse("a path ends before its ? or #", "leave out what follows it", at)
		case strings.IndexFunc(match.value, func(c rune) bool { return c < ' ' || c == 0x7f }) >= 0:
			r.refuse("a path holds no control characters", "leave them out", at)
		}
		said = append(said, match.name)
	}
	if len(said) > 1 {
		r.refuse("a route matches one of path, prefix and suffix, and here are "+strings.Join(said, " and "),
			"keep one, and make another route for the other", path)
	}
}

// Methods are the methods that a route can be asked with.
func Methods() []string { return []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} }

func (r *rules) methods(path string, methods []string) {
	for i, method := range methods {
		upper := strings.ToUpper(method)
		switch {
		case !isToken(method):
			r.refuse(fmt.Sprintf("%q is not a method", method), "write methods such as GET or HEAD", item(path, i))
		case method != upper:
			r.refuse(fmt.Sprintf("methods are told by their case, and nobody sends %q", method),
				fmt.Sprintf("did you mean %s?", upper), item(path, i))
		case !slices.Contains(Methods(), method):
			r.refuse(fmt.Sprintf("%s never reaches a route: the answer to it is always an error", method),
				"write some of "+strings.Join(Methods(), ", "), item(path, i))
		}
	}
}

func (r *rules) action(path string, route Route) {
	var actions []string
	if route.Files != nil {
		actions = append(actions, "files")
		r.files(child(path, "files"), route.Files)
		if route.Files.Strip {
			r.strip(child(child(path, "files"), "strip"), route)
		}
	}
	if route.Respond != nil {
		actions = append(actions, "respond")
		r.respond(child(path, "respond"), route.Respond)
	}
	if route.Redirect != nil {
		actions = append(actions, "redirect")
		r.redirect(child(path, "redirect"), route.Redirect)
	}
	if route.Proxy != nil {
		actions = append(actions, "proxy")
	}
	if route.Status != nil {
		actions = append(actions, "status")
	}
	const mend = "a route does exactly one of files, respond, redirect, proxy and status"
	switch {
	case len(actions) == 0:
		r.refuse("the route does nothing", mend, path)
	case len(actions) > 1:
		r.refuse("the route does "+strings.Join(actions, " and "), mend, path)
	}
}

func (r *rules) files(path string, files *Files) {
	root := child(path, "root")
	switch about, err := os.Stat(files.Root); {
	case files.Root == "":
		r.refuse("there is no directory to serve", "write its path", root)
	case err != nil:
		cause := err
		if wrapped, ok := err.(*os.PathError); ok {
			cause = wrapped.Err
		}
		r.refuse(fmt.Sprintf("%q cannot be served: %v", files.Root, cause),
			"write the path of a directory that exists", root)
	case !about.IsDir():
		r.refuse(fmt.Sprintf("%q is not a directory", files.Root), "write the directory that it lies in", root)
	}
	for i, name := range files.Index {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			r.refuse(fmt.Sprintf("%q is not the name of a file in a directory", name),
				"write a name such as index.html", item(child(path, "index"), i))
		}
	}
	for _, end := range slices.Sorted(maps.Keys(files.MIME)) {
		at := child(child(path, "mime"), end)
		if !strings.HasPrefix(end, ".") || len(end) < 2 {
			r.refuseName(fmt.Sprintf("%q is not the end of a name", end), fmt.Sprintf("did you mean %q?", "."+end), at)
		}
		r.contentType(at, files.MIME[end])
	}
	if cache := files.Cache; cache.MemoryFile > cache.Memory {
		r.warn(fmt.Sprintf("no file of %s fits in a memory of %s", cache.MemoryFile, cache.Memory),
			"lower memory_file, or raise memory", path+".cache.memory_file", path+".cache.memory")
	}
}

// strip checks that there is something to cut off.
func (r *rules) strip(path string, route Route) {
	const mend = `give the route a prefix such as "/static/", or leave strip out`
	switch {
	case route.Path != "" || route.Suffix != "":
		r.refuse("only a prefix can be cut off, and this route matches another way", mend, path)
	case route.Prefix == "":
		r.refuse("there is no prefix to cut off", mend, path)
	case strings.Trim(route.Prefix, "/") == "":
		r.refuse(fmt.Sprintf("nothing is left to cut off a prefix of %q", route.Prefix), "leave strip out", path)
	}
}

func (r *rules) respond(path string, respond *Respond) {
	r.contentType(child(path, "type"), respond.Type)
	r.headers(child(path, "headers"), respond.Headers)
	switch respond.Status {
	case 204, 205, 304:
		if respond.Body != "" {
			r.refuse(fmt.Sprintf("an answer with status %d has no body", respond.Status),
				"leave the body out, or write status 200", child(path, "body"), child(path, "status"))
		}
	}
}

func (r *rules) redirect(path string, redirect *Redirect) {
	at := child(path, "status")
	switch redirect.Status {
	case 301, 302, 303, 307, 308:
	default:
		r.refuse(fmt.Sprintf("%d is not the status of a redirect", redirect.Status),
			"write 301, 302, 303, 307 or 308", at)
	}
	to := child(path, "to")
	const mend = `write a URL such as "https://example.com/", or a path such as "/new"`
	where, err := url.Parse(redirect.To)
	outside := strings.IndexFunc(redirect.To, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' })
	switch {
	case redirect.To == "":
		r.refuse("there is nowhere to go", mend, to)
	case err != nil || outside >= 0:
		r.refuse(fmt.Sprintf("%q is not a URL", redirect.To), mend, to)
	case where.Scheme == "" && !strings.HasPrefix(redirect.To, "/"):
		r.refuse(fmt.Sprintf("%q depends on where the client is", redirect.To), mend, to)
	case where.Scheme != "" && where.Host == "":
		r.refuse(fmt.Sprintf("%q names no host", redirect.To), mend, to)
	}
}

// ownFields are the fields that the server writes itself, because the framing of the answer hangs on them.
var ownFields = map[string]string{
	"connection":        "the server writes it, as limits and timeouts say",
	"content-length":    "the server writes it",
	"date":              "the server writes it",
	"keep-alive":        "the server writes it, as limits and timeouts say",
	"server":            "write server.name instead",
	"trailer":           "the server writes it",
	"transfer-encoding": "the server writes it",
	"upgrade":           "the server writes it",
}

func (r *rules) headers(path string, headers map[string]string) {
	seen := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at, lower := child(path, name), strings.ToLower(name)
		mend, own := ownFields[lower]
		switch {
		case !isToken(name):
			r.refuseName(fmt.Sprintf("%q is not the name of a field", name), "write letters, digits and hyphens", at)
		case own:
			r.refuseName(fmt.Sprintf("%s is not for a route to say", name), mend, at)
		case seen[lower] != "":
			r.refuseName(fmt.Sprintf("%s and %s are the same field", seen[lower], name), "keep one", at)
		}
		seen[lower] = name
		r.headerValue(at, headers[name])
	}
}

func (r *rules) contentType(path, value string) {
	kind, _, _ := strings.Cut(value, ";")
	major, minor, ok := strings.Cut(kind, "/")
	if !ok || !isToken(major) || !isToken(strings.TrimRight(minor, " ")) {
		r.refuse(fmt.Sprintf("%q is not a content type", value), `write one such as "text/html; charset=utf-8"`, path)
		return
	}
	r.headerValue(path, value)
}

// headerValue checks a field's value: RFC 9110, section 5.5.
func (r *rules) headerValue(path, value string) {
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			r.refuse(fmt.Sprintf("a field's value holds no byte %#02x", c), "write it on one line", path)
			return
		}
	}
	if value != strings.Trim(value, " \t") {
		r.refuse("a field's value neither begins nor ends with a space", fmt.Sprintf("did you mean %q?",
			strings.Trim(value, " \t")), path)
	}
}

// isToken reports whether text is a token: RFC 9110, section 5.6.2.
func isToken(text string) bool {
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return text != ""
}
