package stream

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

// bench is a thread of control in memory: time moves by calls, and sockets are looked at.
type bench struct {
	t       testing.TB
	now     int64
	ticks   map[int]func()
	every   time.Duration
	made    int
	sockets map[*socket]bool
	refuse  error // what OpenDatagrams answers
	front   *socket
	udp     *UDP
	router  conn.DatagramHandler
	told    []Record
	log     journal
}

// socket is one in memory.
type socket struct {
	bench   *bench
	target  netip.AddrPort
	handler conn.DatagramHandler
	sent    []string // "address text"
	full    bool
}

func (s *socket) Local() netip.AddrPort { return netip.AddrPort{} }
func (s *socket) Now() int64            { return s.bench.now }
func (s *socket) Close()                { delete(s.bench.sockets, s) }

func (s *socket) SendTo(to netip.AddrPort, p []byte) bool {
	if s.full {
		return false
	}
	if !to.IsValid() {
		to = s.target
	}
	s.sent = append(s.sent, to.String()+" "+string(p))
	return true
}

func (b *bench) Number() int    { return 0 }
func (b *bench) Now() int64     { return b.now }
func (b *bench) Stopping() bool { return false }

// Do says that the thread has ended: the group tells its agents that it is closed.
func (b *bench) Do(func()) bool { return false }

func (b *bench) Dial(*conn.Target, conn.Handler, any) conn.Conn { panic("nothing is dialled") }

func (b *bench) OpenDatagrams(t *conn.Target, h conn.DatagramHandler) (conn.Datagrams, error) {
	if b.refuse != nil {
		return nil, b.refuse
	}
	s := &socket{bench: b, target: t.Address, handler: h}
	b.sockets[s] = true
	return s, nil
}

func (b *bench) Every(d time.Duration, f func()) (stop func()) {
	if d <= 0 {
		b.t.Errorf("every %v", d)
	}
	b.made++
	n := b.made
	b.ticks[n], b.every = f, d
	return func() { delete(b.ticks, n) }
}

func (b *bench) Log(r *Record) { b.told = append(b.told, *r) }

// newBench makes a router in front of servers 192.0.2.1 to 192.0.2.n, port 53.
func newBench(t testing.TB, o UDPOptions, servers int, policy balance.Policy) *bench {
	t.Helper()
	b := &bench{t: t, now: int64(time.Hour), ticks: map[int]func(){}, sockets: map[*socket]bool{}}
	var addresses []string
	for i := range servers {
		addresses = append(addresses, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 53).String())
	}
	o.Group = group(t, upstream.Options{Policy: policy}, addresses...)
	o.Records, o.Log = b, b.log.logger()
	var err error
	if b.udp, err = NewUDP(o); err != nil {
		t.Fatal(err)
	}
	b.front = &socket{bench: b}
	b.router = b.udp.Handler()
	b.router.(conn.Starter).Started(b)
	b.ticks = map[int]func(){} // the group's own
	return b
}

func client1(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n >> 8)}), uint16(1000+n))
}

func (b *bench) ask(client int, text string) {
	b.router.Datagram(b.front, client1(client), []byte(text))
}

// to is the socket that client n's last datagram went to.
func (b *bench) to(client int) *socket {
	b.t.Helper()
	f := b.router.(*router).flows[path{client: client1(client)}]
	if f == nil || f.socket == nil {
		b.t.Fatalf("client %d has no socket", client)
	}
	return f.socket.(*socket)
}

func (b *bench) answer(client int, text string) {
	b.t.Helper()
	s := b.to(client)
	s.handler.Datagram(s, s.target, []byte(text))
}

// pass moves time on in small steps, with the sweep.
func (b *bench) pass(d time.Duration) {
	for until := b.now + int64(d); b.now < until; {
		b.now = min(until, b.now+max(int64(b.every), 1))
		for _, f := range b.ticks {
			f()
		}
	}
}

// check compares what is open.
func (b *bench) check(sessions, sockets int) {
	b.t.Helper()
	r := b.router.(*router)
	if len(r.flows) != sessions || b.udp.Counts()[Open] != int64(sessions) || len(b.sockets) != sockets {
		b.t.Errorf("%d sessions, %d counted, %d sockets; want %d and %d",
			len(r.flows), b.udp.Counts()[Open], len(b.sockets), sessions, sockets)
	}
	if (sessions > 0) != (len(b.ticks) == 1) {
		b.t.Errorf("%d sessions and %d tickers", sessions, len(b.ticks))
	}
	n := 0
	for f := r.order.next; f != &r.order; f = f.next {
		if f.next.previous != f {
			b.t.Fatal("the ring is broken")
		}
		n++
	}
	if n != sessions {
		b.t.Errorf("%d sessions in the ring of %d", n, sessions)
	}
}

func TestDatagrams(t *testing.T) {
	b := newBench(t, UDPOptions{}, 1, balance.RoundRobin{})
	b.check(0, 0)
	b.ask(1, "one")
	b.ask(2, "two")
	b.ask(1, "three")
	b.check(2, 2)
	b.answer(1, "first")
	b.answer(2, "second")
	b.answer(1, "third")
	want := []string{client1(1).String() + " first", client1(2).String() + " second", client1(1).String() + " third"}
	if got := strings.Join(b.front.sent, ","); got != strings.Join(want, ",") {
		t.Errorf("clients got %q", got)
	}
	if got := strings.Join(b.to(1).sent, ","); got != "192.0.2.1:53 one,192.0.2.1:53 three" {
		t.Errorf("the server got %q", got)
	}
	b.pass(2 * time.Minute)
	b.check(0, 0)
	if len(b.told) != 2 {
		t.Fatalf("told %+v", b.told)
	}
	if r := b.told[1]; r.Client != client1(1) || r.Upstream != "192.0.2.1:53" || r.Received != 8 || r.UpstreamSent != 8 ||
		r.Sent != 10 || r.UpstreamReceived != 10 || r.Cause != Idle || r.Err != nil || r.Duration < time.Minute {
		t.Errorf("told %+v", r)
	}
}

// TestDatagramsIdle keeps a session as long as either side says something.
func TestDatagramsIdle(t *testing.T) {
	b := newBench(t, UDPOptions{Idle: time.Second}, 1, balance.RoundRobin{})
	b.ask(1, "x")
	b.ask(2, "x")
	b.ask(3, "x")
	for i := range 8 {
		b.pass(900 * time.Millisecond)
		b.ask(1, "x")
		b.answer(2, "x")
		if i == 0 {
			b.check(3, 3)
		}
	}
	b.check(2, 2)
	b.pass(1250 * time.Millisecond)
	b.check(0, 0)
	if n := b.udp.Counts(); n[IdleEnds] != 3 {
		t.Errorf("counted %v", n)
	}
}

func TestDatagramsLifetime(t *testing.T) {
	b := newBench(t, UDPOptions{Lifetime: 5 * time.Second}, 1, balance.RoundRobin{})
	b.ask(1, "x")
	for range 5 {
		b.pass(900 * time.Millisecond)
		b.ask(2, "x")
		b.answer(1, "x")
	}
	b.pass(time.Second)
	b.check(1, 1)
	b.ask(2, "x")
	b.pass(time.Second)
	b.check(0, 0)
	if n := b.udp.Counts(); n[AgeEnds] != 2 || b.told[0].Cause != TooLong {
		t.Errorf("counted %v, told %+v", n, b.told)
	}
}

// TestDatagramsAnswers ends a session with the last answer that is expected.
func TestDatagramsAnswers(t *testing.T) {
	b := newBench(t, UDPOptions{Answers: 2}, 1, balance.RoundRobin{})
	b.ask(1, "a")
	b.answer(1, "1")
	b.ask(1, "b")
	b.answer(1, "2")
	b.answer(1, "3")
	b.check(1, 1)
	late := b.to(1)
	b.answer(1, "4")
	b.check(0, 0)
	if len(b.told) != 1 || b.told[0].Cause != Answered || b.told[0].Sent != 4 {
		t.Errorf("told %+v", b.told)
	}
	late.handler.Datagram(late, late.target, []byte("too late"))
	late.handler.(*flow).Failed(late, syscall.ECONNREFUSED)
	if len(b.front.sent) != 4 {
		t.Errorf("clients got %q", b.front.sent)
	}
	b.ask(1, "c") // it begins anew
	b.check(1, 1)
}

// TestDatagramsLimit never has more sessions than it may.
func TestDatagramsLimit(t *testing.T) {
	b := newBench(t, UDPOptions{Sessions: 10}, 1, balance.RoundRobin{})
	for i := range 1000 {
		b.ask(i, "x")
	}
	b.check(10, 10)
	if n := b.udp.Counts(); n[Refused] != 990 || n[Sessions] != 10 {
		t.Errorf("counted %v", n)
	}
	if s := b.log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "as many sessions as there may be") {
		t.Errorf("logged %q", s)
	}
	b.ask(3, "those who are in stay in")
	if len(b.to(3).sent) != 2 {
		t.Error("a session was not served")
	}
}

// TestDatagramsEvict ends the session that has been silent for longest.
func TestDatagramsEvict(t *testing.T) {
	b := newBench(t, UDPOptions{Sessions: 3, Evict: true}, 1, balance.RoundRobin{})
	b.ask(1, "x")
	b.ask(2, "x")
	b.ask(3, "x")
	b.answer(1, "x")
	b.ask(4, "x")
	b.check(3, 3)
	b.ask(5, "x")
	b.check(3, 3)
	if len(b.told) != 2 || b.told[0].Client != client1(2) || b.told[1].Client != client1(3) || b.told[0].Cause != Evicted {
		t.Errorf("told %+v", b.told)
	}
	if s := b.log.String(); strings.Count(s, "to make room") != 1 || !strings.Contains(s, client1(2).String()) {
		t.Errorf("logged %q", s)
	}
	b.refuse = syscall.EMFILE // a descriptor is wanted, too
	b.ask(6, "x")
	b.check(1, 1)
	if r := b.told[len(b.told)-1]; r.Cause != NotConnected || !errors.Is(r.Err, syscall.EMFILE) {
		t.Errorf("told %+v", r)
	}
}

func TestDatagramsPerClient(t *testing.T) {
	b := newBench(t, UDPOptions{PerClient: 2}, 1, balance.RoundRobin{})
	for i := range 5 {
		b.ask(i, "x")     // one address, five ports
		b.ask(i+256, "x") // another
	}
	b.check(4, 4)
	if n := b.udp.Counts(); n[Refused] != 6 {
		t.Errorf("counted %v", n)
	}
	b.pass(2 * time.Minute)
	b.ask(4, "x")
	b.check(1, 1)
}

// TestDatagramsNextServer goes to another server when nobody is there.
func TestDatagramsNextServer(t *testing.T) {
	for _, policy := range []balance.Policy{balance.RoundRobin{}, balance.Maglev{}} {
		b := newBench(t, UDPOptions{}, 2, policy)
		b.ask(1, "x")
		first := b.to(1)
		first.handler.(*flow).Failed(first, syscall.EMSGSIZE) // a datagram was too large
		b.check(1, 1)
		first.handler.(*flow).Failed(first, syscall.ECONNREFUSED)
		b.check(1, 0)
		b.ask(1, "x")
		b.check(1, 1)
		if second := b.to(1); second.target == first.target {
			t.Errorf("%s: both went to %v", policy.Name(), first.target)
		}
		for i := 2; i < 20; i++ { // and neither does anybody else, for a while
			b.ask(i, "x")
			if b.to(i).target == first.target {
				t.Errorf("%s: client %d went where nobody was", policy.Name(), i)
			}
		}
		b.pass(11 * time.Second)
		again := false
		for i := 20; i < 60; i++ {
			b.ask(i<<8, "x")
			again = again || b.to(i<<8).target == first.target
		}
		if !again {
			t.Errorf("%s: the server is never tried again", policy.Name())
		}
		if n := b.udp.Counts(); n[Undelivered] != 1 || n[Lost] != 1 {
			t.Errorf("counted %v", n)
		}
		if s := b.log.String(); !strings.Contains(s, "connection refused") {
			t.Errorf("logged %q", s)
		}
	}
}

// TestDatagramsSameServer finds the server again for a client that was forgotten.
func TestDatagramsSameServer(t *testing.T) {
	b := newBench(t, UDPOptions{}, 8, balance.Maglev{})
	reached := map[netip.AddrPort]bool{}
	for i := range 32 {
		b.ask(i*256, "x")
		first := b.to(i * 256).target
		b.pass(2 * time.Minute)
		b.check(0, 0)
		b.ask(i*256+1, "x") // from another port
		if again := b.to(i*256 + 1).target; again != first {
			t.Errorf("client %d went to %v, then to %v", i, first, again)
		}
		b.pass(2 * time.Minute)
		reached[first] = true
	}
	if len(reached) < 4 {
		t.Errorf("32 clients came to %d of 8 servers", len(reached))
	}
}

// TestDatagramsFull counts what found no room.
func TestDatagramsFull(t *testing.T) {
	b := newBench(t, UDPOptions{}, 1, balance.RoundRobin{})
	b.ask(1, "x")
	b.to(1).full = true
	b.ask(1, "lost")
	b.front.full = true
	b.answer(1, "lost as well")
	if n := b.udp.Counts(); n[Lost] != 2 {
		t.Errorf("counted %v", n)
	}
}

// TestDatagramsDoNotAllocate once there is a session.
func TestDatagramsDoNotAllocate(t *testing.T) {
	b := newBench(t, UDPOptions{}, 1, balance.RoundRobin{})
	b.ask(1, "x")
	b.to(1).full, b.front.full = true, true // what is sent is not kept
	s, from, p := b.to(1), client1(1), []byte("x")
	if n := testing.AllocsPerRun(100, func() {
		b.router.Datagram(b.front, from, p)
		s.handler.Datagram(s, s.target, p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
