package doctor

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

func TestKeepAlive(t *testing.T) {
	if !apart(t) {
		return
	}
	addElsewhere(t)
	h := This(0)
	s := newService(t, elsewhere+":7000")
	s.fill(3)
	set := func(c net.Conn, config net.KeepAliveConfig) {
		if err := c.(*net.TCPConn).SetKeepAliveConfig(config); err != nil {
			t.Fatal(err)
		}
	}
	all := append(append([]net.Conn{}, s.dialled...), s.accepts...)
	soon := net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: time.Minute, Count: 3}
	for _, c := range all {
		set(c, soon)
	}
	isWell(t, h, keepAlive)
	set(all[0], net.KeepAliveConfig{Enable: false})
	onlyFinding(t, h, keepAlive, Info, "1 of 6 connections", "1 have no keepalive", "SO_KEEPALIVE")
	set(all[1], net.KeepAliveConfig{Enable: true, Idle: time.Hour, Interval: time.Minute, Count: 3})
	onlyFinding(t, h, keepAlive, Info, "2 of 6 connections", "of 1 others comes in more than 4m0s",
		"tcp_keepalive_time=240")
	set(all[0], soon)
	set(all[1], soon)
	isWell(t, h, keepAlive)
}

// TestKeepAliveWithinTheHost: nothing lies between two ends on one host.
func TestKeepAliveWithinTheHost(t *testing.T) {
	if !apart(t) {
		return
	}
	s := newService(t, "127.0.0.1:7000")
	s.fill(1)
	if err := s.dialled[0].(*net.TCPConn).SetKeepAlive(false); err != nil {
		t.Fatal(err)
	}
	isWell(t, This(0), keepAlive)
}

// TestPeersThatVanish: their ends hear nothing any more, and what is sent to them is sent again. It is found as a rate,
// then as peers that are gone, and not any more once the connections are.
func TestPeersThatVanish(t *testing.T) {
	if !apart(t) {
		return
	}
	h := This(0)
	h.Sample()
	s := newService(t, "127.0.0.1:7000")
	s.fill(vanishedFew)
	isWell(t, h, retransmits)
	isWell(t, h, vanishedPeers)
	for i, client := range s.dialled {
		descriptor(t, client, sys.Deafen)
		if _, err := s.accepts[i].Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	await(t, h, retransmits, Hurting)
	onlyFinding(t, h, retransmits, Hurting, "% of all segments are sent again", "to 127.0.0.1, on the connections")
	await(t, h, vanishedPeers, Warning)
	onlyFinding(t, h, vanishedPeers, Warning, "10 peers have vanished", "50 B are held", "127.0.0.1:7000 to 127.0.0.1:",
		fmt.Sprintf("10 of them belong to doctor.test (%d)", os.Getpid()), "net.ipv4.tcp_retries2: 15")
	h.PID = idleChild(t)
	isWell(t, h, vanishedPeers) // it has none of them
	h.PID = 0
	s.end()
	h.Sample()
	isWell(t, h, retransmits)
	isWell(t, h, vanishedPeers)
}

func TestUnansweredDials(t *testing.T) {
	if !apart(t) {
		return
	}
	addElsewhere(t)
	shell(t, "ip link add seen type veth peer name unseen; "+
		"ip link set seen up; ip link set unseen up; ip address add 10.99.0.1/24 dev seen; "+
		"ip neighbour add 10.99.0.2 lladdr 02:00:00:00:00:02 dev seen nud permanent")
	h := This(0)
	leave := crowd(t, "10.99.0.2:443", unansweredFew, nil)
	await(t, h, unansweredDials, Warning)
	onlyFinding(t, h, unansweredDials, Warning, "10.99.0.2:443 does not answer 10 connections",
		"something on the way drops")
	leave()
	isWell(t, h, unansweredDials)
}

// TestUnansweredDialsToAFullQueue: the cause is here, and is named.
func TestUnansweredDialsToAFullQueue(t *testing.T) {
	if !apart(t) {
		return
	}
	setSysctl(t, backlogLimit, "2")
	s := newService(t, "127.0.0.1:7000")
	h := This(0)
	crowd(t, "127.0.0.1:7000", 4, nil)
	await(t, h, unansweredDials, Info)
	onlyFinding(t, h, unansweredDials, Info, "127.0.0.1:7000 does not answer", "its accept queue is full")
	for range 4 { // the fix: somebody accepts; those who wait try again
		c, err := s.listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	isWell(t, h, unansweredDials)
}
