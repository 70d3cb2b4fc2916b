package proof

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestLargeHeads has answers with large heads pass as far as a block is large, and no further than 64 KiB. What is
// larger is told as that, and not asked for again.
func TestLargeHeads(t *testing.T) {
	for _, c := range []struct {
		block          string
		passes, refuse int // bytes of a field
	}{
		{"8KiB", 7 << 10, 9 << 10},
		{"16KiB", 15 << 10, 17 << 10},
		{"32KiB", 31 << 10, 33 << 10},
		{"256KiB", 63 << 10, 65 << 10},
	} {
		t.Run(c.block, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				size := c.passes
				if r.URL.Path == "/refuse" {
					size = c.refuse
				}
				w.Header().Set("X-Large", strings.Repeat("x", size))
				_, _ = io.WriteString(w, "content")
			}))
			t.Cleanup(server.Close)
			p := start(t, []string{server.Listener.Addr().String()}, "engine.block="+c.block, "limits.head=4KiB",
				"limits.target=2KiB")
			client := p.dial()
			client.send("GET /passes HTTP/1.1\r\nHost: proof\r\n\r\n")
			a := client.must("GET")
			if got := len(a.Header.Get("X-Large")); a.StatusCode != 200 || got != c.passes || a.content != "content" {
				t.Errorf("a head of %d bytes: %d, %d bytes of a field, %q", c.passes, a.StatusCode, got, a.content)
			}
			client.send("GET /refuse HTTP/1.1\r\nHost: proof\r\n\r\n")
			a = client.must("GET")
			if told := a.Header.Get("Proxy-Status"); a.StatusCode != 502 || !strings.Contains(told, "head_too_large") {
				t.Errorf("a head of %d bytes: %d, %q", c.refuse, a.StatusCode, told)
			}
			if n := asked.Load(); n != 2 {
				t.Errorf("two requests became %d", n)
			}
			_ = client.Close()
			server.CloseClientConnections()
		})
	}
}
