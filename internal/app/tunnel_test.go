package app

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/myriad-server/myriad/web/proxy"
)

// upgrading is an upstream that switches protocols, echoes, and ends when its peer does.
func upgrading(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := http.ReadRequest(r); err == nil {
					fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
					_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{r}) // with no pipe, which Go would keep
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); group.Wait() })
	return l.Addr().String()
}

// upgrade has a tunnel begin on a connection of its own.
func (r *running) upgrade() (c net.Conn, from *bufio.Reader) {
	r.t.Helper()
	c = dial(r.t, "tcp", strings.TrimPrefix(r.URLs()[0], "http://"))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	from = bufio.NewReader(c)
	answer, err := http.ReadResponse(from, nil)
	if err != nil || answer.StatusCode != 101 {
		r.t.Fatalf("%v, %v", answer, err)
	}
	return c, from
}

// hangUp ends a tunnel.
func hangUp(t *testing.T, c net.Conn, from *bufio.Reader) {
	t.Helper()
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := from.ReadByte(); err != io.EOF {
		t.Fatalf("the tunnel ends with %v", err)
	}
	c.Close()
}

// TestTunnelsOfAllReloads has a tunnel begin under each of a hundred configurations, and all of them end under the
// last: none is forgotten.
func TestTunnelsOfAllReloads(t *testing.T) {
	const reloads = 100
	host, err := Examine()
	if err != nil {
		t.Fatal(err)
	}
	to := upgrading(t)
	lines := func(i int) []string {
		return []string{
			"listeners[0].address=127.0.0.1:0", "engine.loops=2", "upstreams.u.to=[" + to + "]",
			fmt.Sprintf("routes=[{proxy: {upstream: u, prefix: /%d}}]", i),
		}
	}
	r := start(t, lines(0)...)
	ends := []func(){}
	for i := range int64(reloads) {
		c, from := r.upgrade()
		ends = append(ends, func() { hangUp(t, c, from) })
		if n := r.Reading().Tunnels; n != (proxy.TunnelCounts{i + 1}) {
			t.Fatalf("after %d reloads: %v", i, n)
		}
		if _, err := r.Reload(planned(t, host, lines(int(i)+1)...)); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range ends {
		end()
	}
	await(t, "the end of all tunnels", func() bool {
		return r.Reading().Tunnels == proxy.TunnelCounts{reloads, reloads}
	})
}

// TestTunnelEnds has a tunnel begin and end: it is counted whether there is an access log or not, and the log has a
// line.
func TestTunnelEnds(t *testing.T) {
	for _, format := range []string{"off", "json"} {
		t.Run(format, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.log")
			r := start(t, "upstreams.u.to=["+upgrading(t)+"]", "routes=[{proxy: {upstream: u}}]", "access_log.format="+format,
				"access_log.path="+path)
			c, from := r.upgrade()
			if n := r.Reading().Tunnels; n != (proxy.TunnelCounts{1}) {
				t.Errorf("while it is open: %v", n)
			}
			hangUp(t, c, from)
			written := func() bool {
				text, err := os.ReadFile(path)
				return format == "off" || err == nil && strings.Contains(string(text), `"msg":"tunnel"`) &&
					strings.Contains(string(text), `"cause":"client ended"`)
			}
			await(t, "the count and the line", func() bool {
				return r.Reading().Tunnels == proxy.TunnelCounts{1, 1} && written()
			})
		})
	}
}
