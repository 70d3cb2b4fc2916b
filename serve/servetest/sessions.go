package servetest

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/serve"
)

// sessions is a handler of datagrams that opens sockets of its own.
type sessions struct {
	t       *testing.T
	started chan conn.Dialer
}

func (s *sessions) Started(d conn.Dialer) { s.started <- d }

func (s *sessions) Datagram(conn.Datagrams, netip.AddrPort, []byte) {
	s.t.Error("a datagram came to the listener")
}

// session is what hears of one socket.
type session struct {
	t      *testing.T
	from   netip.AddrPort
	came   chan string
	failed chan error
}

func (s *session) Datagram(_ conn.Datagrams, from netip.AddrPort, p []byte) {
	if from != s.from {
		s.t.Errorf("a datagram of %v, not of %v", from, s.from)
	}
	s.came <- string(p)
}

func (s *session) Failed(_ conn.Datagrams, err error) { s.failed <- err }

// echoDatagrams sends back what comes.
func echoDatagrams(t *testing.T, address string) net.PacketConn {
	t.Helper()
	l, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		p := make([]byte, 2048)
		for {
			n, from, err := l.ReadFrom(p)
			if err != nil {
				return
			}
			_, _ = l.WriteTo(p[:n], from)
		}
	}()
	return l
}

// datagramSessions opens many sockets that are connected, closes them, and meets a peer that is not there.
func datagramSessions(t *testing.T, s Suite) {
	v := &server{t: t, record: &record{t: t, lives: map[uint64]*life{}}}
	l, _ := v.listener(s, "udp://127.0.0.1:0")
	h := &sessions{t: t, started: make(chan conn.Dialer, 64)}
	l.Datagram = func() conn.DatagramHandler { return h }
	v.serve(s, func(site *serve.Site) { site.Listeners = []serve.Listener{l} })
	if s.Site.Driver.Open == nil {
		if v.stop(); len(h.started) > 0 {
			t.Error("Started was called")
		}
		return
	}
	o := &office{server: v, t: t, dialer: await(t, h.started, "Started")}
	far := echoDatagrams(t, "127.0.0.1:0")
	there := far.LocalAddr().(*net.UDPAddr).AddrPort()
	for round := range 3 {
		o.exchange(there, 200, round)
	}
	o.meetNobody(far, there)
	if _, err := o.open(&conn.Target{}, nil); err == nil {
		t.Error("a socket was connected to nowhere")
	}
	o.stop()
}

func (o *office) open(target *conn.Target, h conn.DatagramHandler) (d conn.Datagrams, err error) {
	o.t.Helper()
	o.on(func() { d, err = o.dialer.OpenDatagrams(target, h) })
	return d, err
}

// exchange has n sessions at once, each of which hears its own answers only.
func (o *office) exchange(there netip.AddrPort, n, round int) {
	o.t.Helper()
	target := &conn.Target{Address: there}
	if round == 1 {
		target.Source = netip.MustParseAddr("127.0.0.3")
	}
	all, sockets := make([]*session, n), make([]conn.Datagrams, n)
	for i := range all {
		all[i] = &session{t: o.t, from: there, came: make(chan string, 8), failed: make(chan error, 8)}
		var err error
		if sockets[i], err = o.open(target, all[i]); err != nil {
			o.t.Fatal(err)
		}
		if local := sockets[i].Local(); target.Source.IsValid() && local.Addr() != target.Source || local.Port() == 0 {
			o.t.Errorf("the socket is at %v", local)
		}
	}
	for i, d := range sockets {
		words := []string{"first", string(bytes.Repeat([]byte{byte(i)}, 1+i)), ""}
		o.on(func() {
			for k, w := range words {
				to := netip.AddrPort{}
				if k == 0 {
					to = there
				}
				if !d.SendTo(to, []byte(w)) {
					o.t.Error("the queue is full")
				}
			}
		})
		for range words {
			if got := await(o.t, all[i].came, "an answer"); got != words[0] && got != words[1] && got != words[2] {
				o.t.Errorf("session %d of round %d: %q came", i, round, got)
			}
		}
	}
	o.on(func() {
		for i, d := range sockets {
			if i%2 == 0 {
				d.SendTo(netip.AddrPort{}, []byte("on its way"))
			}
			d.Close()
			d.Close()
			if d.SendTo(netip.AddrPort{}, []byte("too late")) {
				o.t.Error("a closed socket takes datagrams")
			}
		}
	})
}

// meetNobody sends to a port that is closed, again and again, until somebody listens there again.
func (o *office) meetNobody(far net.PacketConn, there netip.AddrPort) {
	o.t.Helper()
	_ = far.Close()
	h := &session{t: o.t, from: there, came: make(chan string, 64), failed: make(chan error, 64)}
	d, err := o.open(&conn.Target{Address: there}, h)
	if err != nil {
		o.t.Fatal(err)
	}
	for range 30 {
		o.on(func() { d.SendTo(netip.AddrPort{}, []byte("anybody?")) })
		if err := await(o.t, h.failed, "what the kernel heard"); !errors.Is(err, syscall.ECONNREFUSED) {
			o.t.Errorf("a datagram to nobody: %v", err)
		}
	}
	back := echoDatagrams(o.t, there.String())
	o.on(func() { d.SendTo(netip.AddrPort{}, []byte("back")) })
	if got := await(o.t, h.came, "an answer"); got != "back" {
		o.t.Errorf("%q came", got)
	}
	o.on(d.Close)
	_ = back.Close()
}
