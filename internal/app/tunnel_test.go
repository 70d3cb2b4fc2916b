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
	"testing"
	"time"

	"github.com/myriad-server/myriad/web/proxy"
)

// upgrading is an upstream that switches protocols, echoes, and ends when its peer does.
func upgrading(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			if _, err := http.ReadRequest(r); err == nil {
				fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
				_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{r}) // with no pipe, which Go would keep
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// TestTunnelEnds has a tunnel begin and end: it is counted whether there is an access log or not, and the log has a
// line.
func TestTunnelEnds(t *testing.T) {
	for _, format := range []string{"off", "json"} {
		t.Run(format, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.log")
			r := start(t, "upstreams.u.to=["+upgrading(t)+"]", "routes=[{proxy: {upstream: u}}]", "access_log.format="+format,
				"access_log.path="+path)
			c := dial(t, "tcp", strings.TrimPrefix(r.URLs()[0], "http://"))
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			from := bufio.NewReader(c)
			answer, err := http.ReadResponse(from, nil)
			if err != nil || answer.StatusCode != 101 {
				t.Fatalf("%v, %v", answer, err)
			}
			if n := r.Reading().Tunnels; n != (proxy.TunnelCounts{1}) {
				t.Errorf("while it is open: %v", n)
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := from.ReadByte(); err != io.EOF {
				t.Fatalf("the tunnel ends with %v", err)
			}
			c.Close()
			written := func() bool {
				text, err := os.ReadFile(path)
				return format == "off" || err == nil && strings.Contains(string(text), `"msg":"tunnel"`) &&
					strings.Contains(string(text), `"cause":"client ended"`)
			}
			deadline, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
			defer tick.Stop()
			for r.Reading().Tunnels != (proxy.TunnelCounts{1, 1}) || !written() {
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatalf("counted: %v; written: %v", r.Reading().Tunnels, written())
				}
			}
		})
	}
}
