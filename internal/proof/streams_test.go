package proof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/faults"
)

// startStream starts a proxy of layer 4 that listens on all addresses.
func startStream(t testing.TB, protocol config.Protocol, to []string, listen []string, lines ...string) *proxy {
	t.Helper()
	var listeners []config.Listener
	for _, address := range listen {
		l := config.Listen(address)
		l.Protocol, l.Upstream = protocol, "u"
		listeners = append(listeners, l)
	}
	return startWith(t, []config.Override{
		{Flag: "test", Path: "upstreams.u", Value: config.UpstreamTo(to...)},
		{Flag: "test", Path: "listeners", Value: listeners},
	}, lines...)
}

// TestRedis runs redis-benchmark against redis-server, through TCP and Unix sockets on both sides.
func TestRedis(t *testing.T) {
	server := needs(t, "redis-server", "apt-get install redis-server")
	benchmark := needs(t, "redis-benchmark", "apt-get install redis-tools")
	home, port := t.TempDir(), freePort(t)
	address := fmt.Sprint(ownHost, ":", port)
	run(t, address, new(journal), server, "--port", fmt.Sprint(port), "--bind", ownHost, "--unixsocket",
		home+"/redis.sock", "--save", "", "--appendonly", "no", "--dir", home)
	requests := fmt.Sprint(number(t, "REDIS", scaled(5000)))
	for name, to := range map[string]string{"tcp": address, "unix": "unix:" + home + "/redis.sock"} {
		t.Run("to "+name, func(t *testing.T) {
			p := startStream(t, config.StreamTCP, []string{to}, []string{"127.0.0.1:0", "unix:" + home + "/" + name + ".sock"})
			_, listening, _ := net.SplitHostPort(p.address)
			for from, arguments := range map[string][]string{
				"tcp": {"-h", "127.0.0.1", "-p", listening}, "unix": {"-s", home + "/" + name + ".sock"},
			} {
				arguments = append(arguments, "-n", requests, "-c", "20", "-P", "4", "-d", "1000", "-q",
					"-t", "ping,set,get,incr,lpush,lrange_100,mset")
				out, err := exec.CommandContext(context.Background(), benchmark, arguments...).CombinedOutput()
				if err != nil || strings.Contains(strings.ToLower(string(out)), "err") {
					t.Errorf("from %s: %v\n%s", from, err, out)
				}
				lines := strings.Split(strings.ReplaceAll(strings.TrimSpace(string(out)), "\r", "\n"), "\n")
				t.Logf("from %s: %s", from, lines[len(lines)-1])
			}
			p.stop()
		})
	}
}

// TestBulk sends a lot in both directions at once and then half-closes, over all pairs of sockets.
func TestBulk(t *testing.T) {
	total := scaled(16 << 20)
	content := make([]byte, total)
	faults.Pattern(content, 0)
	for _, kind := range []string{"tcp", "unix"} {
		t.Run("to "+kind, func(t *testing.T) {
			before := measure(t)
			home := t.TempDir()
			address := "127.0.0.1:0"
			if kind == "unix" {
				address = "unix:" + home + "/upstream.sock"
			}
			l := listen(t, address)
			p := startStream(t, config.StreamTCP, []string{addressFor(l)}, []string{"127.0.0.1:0", "unix:" + home + "/s.sock"})
			for _, to := range []string{p.address, "unix:" + home + "/s.sock"} {
				c := dial(t, to)
				go func() {
					_, _ = c.Write(content)
					_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
				}()
				got, err := io.ReadAll(c.r)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s: %d bytes came back, %v", to, len(got), err)
				}
				_ = c.Close()
			}
			p.end()
			_ = l.Close()
			before.checkGone(t)
		})
	}
}

// listen starts a server that sends back what it reads, and ends what it sends when its client has.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	network := "tcp"
	if name, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", name
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
				_ = c.Close()
			}()
		}
	}()
	return l
}

func addressFor(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}
