package control

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestGuard lets programs and the own page ask, and no page of another site: neither over TCP nor through a port that
// leads to a Unix socket.
func TestGuard(t *testing.T) {
	tcp, unix := net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}), net.Addr(&net.UnixAddr{Name: "/a"})
	const browser = "Mozilla/5.0 (X11; Linux x86_64)"
	for _, test := range []struct {
		about                               string
		at                                  net.Addr
		method, host, origin, site, program string
		want                                int
	}{
		{"curl", tcp, "DELETE", "127.0.0.1:9090", "", "", "curl/8", 200},
		{"curl, any name on a Unix socket", unix, "DELETE", "x", "", "", "curl/8", 200},
		{"curl, another name over TCP", tcp, "GET", "x", "", "", "curl/8", 403},
		{"the own page", tcp, "DELETE", "127.0.0.1:9090", "http://127.0.0.1:9090", "same-origin", browser, 200},
		{"the own page through a port", unix, "DELETE", "localhost:1", "http://localhost:1", "same-origin", browser, 200},
		{"typed by hand", tcp, "GET", "127.0.0.1:9090", "", "none", browser, 200},
		{"another site writes", tcp, "POST", "127.0.0.1:9090", "http://evil.example", "cross-site", browser, 403},
		{"another site writes through a port", unix, "POST", "localhost:1", "http://evil.example", "cross-site", browser, 403},
		{"another site hides who it is", tcp, "POST", "127.0.0.1:9090", "null", "cross-site", browser, 403},
		{"another site reads", tcp, "GET", "127.0.0.1:9090", "", "cross-site", browser, 403},
		{"another port of this machine", tcp, "GET", "127.0.0.1:9090", "", "same-site", browser, 403},
		{"a name led here", tcp, "GET", "evil.example:9090", "", "", browser, 403},
		{"a name led here through a port", unix, "GET", "evil.example:1", "", "", browser, 403},
		{"a name led here writes", unix, "POST", "evil.example:1", "http://evil.example:1", "", browser, 403},
	} {
		reached := false
		h := guard(func(w http.ResponseWriter, _ *http.Request) {
			reached = true
			_, _ = io.WriteString(w, "in")
		})
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, test.at)
		r := httptest.NewRequestWithContext(ctx, test.method, "/v1/conns/1", http.NoBody)
		r.Host = test.host
		for name, value := range map[string]string{
			"Origin": test.origin, "Sec-Fetch-Site": test.site, "User-Agent": test.program,
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.want || reached != (test.want == 200) {
			t.Errorf("%s: %d, want %d", test.about, w.Code, test.want)
		}
	}
}
