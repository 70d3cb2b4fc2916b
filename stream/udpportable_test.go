package stream

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

// luggage is a session of datagrams on its way.
type luggage struct {
	socket *socket
	state  []byte
}

// leave has all sessions leave.
func (b *bench) leave() (all []luggage) {
	b.router.(conn.PortableDatagrams).Sessions(b.front, func(d conn.Datagrams) {
		s := d.(*socket)
		delete(b.sockets, s)
		all = append(all, luggage{s, s.handler.(conn.PortableSession).PackSession(nil)})
	})
	return all
}

// arrive has a session come.
func (b *bench) arrive(l luggage, at conn.Datagrams) error {
	opened := 0
	err := b.router.(conn.PortableDatagrams).UnpackSession(at, l.state, func(h conn.DatagramHandler) conn.Datagrams {
		opened++
		s := &socket{bench: b, handler: h}
		if l.socket != nil {
			s.target = l.socket.target
		}
		b.sockets[s] = true
		return s
	})
	if (err == nil) != (opened == 1) {
		b.t.Errorf("%v, and %d sockets were opened", err, opened)
	}
	return err
}

// used is how many sessions the group counts at an endpoint.
func (b *bench) used(t testing.TB) (n int64) {
	open, _ := uses(t, b.udp.rules.Group)
	return open
}

// TestDatagramSessionsDepart has sessions go on in another process.
func TestDatagramSessionsDepart(t *testing.T) {
	o := UDPOptions{Idle: time.Minute, Lifetime: 10 * time.Minute, PerClient: 3}
	here, there := newBench(t, o, 1, balance.RoundRobin{}), newBench(t, o, 1, balance.RoundRobin{})
	there.now = 5 // every process has a time of its own
	here.ask(1, "one")
	here.pass(20 * time.Second)
	here.ask(2, "two")
	here.ask(2, "three")
	here.answer(2, "four!")
	here.pass(10 * time.Second)
	here.ask(3, "x")
	failed := here.to(3)
	failed.handler.(*flow).Failed(failed, errors.New("refused"))
	all := here.leave()
	here.check(0, 0)
	if len(all) != 2 || here.used(t) != 0 || len(here.told) != 1 || here.told[0].Cause != Stopped {
		t.Fatalf("%d sessions left, %d are in use, told %+v", len(all), here.used(t), here.told)
	}
	if n := here.udp.Counts(); n[MovedOut] != 2 || n[Stops] != 1 || n[Sessions] != 3 || n[Open] != 0 {
		t.Errorf("behind them %v", n)
	}
	for _, l := range all {
		if err := there.arrive(l, there.front); err != nil {
			t.Fatal(err)
		}
	}
	there.check(2, 2)
	if n := there.udp.Counts(); n[MovedIn] != 2 || n[Sessions] != 0 || there.used(t) != 2 {
		t.Errorf("there %v, %d in use", n, there.used(t))
	}
	there.ask(2, "five")
	there.answer(2, "six")
	there.answer(1, "seven")
	if got := strings.Join(there.front.sent, ","); got != client1(2).String()+" six,"+client1(1).String()+" seven" {
		t.Errorf("clients got %q", got)
	}
	there.pass(70 * time.Second)
	there.check(0, 0)
	if r := there.told[0]; r.Client != client1(2) || r.Received != 12 || r.Sent != 8 || r.UpstreamSent != 12 ||
		r.Cause != Idle || r.Duration < 70*time.Second {
		t.Errorf("told %+v", r)
	}
	if there.udp.open.Load() != 0 || here.udp.open.Load() != 0 || there.used(t) != 0 {
		t.Error("sessions that are over are counted")
	}
}

// TestDatagramSilenceGoesOn has a session arrive that has been silent, among others.
func TestDatagramSilenceGoesOn(t *testing.T) {
	o := UDPOptions{Idle: time.Minute}
	here, there := newBench(t, o, 1, balance.RoundRobin{}), newBench(t, o, 1, balance.RoundRobin{})
	here.ask(1, "x")
	here.pass(40 * time.Second)
	here.ask(2, "x")
	there.ask(3, "x")
	for _, l := range here.leave() {
		if err := there.arrive(l, there.front); err != nil {
			t.Fatal(err)
		}
	}
	there.check(3, 3)
	there.pass(30 * time.Second)
	there.check(2, 2)
	there.pass(time.Minute)
	there.check(0, 0)
}

// TestDatagramsOvertake has a client's datagram come before its session does.
func TestDatagramsOvertake(t *testing.T) {
	o := UDPOptions{Idle: time.Minute, PerClient: 1}
	here, there := newBench(t, o, 2, balance.RoundRobin{}), newBench(t, o, 2, balance.RoundRobin{})
	here.ask(1, "one")
	there.ask(1, "two")
	first := there.to(1)
	if err := there.arrive(here.leave()[0], there.front); err != nil {
		t.Fatal(err)
	}
	there.ask(1, "three")
	if got := strings.Join(there.to(1).sent, ","); got != "192.0.2.1:53 three" || there.to(1) == first {
		t.Errorf("its server got %q", got)
	}
	first.handler.Datagram(first, first.target, []byte("to two"))
	there.answer(1, "to three")
	if got := strings.Join(there.front.sent, ","); got != client1(1).String()+" to two,"+client1(1).String()+" to three" {
		t.Errorf("the client got %q", got)
	}
	there.pass(2 * time.Minute)
	there.check(0, 0)
	if n := there.udp.Counts(); n[IdleEnds] != 2 || there.udp.open.Load() != 0 {
		t.Errorf("behind them %v", n)
	}
	there.ask(1, "again")
	there.check(1, 1)
}

// homedFront is a socket of every address.
type homedFront struct {
	*socket
	home netip.Addr
	from []netip.Addr
}

func (h *homedFront) Home() netip.Addr { return h.home }

func (h *homedFront) SendFrom(home netip.Addr, to netip.AddrPort, p []byte) bool {
	h.from = append(h.from, home)
	return h.SendTo(to, p)
}

// TestDatagramClientsDepart has sessions of all kinds of clients leave, one of them twice.
func TestDatagramClientsDepart(t *testing.T) {
	for _, test := range []struct {
		name   string
		client netip.AddrPort
		home   netip.Addr
		answer bool
	}{
		{"IPv4", netip.MustParseAddrPort("192.0.2.9:5"), netip.Addr{}, true},
		{"IPv6 with a zone", netip.MustParseAddrPort("[fe80::1%lo]:5"), netip.Addr{}, true},
		{"Unix", conn.UnixPeer("/run/client"), netip.Addr{}, true},
		{"an abstract name", conn.UnixPeer("@\x00 \xff"), netip.Addr{}, true},
		{"the longest name", conn.UnixPeer("/" + strings.Repeat("a", 107)), netip.Addr{}, true},
		{"no name", netip.AddrPort{}, netip.Addr{}, false},
		{"an address of several", netip.MustParseAddrPort("192.0.2.9:5"), netip.MustParseAddr("192.0.2.10"), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			here, there := newBench(t, UDPOptions{}, 1, balance.RoundRobin{}), newBench(t, UDPOptions{}, 1, balance.RoundRobin{})
			front := &homedFront{socket: &socket{bench: here}, home: test.home}
			here.router.Datagram(front, test.client, []byte("a"))
			all := here.leave()
			if test.home.IsValid() {
				if err := there.arrive(all[0], there.front); !errors.Is(err, conn.ErrState) {
					t.Errorf("it arrived where nobody can answer from its address: %v", err)
				}
				there.check(0, 0)
			}
			at := &homedFront{socket: &socket{bench: there}, home: test.home}
			if err := there.arrive(all[0], at); err != nil {
				t.Fatal(err)
			}
			f := there.router.(*router).flows[path{test.client, test.home}]
			if f == nil {
				t.Fatal("the client is another one")
			}
			f.Datagram(f.socket, netip.AddrPort{}, []byte("b"))
			if (len(at.sent) == 1) != test.answer || test.home.IsValid() && (len(at.from) != 1 || at.from[0] != test.home) {
				t.Errorf("the client got %q, from %v", at.sent, at.from)
			}
		})
	}
}

// TestDatagramSessionsRefused has a session arrive where it cannot go on.
func TestDatagramSessionsRefused(t *testing.T) {
	here := newBench(t, UDPOptions{}, 2, balance.RoundRobin{})
	here.ask(1, "a")
	here.ask(2, "a")
	for _, l := range here.leave() {
		there := newBench(t, UDPOptions{}, 1, balance.RoundRobin{})
		err := there.arrive(l, there.front)
		if second := l.socket.target.String() == "192.0.2.2:53"; second != errors.Is(err, upstream.ErrNoEndpoint) {
			t.Errorf("a session of %v: %v", l.socket.target, err)
		}
		if err != nil {
			there.check(0, 0)
		}
		unstarted := new(router)
		if err := unstarted.UnpackSession(there.front, l.state, nil); !errors.Is(err, errNoDialer) {
			t.Errorf("where nobody can dial: %v", err)
		}
	}
}

// FuzzUnpackDatagrams has any state arrive.
func FuzzUnpackDatagrams(f *testing.F) {
	here := newBench(f, UDPOptions{}, 1, balance.RoundRobin{})
	here.ask(1, "a")
	here.router.Datagram(here.front, conn.UnixPeer("@name"), []byte("b"))
	for _, l := range here.leave() {
		f.Add(l.state)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		there := newBench(t, UDPOptions{PerClient: 1, Answers: 3}, 1, balance.RoundRobin{})
		there.ask(1, "a")
		if there.arrive(luggage{state: state}, there.front) == nil {
			there.ask(1, "b")
			f := there.router.(*router).order.next
			f.Datagram(f.socket, netip.AddrPort{}, []byte("c"))
		}
		there.pass(2 * time.Minute)
		there.check(0, 0)
		if there.udp.open.Load() != 0 || there.used(t) != 0 {
			t.Error("sessions that are over are counted")
		}
	})
}
