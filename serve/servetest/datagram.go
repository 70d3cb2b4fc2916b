package servetest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/serve"
)

// answering sends every datagram back, and tells where it came from.
type answering struct{ t *testing.T }

// Datagram implements conn.DatagramHandler.
func (a answering) Datagram(d conn.Datagrams, from netip.AddrPort, p []byte) {
	if !d.Local().IsValid() || d.Now() <= 0 {
		a.t.Errorf("Local is %v, Now is %d", d.Local(), d.Now())
	}
	if !d.SendTo(from, fmt.Appendf(nil, "%d:%s", from.Port(), p)) {
		a.t.Error("SendTo found the queue full")
	}
}

func datagrams(t *testing.T, s Suite) {
	v := &server{t: t, record: &record{t: t, lives: map[uint64]*life{}}}
	l, group := v.listener(s, "udp://127.0.0.1:0")
	l.Datagram = func() conn.DatagramHandler { return answering{t} }
	v.serve(s, func(site *serve.Site) { site.Listeners = []serve.Listener{l} })
	v.address = group.Spec()
	for range 3 {
		c := v.dial()
		port := c.LocalAddr().(*net.UDPAddr).Port
		for _, size := range []int{0, 1, 100, 1400} {
			payload := strings.Repeat("x", size)
			wanted := fmt.Sprintf("%d:%s", port, payload)
			if got := ask(t, c, payload); got != wanted {
				t.Errorf("the answer to %d bytes is %q", size, got)
			}
		}
		_ = c.Close()
	}
	v.stop()
}

// homes has a socket of every address answer from where it was asked.
func homes(t *testing.T, s Suite) {
	v := &server{t: t, record: &record{t: t, lives: map[uint64]*life{}}}
	l, group := v.listener(s, "udp://0.0.0.0:0")
	l.Datagram = func() conn.DatagramHandler { return answering{t} }
	v.serve(s, func(site *serve.Site) { site.Listeners = []serve.Listener{l} })
	v.address = group.Spec()
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		c, err := net.Dial("udp", net.JoinHostPort(host, strconv.Itoa(int(v.address.Address.Port()))))
		if err != nil {
			t.Fatal(err)
		}
		wanted := fmt.Sprintf("%d:%s", c.LocalAddr().(*net.UDPAddr).Port, host)
		if got := ask(t, c, host); got != wanted {
			t.Errorf("the answer is %q, not %q", got, wanted)
		}
		_ = c.Close()
	}
	v.stop()
}

// named tells the name of the Unix socket that a datagram came from, and that one without a name cannot be answered.
type named struct{ t *testing.T }

// Datagram implements conn.DatagramHandler.
func (n named) Datagram(d conn.Datagrams, from netip.AddrPort, p []byte) {
	if sent := d.SendTo(from, fmt.Appendf(nil, "%s:%s", conn.PeerName(from), p)); sent != from.IsValid() {
		n.t.Errorf("SendTo %q is %v", conn.PeerName(from), sent)
	}
}

// unixDatagrams answers Unix sockets by their names.
func unixDatagrams(t *testing.T, s Suite) {
	v := &server{t: t, record: &record{t: t, lives: map[uint64]*life{}}}
	folder := shortFolder(t)
	front := &net.UnixAddr{Name: filepath.Join(folder, "front"), Net: "unixgram"}
	group := listen.NewGroup(listen.Spec{Network: "unixgram", Name: front.Name})
	l := serve.Listener{Name: front.Name, Network: "unix", Open: group.Open, Closed: group.Closed}
	l.Datagram = func() conn.DatagramHandler { return named{t} }
	v.serve(s, func(site *serve.Site) { site.Listeners = []serve.Listener{l} })
	v.address = group.Spec()
	for _, name := range []string{"", filepath.Join(folder, "client"), front.Name + " 2", "@" + front.Name} {
		var local *net.UnixAddr
		if name != "" {
			local = &net.UnixAddr{Name: name, Net: "unixgram"}
		}
		c, err := net.DialUnix("unixgram", local, front)
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			send(t, c, []byte("nobody"))
		} else if got := ask(t, c, "hello"); got != "unix:"+name+":hello" {
			t.Errorf("the answer is %q", got)
		}
		_ = c.Close()
	}
	v.stop()
}

// ask sends a datagram until there is an answer: the kernel may drop any of them.
func ask(t *testing.T, c net.Conn, payload string) string {
	t.Helper()
	answer := make([]byte, 2048)
	for range 20 {
		send(t, c, []byte(payload))
		if err := c.SetReadDeadline(time.Now().Add(patience / 20)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(answer); err == nil {
			return string(answer[:n])
		}
	}
	t.Fatal("no answer to any of 20 datagrams")
	return ""
}

// shortFolder is one whose name leaves room for the name of a socket.
func shortFolder(t *testing.T) string {
	t.Helper()
	name, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(name) })
	return name
}
