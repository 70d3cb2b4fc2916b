package web

import "github.com/myriad-server/myriad/proto/http1"

// Methods is a set of request methods.
type Methods uint16

// MethodsOf is the set of some methods.
func MethodsOf(list ...http1.Method) (set Methods) {
	for _, m := range list {
		set |= 1 << m
	}
	return set
}

// Has says that a method is in the set.
func (s Methods) Has(m http1.Method) bool { return s&(1<<m) != 0 }

// servable are the methods that reach a handler, in the order of an Allow field.
var servable = [...]http1.Method{
	http1.GET, http1.HEAD, http1.POST, http1.PUT, http1.DELETE, http1.OPTIONS, http1.PATCH,
}

// AllMethods are those that reach a handler.
var AllMethods = MethodsOf(servable[:]...)

// MethodNamed is the method with a name, and whether it is one that can reach a handler.
func MethodNamed(name string) (http1.Method, bool) {
	for _, m := range servable {
		if m.String() == name {
			return m, true
		}
	}
	return http1.Other, false
}

// Elsewhere tells whoever answers that others take the same path with the methods of a set: they are added to what
// RefuseMethod allows. If exists, the path is known to lead somewhere, and Fail says 405 instead of 404.
func (x *Exchange) Elsewhere(s Methods, exists bool) {
	x.elsewhere |= s
	x.exists = x.exists || exists
}

// RefuseMethod answers a request whose method is in none of the sets given here and to Elsewhere: 405 and what is in
// them (RFC 9110 section 15.5.6). A request with OPTIONS is told the same, and that all is well; one with a method that
// nobody here knows is told 501.
func (x *Exchange) RefuseMethod(s Methods) {
	s |= x.elsewhere
	x.elsewhere, x.exists = 0, false
	if x.request.Method == http1.Other {
		x.refuse(501, "unknown method")
		return
	}
	status := 405
	if x.request.Method == http1.OPTIONS {
		s |= 1 << http1.OPTIONS
		status = 204
	}
	var space [64]byte
	b := space[:0]
	for _, m := range servable {
		if !s.Has(m) {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, m.String()...)
	}
	x.AddBytes("Allow", b)
	if status == 204 {
		x.Status(204)
		x.Reply(nil)
		return
	}
	x.Fail(405)
}
