package proxy

import (
	"bytes"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
)

// local are the fields of a request that are for this connection alone, or that are written anew.
var local = http1.FieldsOf(http1.Host, http1.Connection, http1.KeepAlive, http1.ProxyConnection, http1.TransferEncoding,
	http1.ContentLength, http1.Upgrade, http1.TE, http1.Expect, http1.ProxyAuthorization, http1.ProxyAuthenticate)

// parent is what a request with a span is told anew.
var parent = http1.FieldsOf(http1.TraceParent)

const (
	// smallest is the smallest block that can be configured: the most that is asked of Conn.Reserve.
	smallest = 4 << 10
	// keptBytes is the largest buffer that is kept from one use to the next.
	keptBytes = 64 << 10
)

// sendHead queues the head of the request on the link: written in place, if it is not a large one.
func (s *session) sendHead(l *upstream.Link) {
	x, c := s.x, l.Conn
	r := x.Request()
	n := len(r.Head()) + 3*len(r.Authority()) + len(l.Endpoint.Host()) + s.agent.proxy.extra
	if n <= smallest {
		room := c.Reserve(n)
		if room == nil {
			return // it is being closed, and says so
		}
		b := s.appendHead(room[:0:len(room)], x, l.Endpoint)
		if len(b) <= len(room) && &b[0] == &room[0] {
			c.Commit(len(b))
			return
		}
		c.Write(b)
		return
	}
	b := s.appendHead(s.agent.scratch[:0], x, l.Endpoint)
	c.Write(b)
	if s.agent.scratch = b; cap(b) > keptBytes {
		s.agent.scratch = nil
	}
}

// appendHead appends the head of the request as the upstream sees it.
func (s *session) appendHead(b []byte, x *web.Exchange, e *upstream.Endpoint) []byte {
	a, r := s.agent, x.Request()
	h := a.proxy
	b = append(b, r.MethodToken()...)
	b = append(b, ' ')
	b = h.appendTarget(b, x)
	b = append(b, " HTTP/1.1\r\n"...)
	b = h.appendHost(b, r, e)
	drop := local | h.request.known
	left := hopsLeft(r)
	if left > 0 {
		drop |= hops
	}
	var known *client
	if h.options.Forwarded != ForwardedOff {
		if known = a.clientOf(x); known.trusted {
			drop |= h.options.Forwarded.written()
		} else {
			drop |= claims
		}
	}
	from := len(b)
	span, other := x.Span(), h.request.other
	if span != nil {
		drop |= parent
		if !span.Continues() {
			other = h.stateless
		}
	}
	b = r.AppendEndToEnd(b, drop, other, h.options.Underscores)
	if known != nil && !known.trusted && claimsMore(r) {
		b = b[:from+len(withoutClaims(b[from:]))]
	}
	if known != nil {
		b = a.appendForwarded(b, x, known)
	}
	if left > 0 {
		b = appendHops(b, left)
	}
	b = append(b, h.via[r.Minor]...)
	b = append(b, h.request.lines...)
	if span != nil {
		b = span.AppendParent(b)
	}
	switch {
	case r.Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.ContentLength >= 0:
		b = http1.AppendLength(b, r.ContentLength)
	}
	if s.defers && !s.continued && !s.whole && len(s.replay) == 0 {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	return s.appendOptions(b, r)
}

// appendOptions appends what the connection to the upstream is told, and ends the head.
func (s *session) appendOptions(b []byte, r *http1.Request) []byte {
	trailers := r.Has(http1.FieldsOf(http1.TE)) && acceptsTrailers(r)
	switch {
	case s.upgrades:
		b = r.AppendKnown(b, http1.Upgrade)
		b = append(b, "Connection: Upgrade\r\n"...)
	case s.agent.proxy.options.Close && trailers:
		b = append(b, "TE: trailers\r\nConnection: TE, close\r\n"...)
	case s.agent.proxy.options.Close:
		b = append(b, "Connection: close\r\n"...)
	case trailers:
		b = append(b, "TE: trailers\r\nConnection: TE\r\n"...)
	}
	return append(b, "\r\n"...)
}

// acceptsTrailers says that a TE field has the member "trailers"; any other speaks about this connection.
func acceptsTrailers(r *http1.Request) bool {
	for i := range r.Fields() {
		if _, value := r.FieldAt(i); r.KnownAt(i) == http1.TE && listed(value, "trailers") {
			return true
		}
	}
	return false
}

// listed says that a comma-separated list has a member, in any case of its letters.
func listed(list []byte, lower string) bool {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] != ',' {
			end++
		}
		if http1.EqualFold(http1.TrimSpace(list[:end]), lower) {
			return true
		}
		list = list[min(end+1, len(list)):]
	}
	return false
}

// appendTarget appends path and query. Without a rewrite the path goes as it came, unless it has dot segments: then it
// goes as it was matched, so that nobody behind reads it as another one.
func (h *Handler) appendTarget(b []byte, x *web.Exchange) []byte {
	r := x.Request()
	raw, path := r.Path(), x.Path()
	o := &h.options
	plain := len(raw) == len(path) && len(raw) > 0 && &raw[0] == &path[0]
	switch {
	case o.Strip == "" && o.Prefix == "" && (plain || !dotted(raw)):
		b = append(b, raw...)
	default:
		if n := len(o.Strip); n > 0 && len(path) >= n && string(path[:n]) == o.Strip {
			path = path[n:]
		}
		b = append(b, o.Prefix...)
		slash := len(o.Prefix) > 0 && o.Prefix[len(o.Prefix)-1] == '/'
		switch begins := len(path) > 0 && path[0] == '/'; {
		case slash && begins:
			path = path[1:]
		case !slash && !begins:
			b = append(b, '/')
		}
		if plain {
			b = append(b, path...)
		} else {
			b = web.EscapePath(b, path)
		}
	}
	if query := r.Query(); query != nil {
		b = append(b, '?')
		b = append(b, query...)
	}
	return b
}

// dotted says that a path has a segment "." or "..", percent-encoded or not.
func dotted(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '/' {
			continue
		}
		dots, j := 0, i+1
		for n := 1; n > 0 && j < len(raw); j += n {
			n = dot(raw[j:])
			dots += min(n, 1)
		}
		if (dots == 1 || dots == 2) && (j == len(raw) || raw[j] == '/') {
			return true
		}
	}
	return false
}

// dot is how many bytes of a dot stand at the front of b, which is not empty.
func dot(b []byte) int {
	switch {
	case b[0] == '.':
		return 1
	case len(b) > 2 && b[0] == '%' && b[1] == '2' && b[2]|0x20 == 'e':
		return 3
	}
	return 0
}

// appendHost appends the Host line. A client of HTTP/1.0 may have named none.
func (h *Handler) appendHost(b []byte, r *http1.Request, e *upstream.Endpoint) []byte {
	if h.host != "" {
		return append(b, h.host...)
	}
	b = append(b, "Host: "...)
	if host := r.Authority(); len(host) > 0 && h.options.Host == HostClient {
		b = append(b, host...)
	} else {
		b = append(b, e.Host()...)
	}
	return append(b, "\r\n"...)
}

// mostRounds is how often a request may pass through proxies of one name: several in a row may share it, but a request
// that comes back to where it was would come back for ever.
const mostRounds = 16

var vias = http1.FieldsOf(http1.Via)

// rounds is how often a request has passed through a proxy of this name, as its Via fields say.
func (h *Handler) rounds(r *http1.Request) (n int) {
	for i := range r.Fields() {
		if r.KnownAt(i) != http1.Via {
			continue
		}
		_, list := r.FieldAt(i)
		n += bytes.Count(list, h.name)
	}
	return n
}

// wantsUpgrade says that a request asks for another protocol that can be passed on: not for HTTP/2, which would carry
// requests past everything that is decided here.
func wantsUpgrade(r *http1.Request) bool {
	if r.Minor == 0 || r.HasBody() || !r.Has(http1.FieldsOf(http1.Upgrade)) || !r.ConnectionNames(upgrade) {
		return false
	}
	for i := range r.Fields() {
		if _, value := r.FieldAt(i); r.KnownAt(i) == http1.Upgrade && listed(value, "h2c") {
			return false
		}
	}
	return true
}

var upgrade = []byte("upgrade")
