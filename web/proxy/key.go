package proxy

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
)

// Key is what of a request chooses the endpoint: the same value leads to the same one.
type Key struct {
	// Of is where the value is.
	Of KeySource
	// Name is that of the field or the cookie.
	Name string
}

// KeySource is where the value of a Key is.
type KeySource uint8

// The sources of a key. A request that has no such field or cookie is chosen for by its client's address.
const (
	KeyNone   KeySource = iota // there is none
	KeyClient                  // the address of the client
	KeyFlow                    // its address and port
	KeyPath                    // the path
	KeyField                   // a field
	KeyCookie                  // a cookie
)

func (k Key) check() error {
	if (k.Of == KeyField || k.Of == KeyCookie) && !token7230(k.Name) {
		return fmt.Errorf("proxy: %q cannot be the name of a key", k.Name)
	}
	if k.Of > KeyCookie {
		return errors.New("proxy: there is no such key")
	}
	return nil
}

// hash is FNV-1a, which is the same in every process.
func hash[B ~[]byte | ~string](value B) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(value) {
		h = (h ^ uint64(value[i])) * 1099511628211
	}
	return h
}

// key is the hash of what chooses the endpoint.
func (a *agent) key(x *web.Exchange) uint64 {
	k := &a.proxy.options.Key
	switch k.Of {
	case KeyNone:
		return 0
	case KeyPath:
		return hash(x.Path())
	case KeyField:
		if value, ok := x.Request().Lookup(k.Name); ok {
			return hash(value)
		}
	case KeyCookie:
		if value, ok := cookie(x.Request(), k.Name); ok {
			return hash(value)
		}
	case KeyFlow:
		var space [64]byte
		return hash(x.Remote().AppendTo(space[:0]))
	}
	c := a.clientOf(x)
	return hash(c.text[:c.size])
}

// cookie is the value of the first cookie of that name.
func cookie(r *http1.Request, name string) ([]byte, bool) {
	if !r.Has(cookies) {
		return nil, false
	}
	for i := range r.Fields() {
		if r.KnownAt(i) != http1.Cookie {
			continue
		}
		_, list := r.FieldAt(i)
		for len(list) > 0 {
			end := 0
			for end < len(list) && list[end] != ';' {
				end++
			}
			pair := http1.TrimSpace(list[:end])
			if len(pair) > len(name) && pair[len(name)] == '=' && string(pair[:len(name)]) == name {
				return pair[len(name)+1:], true
			}
			list = list[min(end+1, len(list)):]
		}
	}
	return nil, false
}

var cookies = http1.FieldsOf(http1.Cookie)

// preferred is the endpoint that a sticky cookie names.
func (h *Handler) preferred(x *web.Exchange) *upstream.Endpoint {
	value, ok := cookie(x.Request(), h.options.Sticky)
	if !ok || len(value) > 16 {
		return nil
	}
	id, err := strconv.ParseUint(string(value), 16, 64)
	if err != nil {
		return nil
	}
	return h.options.Group.Endpoint(id)
}

// appendSticky appends the cookie that names the endpoint.
func (h *Handler) appendSticky(b []byte, e *upstream.Endpoint) []byte {
	b = append(b, "Set-Cookie: "...)
	b = append(b, h.options.Sticky...)
	b = append(b, '=')
	b = strconv.AppendUint(b, e.ID(), 16)
	return append(b, "; Path=/; HttpOnly; SameSite=Lax\r\n"...)
}

// stickyBytes is more than that takes, besides the name.
const stickyBytes = 80
