package control

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Mount has the admin API answer more than it knows itself: pages, and what is built above it. The pattern is one of
// http.ServeMux with a method; about is its line in GET /v1/. It is called before Start.
func (s *Server) Mount(pattern, about string, h http.Handler) {
	s.mounted = append(s.mounted, route{pattern: pattern, about: about})
	s.mux.Handle(pattern, guard(h.ServeHTTP))
}

// guard keeps strangers away from h.
func guard(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strange(r) {
			answer(w, http.StatusForbidden, Problem{
				"this was asked by a page of another site, or by another name",
				"ask 127.0.0.1 or localhost",
			})
			return
		}
		h(w, r)
	}
}

// strange tells what a page of another site has a browser ask: over TCP nobody says who he is, and a browser on this
// machine can reach what its user can. A Unix socket may be reached by a browser, too, through a forwarded port; over
// it only the name is free, for programs that have to name something.
//
// A browser says where a request comes from: in Origin if it could change something, and in Sec-Fetch-Site wherever
// the address is its own machine's. A page that has its own name lead here is known by that name.
func strange(r *http.Request) bool {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if origin != "" {
		from, err := url.Parse(origin)
		if err != nil || from.Host != r.Host {
			return true
		}
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	visit := safe && r.Header.Get("Sec-Fetch-Mode") == "navigate" // a link that somebody followed: nobody else reads it
	if site != "" && site != "same-origin" && site != "none" && !visit {
		return true
	}
	_, tcp := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	browser := origin != "" || strings.HasPrefix(r.UserAgent(), "Mozilla/")
	return (tcp || browser) && !own(r.Host)
}

// own tells whether a name can only be this machine's.
func own(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && address.IsLoopback()
}
