package sockets

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// shutWriting is SHUT_WR of shutdown(2).
const shutWriting = 1

// rig makes sockets of one listener on a port of its own, and closes what it made.
type rig struct {
	*testing.T
	listener int
	address  netip.AddrPort
}

func newRig(t *testing.T, ip string, backlog int) *rig {
	r := &rig{T: t}
	r.listener = r.socket(ip)
	raw, _ := sys.EncodeAddress(nil, netip.AddrPortFrom(netip.MustParseAddr(ip), 0))
	r.must(sys.Bind(r.listener, raw))
	r.must(sys.Listen(r.listener, backlog))
	address, err := sys.LocalAddress(r.listener)
	r.must(err)
	r.address = address
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) socket(ip string) int {
	family := sys.Inet4
	if netip.MustParseAddr(ip).Is6() {
		family = sys.Inet6
	}
	fd, err := sys.Socket(family, sys.Stream, true)
	r.must(err)
	r.Cleanup(func() { _ = sys.Close(fd) })
	return fd
}

// dial begins a connection; on loopback it is there at once if the listener has room.
func (r *rig) dial(prepare func(fd int) error) int {
	fd := r.socket(r.address.Addr().String())
	if prepare != nil {
		r.must(prepare(fd))
	}
	raw, _ := sys.EncodeAddress(nil, r.address)
	if err := sys.Connect(fd, raw); err != nil && err != syscall.EINPROGRESS {
		r.Fatal(err)
	}
	return fd
}

// pair is a connection: the end that dialled and the one that was accepted.
func (r *rig) pair() (client, server int) {
	client = r.dial(nil)
	server, err := sys.Accept(r.listener)
	r.must(err)
	r.Cleanup(func() { _ = sys.Close(server) })
	return client, server
}

// until waits for a socket of the rig that fits, in what the kernel lists. Most is there at the first look; what the
// kernel does later, such as the end of a handshake, after some.
func (r *rig) until(q Query, what string, fits func(*Socket) bool) (found Socket) {
	r.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		ok := false
		err := List(q, func(s *Socket) {
			if ports := s.Local.Port() == r.address.Port() || s.Remote.Port() == r.address.Port(); ports && fits(s) {
				found, ok = *s, true
			}
		})
		if ok {
			return found
		}
		if time.Now().After(deadline) {
			r.Fatalf("no socket that is %s (%v)", what, err)
		}
		<-time.After(time.Millisecond)
	}
}

// stateTests make each state, with the calls that lead there. Where a segment has to be lost, its receiver is deaf.
var stateTests = []struct {
	state  State
	server bool // the end that is in the state has the listener's port
	make   func(r *rig)
}{
	{Listen, true, func(*rig) {}},
	{Established, true, func(r *rig) { r.pair() }},
	{Established, false, func(r *rig) { r.pair() }},
	{SynSent, false, func(r *rig) { r.dial(sys.Deafen) }},
	{SynReceived, true, func(r *rig) { r.dial(sys.Deafen) }},
	{CloseWait, true, func(r *rig) { client, _ := r.pair(); sys.Close(client) }},
	{FinWait2, false, func(r *rig) { client, _ := r.pair(); sys.Close(client) }},
	{FinWait2, true, func(r *rig) { _, server := r.pair(); sys.Shutdown(server, shutWriting) }},
	{TimeWait, false, func(r *rig) { client, server := r.pair(); sys.Close(client); sys.Close(server) }},
	{TimeWait, true, func(r *rig) { client, server := r.pair(); sys.Close(server); sys.Close(client) }},
	{FinWait1, false, func(r *rig) { client, server := r.pair(); r.must(sys.Deafen(server)); sys.Close(client) }},
	{LastAck, true, func(r *rig) {
		client, server := r.pair()
		r.must(sys.Shutdown(client, shutWriting))
		r.must(sys.Deafen(client))
		sys.Close(server)
	}},
	{Closing, false, func(r *rig) {
		client, server := r.pair()
		r.must(sys.Deafen(server))
		r.must(sys.Shutdown(client, shutWriting))
		r.must(sys.Shutdown(server, shutWriting))
	}},
}

// TestStates puts sockets into each state of TCP and finds them there, by the kernel's filter and without it.
func TestStates(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		for _, test := range stateTests {
			t.Run(ip+"/"+test.state.String(), func(t *testing.T) {
				r := newRig(t, ip, 16)
				test.make(r)
				q := Query{States: test.state.Bit(), Information: true, Memory: true}
				if test.server {
					q.LocalPort = r.address.Port()
				} else {
					q.RemotePort = r.address.Port()
				}
				found := r.until(q, test.state.String(), func(*Socket) bool { return true })
				if found.State != test.state {
					t.Errorf("asked for %v, got %v", test.state, found.State)
				}
				if end := found.Local; test.server && end != r.address {
					t.Errorf("the local end is %v, not %v", end, r.address)
				}
				if end := found.Remote; !test.server && end != r.address {
					t.Errorf("the remote end is %v, not %v", end, r.address)
				}
				r.until(Query{}, "in the whole list", func(s *Socket) bool { return s.State == test.state })
			})
		}
	}
}

// TestFullAcceptQueue: the queue of a listener is how many wait, and its limit; who comes later stays in SYN_SENT.
func TestFullAcceptQueue(t *testing.T) {
	r := newRig(t, "127.0.0.1", 1)
	for range 4 {
		r.dial(nil)
	}
	listener := r.until(Query{States: Listen.Bit()}, "a full listener", func(s *Socket) bool { return s.ReceiveQueue > 1 })
	if listener.ReceiveQueue != 2 || listener.SendQueue != 1 {
		t.Errorf("waiting %d of %d", listener.ReceiveQueue, listener.SendQueue)
	}
	waiting := r.until(Query{States: SynSent.Bit()}, "left waiting", func(*Socket) bool { return true })
	if waiting.Timer != RetransmitTimer || waiting.Expires <= 0 {
		t.Errorf("a SYN without an answer: timer %d, %v", waiting.Timer, waiting.Expires)
	}
}

func TestQueuesInformationAndMemory(t *testing.T) {
	r := newRig(t, "127.0.0.1", 16)
	client, _ := r.pair()
	if _, err := sys.Send(client, make([]byte, 1000), 0); err != nil {
		t.Fatal(err)
	}
	q := Query{States: Established.Bit(), LocalPort: r.address.Port(), Information: true, Memory: true}
	server := r.until(q, "with bytes to read", func(s *Socket) bool { return s.ReceiveQueue > 0 })
	if server.ReceiveQueue != 1000 || server.Information.BytesReceived != 1000 || server.Memory.Receive < 1000 {
		t.Errorf("1000 bytes came: %+v", server)
	}
	if int(server.UID) != os.Getuid() || server.Inode == 0 || !server.Information.Known ||
		server.Memory.ReceiveLimit == 0 {
		t.Errorf("%+v", server)
	}
	q.LocalPort, q.RemotePort = 0, r.address.Port()
	sender := r.until(q, "acknowledged", func(s *Socket) bool { return s.SendQueue == 0 })
	if i := sender.Information; i.BytesSent < 1000 || i.DataSegmentsOut == 0 || i.RTT <= 0 || i.Window == 0 ||
		!i.WindowScaling || i.LastSent > time.Minute {
		t.Errorf("%+v", i)
	}
	if q.Information = false; r.until(q, "there", func(*Socket) bool { return true }).Information.Known {
		t.Error("information that nobody asked for")
	}
}

func TestOwners(t *testing.T) {
	r := newRig(t, "127.0.0.1", 1)
	listener := r.until(Query{States: Listen.Bit()}, "listening", func(*Socket) bool { return true })
	for _, pid := range []int{0, os.Getpid()} {
		o, err := Owners("/proc", pid, map[uint32]bool{listener.Inode: true})
		if err != nil {
			t.Fatal(err)
		}
		p, known := o.Owner(listener.Inode)
		if !known || p.PID != os.Getpid() || p.Name == "" {
			t.Errorf("asked for %d: %v, %v", pid, p, known)
		}
		if _, known := o.Owner(0); known || len(o.owners) != 1 {
			t.Errorf("%d owners", len(o.owners))
		}
	}
	const nobody = 1 << 30
	if _, err := Owners("/proc", nobody, nil); err == nil {
		t.Error("a process that is not there has sockets")
	}
}

// TestEnded: what was reset and not closed is in no list, and counted; what lives, or is of another kind, is not.
func TestEnded(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		r := newRig(t, ip, 16)
		r.pair()
		_, _, err := sys.SocketPair(sys.Stream)
		r.must(err)
		before, err := Ended("/proc", os.Getpid())
		r.must(err)
		client, _ := r.pair()
		r.must(sys.SetLinger(client, 0))
		_ = sys.Close(client)
		deadline := time.Now().Add(10 * time.Second)
		for after := before; after != before+1; {
			after, err = Ended("/proc", os.Getpid())
			r.must(err)
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d after %d", ip, after, before)
			}
		}
	}
	const nobody = 1 << 30
	if _, err := Ended("/proc", nobody); err == nil {
		t.Error("a process that is not there has sockets")
	}
}

func TestUnixListeners(t *testing.T) {
	for _, name := range []string{t.TempDir() + "/s", "@myriad-sockets-test"} {
		listener, err := sys.Socket(sys.Unix, sys.Stream, true)
		if err != nil {
			t.Fatal(err)
		}
		defer sys.Close(listener)
		raw, err := sys.EncodeUnix(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := sys.Bind(listener, raw); err != nil {
			t.Fatal(err)
		}
		if err := sys.Listen(listener, 3); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			client, err := sys.Socket(sys.Unix, sys.Stream, true)
			if err != nil {
				t.Fatal(err)
			}
			defer sys.Close(client)
			if err := sys.Connect(client, raw); err != nil {
				t.Fatal(err)
			}
		}
		list, err := UnixListeners()
		found := false
		for _, l := range list {
			if l.Name == name {
				found = true
				if l.Waiting != 2 || l.Backlog != 3 || l.Inode == 0 {
					t.Errorf("%+v", l)
				}
			}
		}
		if !found {
			t.Errorf("%s is not among %d listeners (%v)", name, len(list), err)
		}
	}
}

func TestParseState(t *testing.T) {
	for s := Established; s <= Closing; s++ {
		if got, err := ParseState(s.String()); got != s || err != nil {
			t.Errorf("%v is read as %v, %v", s, got, err)
		}
	}
	if got, err := ParseState("close-wait"); got != CloseWait || err != nil {
		t.Error(got, err)
	}
	if got, err := ParseState("closed-ish"); err == nil {
		t.Error(got)
	}
	if State(99).String() != "state 99" || !All.Has(Listen) || Established.Bit().Has(Listen) {
		t.Error("sets")
	}
}

// TestReadIsHardened: what is cut short is refused, and never read past its end.
func TestReadIsHardened(t *testing.T) {
	var s Socket
	whole := make([]byte, messageSize+8)
	whole[0] = sys.Inet4
	whole[messageSize], whole[messageSize+2] = 200, extensionInformation // an attribute longer than its message
	for n := range len(whole) {
		if got := s.read(whole[:n]); got != (n >= messageSize) {
			t.Errorf("%d bytes: %v", n, got)
		}
	}
}

// BenchmarkList is the cost of one socket more in a list: nothing is allocated for it.
func BenchmarkList(b *testing.B) {
	q := Query{Information: true, Memory: true}
	b.ReportAllocs()
	sockets := 0
	for b.Loop() {
		_ = List(q, func(*Socket) { sockets++ })
	}
	b.ReportMetric(float64(sockets)/float64(b.N), "sockets/op")
}
