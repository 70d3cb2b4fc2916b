package stream

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/upstream"
)

// datagramProxy is a UDP proxy in front of servers.
func datagramProxy(t testing.TB, f driver.Factory, o UDPOptions, servers ...string) (*rig, *UDP) {
	t.Helper()
	if o.Group == nil {
		o.Group = group(t, upstream.Options{}, servers...)
	}
	p, err := NewUDP(o)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, rigOptions{factory: f, datagrams: p.Handler}), p
}

// datagramServer answers every datagram with what answer makes of it; nothing if that is empty.
func datagramServer(t testing.TB, answer func(text string) []string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			for _, text := range answer(string(buffer[:n])) {
				c.WriteTo([]byte(text), from)
			}
		}
	})
	t.Cleanup(func() {
		c.Close()
		group.Wait()
	})
	return c.LocalAddr().String()
}

func same(text string) []string { return []string{text} }

// ask sends one datagram, and again while nothing comes: they may be lost.
func ask(t testing.TB, c net.Conn, text, wanted string) {
	t.Helper()
	buffer := make([]byte, 64<<10)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c.Write([]byte(text))
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			n, err := c.Read(buffer)
			if err != nil {
				break
			}
			if string(buffer[:n]) == wanted {
				return
			}
		}
	}
	t.Fatalf("nothing came for %q", text)
}

// TestUDPHome answers from the address that the client sent to, at a socket of every address: clients that are
// connected hear nothing from elsewhere. One socket of a client that sends to two addresses has two sessions.
func TestUDPHome(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		for _, address := range []string{"0.0.0.0:0", "[::]:0"} {
			server := datagramServer(t, func(text string) []string {
				return []string{text, text, text + "!"} // of which two may leave as one
			})
			p, err := NewUDP(UDPOptions{Group: group(t, upstream.Options{}, server)})
			if err != nil {
				t.Fatal(err)
			}
			r := serve(t, rigOptions{factory: f, address: "udp://" + address, datagrams: p.Handler})
			homes := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
			if strings.HasPrefix(address, "[") {
				homes = append(homes, "::1")
			}
			for _, home := range homes {
				c, err := net.Dial("udp", net.JoinHostPort(home, fmt.Sprint(r.spec.Address.Port())))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				ask(t, c, "hello", "hello!")
			}
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for i := range 2 {
				to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, byte(4+i)), Port: int(r.spec.Address.Port())}
				if _, err := c.WriteToUDP([]byte("who?"), to); err != nil {
					t.Fatal(err)
				}
				c.SetReadDeadline(time.Now().Add(patience))
				_, from, err := c.ReadFromUDP(make([]byte, 16))
				for err == nil && i > 0 && from.IP.Equal(net.IPv4(127, 0, 0, 4)) { // further answers to the first
					_, from, err = c.ReadFromUDP(make([]byte, 16))
				}
				if err != nil || !from.IP.Equal(to.IP) {
					t.Errorf("%v answered for %v, %v", from, to, err)
				}
			}
			if n := p.Counts(); n[Sessions] != int64(len(homes)+2) {
				t.Errorf("counted %v", n)
			}
		}
	})
}

func TestUDPEcho(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		told := make(records, 16)
		server := datagramServer(t, same)
		r, p := datagramProxy(t, f, UDPOptions{Idle: 200 * time.Millisecond, Records: told}, server)
		clients := make([]net.Conn, 5)
		for i := range clients {
			clients[i] = r.dial()
		}
		for round := range 5 {
			for i, c := range clients {
				text := fmt.Sprintf("client %d round %d", i, round)
				ask(t, c, text, text)
			}
		}
		large := strings.Repeat("x", 8000)
		ask(t, clients[0], large, large)
		if n := p.Counts(); n[Sessions] < 5 {
			t.Errorf("counted %v", n)
		}
		eventually(t, "all sessions are over", func() bool { return p.Counts()[Open] == 0 })
		if is := await(t, told, "a record"); is.Cause != Idle || is.Upstream != server || is.Received == 0 {
			t.Errorf("told %+v", is)
		}
		ask(t, clients[0], "anew", "anew")
	})
}

// TestUDPNextServer hears that nobody is there, and goes elsewhere.
func TestUDPNextServer(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		c, err := net.ListenPacket("udp", "127.0.0.22:0") // where no client takes the port
		if err != nil {
			t.Fatal(err)
		}
		nobody := c.LocalAddr().String()
		c.Close()
		r, p := datagramProxy(t, f, UDPOptions{}, nobody, datagramServer(t, same))
		for i := range 4 {
			text := fmt.Sprint("client ", i)
			ask(t, r.dial(), text, text)
		}
		if n := p.Counts(); n[Undelivered] == 0 || n[Open] != 4 {
			t.Errorf("counted %v", n)
		}
	})
}

// TestUDPAnswers closes a session with its last answer, so that thousands of clients need few descriptors.
func TestUDPAnswers(t *testing.T) {
	server := datagramServer(t, func(text string) []string { return []string{text + " 1", text + " 2"} })
	r, p := datagramProxy(t, epoll.Factory, UDPOptions{Answers: 2, Sessions: 16}, server)
	for i := range 500 {
		c := r.dial()
		text := fmt.Sprint("client ", i)
		ask(t, c, text, text+" 2")
		c.Close()
	}
	eventually(t, "all sessions are over", func() bool { return p.Counts()[Open] == 0 })
	if n := p.Counts(); n[Sessions] < 500 || n[Refused] != 0 {
		t.Errorf("counted %v", n)
	}
}

// TestUDPCrowd keeps a crowd within its limit.
func TestUDPCrowd(t *testing.T) {
	const limit = 500
	told := make(records, 4*limit)
	r, p := datagramProxy(t, epoll.Factory, UDPOptions{Sessions: limit, Evict: true, Records: told},
		datagramServer(t, same))
	for i := range 2 * limit {
		text := fmt.Sprint("client ", i)
		ask(t, r.dial(), text, text)
		if n := p.Counts()[Open]; n > limit {
			t.Fatalf("%d sessions are open", n)
		}
	}
	if n := p.Counts(); n[Open] != limit || n[Evictions] < limit {
		t.Errorf("counted %v", n)
	}
	if is := await(t, told, "a record"); is.Cause != Evicted {
		t.Errorf("told %+v", is)
	}
}

// TestUDPStop tells of the sessions that a stop has cut off.
func TestUDPStop(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		told := make(records, 3)
		r, p := datagramProxy(t, f, UDPOptions{Records: told, PerClient: 3}, datagramServer(t, same))
		for range 3 {
			ask(t, r.dial(), "hello", "hello")
		}
		r.stop()
		p.Finish()
		p.Finish()
		for range 3 {
			if is := await(t, told, "a record"); is.Cause != Stopped || is.Received < 5 || is.Duration <= 0 {
				t.Errorf("told %+v", is)
			}
		}
		if n := p.Counts(); n[Open] != 0 || n[Sessions] != 3 {
			t.Errorf("counted %v", n)
		}
	})
}
