package proxy

import (
	"bytes"
	"net/netip"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
)

// client is the address of a client, as text and as what it is. A thread keeps that of the last one.
type client struct {
	address netip.Addr
	size    uint8
	trusted bool
	known   bool // there was one
	text    [46]byte
}

// clientOf is the client of an exchange, until the next call.
func (a *agent) clientOf(x *web.Exchange) *client {
	c := &a.client
	if address := x.Remote().Addr(); address != c.address || !c.known {
		c.address, c.size, c.known = address, 0, true
		if address = address.Unmap().WithZone(""); address.IsValid() {
			c.size = uint8(len(address.AppendTo(c.text[:0])))
		} else {
			address = here
		}
		c.trusted = contains(a.proxy.options.Trusted, address)
	}
	return c
}

// here stands for clients at Unix sockets when it is asked whether they are trusted: they are on this machine.
var here = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func contains(networks []netip.Prefix, address netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(address) {
			return true
		}
	}
	return false
}

// claims are the fields in which a client says for whom it asks; there are others, which claiming finds.
var claims = http1.FieldsOf(http1.XForwardedFor, http1.XForwardedHost, http1.XForwardedProto, http1.XRealIP,
	http1.Forwarded)

// claiming says that a field which is none of the known ones makes such a claim too: X-Forwarded-Port and whatever else
// begins like it.
func claiming(name []byte) bool {
	const prefix = "x-forwarded"
	return len(name) >= len(prefix) && name[0]|0x20 == 'x' && http1.EqualFold(name[:len(prefix)], prefix) &&
		(len(name) == len(prefix) || name[len(prefix)] == '-')
}

// claimsMore says that a request has fields of the kind that claiming finds.
func claimsMore(r *http1.Request) bool {
	for i := range r.Fields() {
		if r.KnownAt(i) == http1.UnknownField {
			if name, _ := r.FieldAt(i); claiming(name) {
				return true
			}
		}
	}
	return false
}

// withoutClaims takes the lines of such fields out of field lines, in place.
func withoutClaims(lines []byte) []byte {
	kept := lines[:0]
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n') + 1
		if name := lines[:bytes.IndexByte(lines, ':')]; !claiming(name) {
			kept = append(kept, lines[:end]...)
		}
		lines = lines[end:]
	}
	return kept
}

// written are those of them that appendForwarded writes.
func (f Forwarded) written() (set http1.FieldSet) {
	if f == ForwardedX || f == ForwardedBoth {
		set |= http1.FieldsOf(http1.XForwardedFor)
	}
	if f == ForwardedRFC7239 || f == ForwardedBoth {
		set |= http1.FieldsOf(http1.Forwarded)
	}
	return set
}

// appendForwarded appends the fields that tell of the client.
func (a *agent) appendForwarded(b []byte, x *web.Exchange, c *client) []byte {
	o, r := &a.proxy.options, x.Request()
	text := c.text[:c.size]
	if o.Forwarded == ForwardedX || o.Forwarded == ForwardedBoth {
		b = appendList(b, "X-Forwarded-For: ", http1.XForwardedFor, r, c.trusted, len(text) > 0)
		if len(text) > 0 {
			b = append(b, text...)
			b = append(b, "\r\n"...)
		}
		if !c.trusted || !r.Has(http1.FieldsOf(http1.XForwardedProto)) {
			b = append(b, "X-Forwarded-Proto: "...)
			b = append(b, o.Scheme...)
			b = append(b, "\r\n"...)
		}
		if host := r.Authority(); len(host) > 0 && (!c.trusted || !r.Has(http1.FieldsOf(http1.XForwardedHost))) {
			b = append(b, "X-Forwarded-Host: "...)
			b = append(b, host...)
			b = append(b, "\r\n"...)
		}
	}
	if o.Forwarded == ForwardedRFC7239 || o.Forwarded == ForwardedBoth {
		b = appendList(b, "Forwarded: ", http1.Forwarded, r, c.trusted, true)
		b = append(b, "for="...)
		b = appendNode(b, text)
		if host := r.Authority(); len(host) > 0 {
			b = append(b, ";host=\""...)
			b = append(b, host...) // it has been checked: no quote is in it
			b = append(b, '"')
		}
		b = append(b, ";proto="...)
		b = append(b, o.Scheme...)
		b = append(b, "\r\n"...)
	}
	return b
}

// appendList appends the name of a field and, of a trusted client, the members that it sent, so that another member can
// follow. Without one, the line is ended, or is none.
func appendList(b []byte, name string, id http1.KnownField, r *http1.Request, trusted, more bool) []byte {
	listed := false
	if trusted && r.Has(http1.FieldsOf(id)) {
		for i := range r.Fields() {
			_, value := r.FieldAt(i)
			if r.KnownAt(i) != id || len(value) == 0 {
				continue
			}
			if listed {
				b = append(b, ", "...)
			} else {
				b = append(b, name...)
			}
			b = append(b, value...)
			listed = true
		}
	}
	switch {
	case listed && more:
		return append(b, ", "...)
	case listed:
		return append(b, "\r\n"...)
	case more:
		return append(b, name...)
	}
	return b
}

// appendNode appends an address as RFC 7239 section 6 writes it.
func appendNode(b, text []byte) []byte {
	if len(text) == 0 {
		return append(b, "unknown"...)
	}
	if bytes.IndexByte(text, ':') < 0 {
		return append(b, text...)
	}
	b = append(b, "\"["...)
	b = append(b, text...)
	return append(b, "]\""...)
}
