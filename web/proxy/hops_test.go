package proxy_test

import (
	"strings"
	"testing"
)

// TestNoHopsLeft is requests that the proxy answers itself, with everybody's connection as good as before.
func TestNoHopsLeft(t *testing.T) {
	for _, c := range []struct {
		in, begins string
	}{
		{lines("OPTIONS / HTTP/1.1", "Host: a", "Max-Forwards: 0"), "HTTP/1.1 204 No Content\r\n"},
		{lines("OPTIONS * HTTP/1.1", "Host: a", "Max-Forwards: 5"), "HTTP/1.1 204 No Content\r\n"},
		{lines("TRACE / HTTP/1.1", "Host: a", "Max-Forwards: 0", "Cookie: secret"), "HTTP/1.1 405 "},
		{lines("TRACE / HTTP/1.1", "Host: a", "Max-Forwards: 3", "Cookie: secret"), "HTTP/1.1 405 "},
	} {
		r := newRig(t, plain)
		r.send(c.in)
		got := r.sent()
		if !strings.HasPrefix(got, c.begins) || !strings.Contains(got, "\r\nAllow: ") || strings.Contains(got, "secret") {
			t.Errorf("%q is answered with %q", c.in, got)
		}
		if len(r.dialer.Conns) > 0 || r.proxy.Busy(r.dialer.Number()) > 0 {
			t.Errorf("%q was passed on", c.in)
		}
	}
}
