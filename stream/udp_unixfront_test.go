package stream

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/upstream"
)

// fromUnix is a client at a Unix socket of a name, or of none.
func fromUnix(t testing.TB, r *rig, name string) *net.UnixConn {
	t.Helper()
	var local *net.UnixAddr
	if name != "" {
		local = &net.UnixAddr{Name: name, Net: "unixgram"}
	}
	c, err := net.DialUnix("unixgram", local, &net.UnixAddr{Name: r.spec.Name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// told waits for the record of the session of a client.
func toldOf(t testing.TB, told records, client string) Record {
	t.Helper()
	for {
		if r := await(t, told, "a record"); conn.PeerName(r.Client) == client {
			return r
		}
	}
}

// TestUDPFromUnix serves clients at Unix sockets, of every kind of name, by servers of either kind. A client without a
// name is heard and not answered.
func TestUDPFromUnix(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		for _, abstract := range []bool{false, true} {
			unique := fmt.Sprintf("@myriad-front-%d-%s-%v", os.Getpid(), f.Name, abstract)
			folder := t.TempDir()
			address := filepath.Join(folder, "front")
			server := datagramServer(t, func(text string) []string { return []string{text + " back"} })
			if abstract {
				address = unique
				server = "unix:" + filepath.Join(folder, "back")
				unixServer(t, server[5:], " back")
			}
			told, log := make(records, 64), journal{}
			p, err := NewUDP(UDPOptions{
				Group: group(t, upstream.Options{}, server), Records: told, Log: log.logger(), PerClient: 1,
			})
			if err != nil {
				t.Fatal(err)
			}
			r := serve(t, rigOptions{factory: f, address: "unix:" + address, datagrams: p.Handler})
			long := func(prefix string, n int) string { return prefix + strings.Repeat("x", n-len(prefix)) }
			names := []string{
				filepath.Join(folder, "a"), long(folder+"/", 107), unique + "a \"b\"", long(unique, 107),
				filepath.Join(folder, "@"),
			}
			for _, name := range names {
				c := fromUnix(t, r, name)
				for _, text := range []string{"hello", "", strings.Repeat("l", 8000)} {
					ask(t, c, text, text+" back")
				}
			}
			all := sessionsOf(t, p, 2)
			for _, name := range names {
				if s, listed := all[conn.UnixPeer(name)]; !listed || s.Upstream != server || s.Sent.Bytes == 0 {
					t.Errorf("%q: %+v", name, s)
				}
			}
			nameless := fromUnix(t, r, "")
			eventually(t, "the answer is dropped", func() bool {
				send(t, nameless, "nobody")
				return p.Counts()[Unanswered] > 0 && strings.Contains(log.String(), "bind(2)")
			})
			if n := p.Counts(); n[Open] != int64(len(names)+1) || n[RefusedPerClient] != 0 || n[Lost] != 0 {
				t.Errorf("counted %v", n)
			}
			id := sessionsOf(t, p, 8)[netip.AddrPort{}].ID
			if ended, err := p.End(t.Context(), id); !ended || err != nil {
				t.Errorf("%v, %v", ended, err)
			}
			if r := toldOf(t, told, ""); r.Cause != Closed || r.Err != conn.ErrOperator || r.Sent != 0 || r.Received == 0 {
				t.Errorf("told %+v", r)
			}
			r.stop()
			p.Finish()
			if r := toldOf(t, told, conn.PeerName(conn.UnixPeer(names[2]))); r.Cause != Stopped {
				t.Errorf("told %+v", r)
			}
		}
	})
}

// TestUDPFromUnixSlow has a client that reads nothing: what it is sent is dropped, and another gets all of its answers.
func TestUDPFromUnixSlow(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		folder := t.TempDir()
		server := datagramServer(t, func(text string) []string { return []string{text, text, text} })
		p, err := NewUDP(UDPOptions{Group: group(t, upstream.Options{}, server)})
		if err != nil {
			t.Fatal(err)
		}
		r := serve(t, rigOptions{factory: f, address: "unix:" + filepath.Join(folder, "front"), datagrams: p.Handler})
		slow, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, "slow"), Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		at := &net.UnixAddr{Name: r.spec.Name, Net: "unixgram"}
		gone := fromUnix(t, r, filepath.Join(folder, "gone"))
		send(t, gone, "three answers to nobody")
		gone.Close()
		other := fromUnix(t, r, filepath.Join(folder, "other"))
		for i := range 40 {
			for range 10 {
				if _, err := slow.WriteToUnix([]byte("much"), at); err != nil {
					t.Fatal(err)
				}
			}
			ask(t, other, fmt.Sprint(i), fmt.Sprint(i))
		}
		if n := r.meters[0].Snapshot()[meter.DatagramErrors]; n == 0 {
			t.Error("nothing was refused")
		}
	})
}

// TestUDPSessionsOfAllLoops has as many sessions as there may be, wherever they are, and makes room for one more.
func TestUDPSessionsOfAllLoops(t *testing.T) {
	for _, evict := range []bool{false, true} {
		server := datagramServer(t, same)
		p, err := NewUDP(UDPOptions{Group: group(t, upstream.Options{}, server), Sessions: 6, Evict: evict})
		if err != nil {
			t.Fatal(err)
		}
		r := serve(t, rigOptions{loops: 3, datagrams: p.Handler})
		for range 6 {
			c := r.dial()
			ask(t, c, "hello", "hello")
		}
		for range 30 {
			c := r.dial()
			if evict {
				ask(t, c, "hello", "hello")
			} else {
				send(t, c, "hello")
			}
			if n := p.Counts(); n[Open] > 6 {
				t.Fatalf("counted %v", n)
			}
		}
		want := func() bool {
			n := p.Counts()
			return evict && n[Evictions] >= 30 || !evict && n[Refused] == 30 && n[Sessions] == 6
		}
		eventually(t, "all are counted", want)
		if n := len(sessionsOf(t, p, 4)); n != 6 && !evict || n > 6 {
			t.Errorf("%d sessions", n)
		}
	}
}
