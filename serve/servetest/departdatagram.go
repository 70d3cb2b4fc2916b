package servetest

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

// relay passes datagrams on, with a session and a socket for each client.
type relay struct {
	t        *testing.T
	target   *conn.Target
	dialer   conn.Dialer
	front    conn.Datagrams
	sessions map[netip.AddrPort]*relayed
}

// relayed is one client's session.
type relayed struct {
	relay  *relay
	client netip.AddrPort
	socket conn.Datagrams
}

func (r *relay) Started(d conn.Dialer) { r.dialer = d }

func (r *relay) Datagram(d conn.Datagrams, from netip.AddrPort, p []byte) {
	r.front = d
	s := r.sessions[from]
	if s == nil {
		s = &relayed{relay: r, client: from}
		var err error
		if s.socket, err = r.dialer.OpenDatagrams(r.target, s); err != nil {
			r.t.Error(err)
			return
		}
		r.sessions[from] = s
	}
	s.socket.SendTo(netip.AddrPort{}, p)
}

func (s *relayed) Datagram(_ conn.Datagrams, _ netip.AddrPort, p []byte) {
	s.relay.front.SendTo(s.client, p)
}

// Sessions implements conn.PortableDatagrams.
func (r *relay) Sessions(_ conn.Datagrams, each func(socket conn.Datagrams)) {
	for _, s := range r.sessions {
		each(s.socket)
	}
}

// PackSession implements conn.PortableSession.
func (s *relayed) PackSession(state []byte) []byte {
	delete(s.relay.sessions, s.client)
	state, err := s.client.AppendText(state)
	if err != nil {
		s.relay.t.Error(err)
	}
	return state
}

// UnpackSession implements conn.PortableDatagrams.
func (r *relay) UnpackSession(d conn.Datagrams, state []byte, open func(h conn.DatagramHandler) conn.Datagrams) error {
	r.front = d
	s := &relayed{relay: r}
	if err := s.client.UnmarshalText(state); err != nil {
		return err
	}
	s.socket = open(s)
	r.sessions[s.client] = s
	return nil
}

// shared makes listeners of the same sockets.
type shared struct {
	t    *testing.T
	mu   sync.Mutex
	open map[int]int
}

// of is a listener on duplicates of the sockets of another one.
func (s *shared) of(l serve.Listener) serve.Listener {
	first := l.Open
	l.Closed = nil
	l.Open = func(worker int) (int, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, opened := s.open[worker]; !opened {
			fd, err := first(worker)
			if err != nil {
				return -1, err
			}
			s.open[worker] = fd
		}
		return sys.Duplicate(s.open[worker])
	}
	return l
}

func (s *shared) close() {
	for _, fd := range s.open {
		_ = sys.Close(fd)
	}
}

// nameDatagrams answers with where a datagram came from.
func nameDatagrams(t *testing.T) net.PacketConn {
	t.Helper()
	far, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		p := make([]byte, 100)
		for {
			_, from, err := far.ReadFrom(p)
			if err != nil {
				return
			}
			_, _ = far.WriteTo([]byte(from.String()), from)
		}
	}()
	return far
}

// heard is the next answer.
func heard(t *testing.T, c net.Conn) string {
	t.Helper()
	answer := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:n])
}

// stillNamed reads two answers of each client, asks it once more, and closes it.
func stillNamed(t *testing.T, clients []net.Conn, names []string) {
	t.Helper()
	for i, c := range clients {
		for range 2 {
			if now := heard(t, c); now != names[i] {
				t.Errorf("a client was %s and is %s", names[i], now)
			}
		}
		if now := ask(t, c, "who am I"); now != names[i] {
			t.Errorf("a client was %s and is %s", names[i], now)
		}
		_ = c.Close()
	}
}

// departDatagrams has sessions of datagrams leave for a site that serves the same sockets: servers see the clients come
// from where they came from.
func departDatagrams(t *testing.T, s Suite) {
	two := openSites(t, s, nil, func(v *server) conn.Handler { return counting(v, nil) })
	if two == nil {
		return
	}
	far := nameDatagrams(t)
	sockets := &shared{t: t, open: map[int]int{}}
	l, group := two.all[0].listener(s, "udp://127.0.0.1:0")
	l = sockets.of(l)
	l.Datagram = func() conn.DatagramHandler {
		target := &conn.Target{Address: far.LocalAddr().(*net.UDPAddr).AddrPort()}
		return &relay{t: t, target: target, sessions: map[netip.AddrPort]*relayed{}}
	}
	if _, err := two.all[0].Listen(l); err != nil {
		t.Fatal(err)
	}
	clients, names := make([]net.Conn, 20), make([]string, 20)
	for i := range clients {
		clients[i] = two.all[0].at(group.Spec())
		names[i] = ask(t, clients[i], "who am I")
	}
	l.Paused = true
	number, err := two.all[1].Listen(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		send(t, c, []byte("who was I"))
	}
	parcels := make(chan *conn.Parcel, len(clients))
	end, err := two.all[0].Depart(serve.Departure{
		Room: func() int { return 1 },
		Take: func(p *conn.Parcel) { parcels <- p },
		Only: func(listener int) bool { return listener == 1 },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(parcels) != len(clients) {
		t.Errorf("%d of %d sessions have left with the departure", len(parcels), len(clients))
	}
	for _, c := range clients {
		send(t, c, []byte("who will I be"))
	}
	for range clients {
		p := await(t, parcels, "a session")
		state := p.State
		p.State = append(p.State[:2:2], "nobody"...)
		if err := two.all[1].Arrive(p); err == nil {
			t.Error("a session arrives that makes no sense")
		}
		p.State = state
		if err := two.all[1].Arrive(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.all[1].Resume(number); err != nil {
		t.Fatal(err)
	}
	stillNamed(t, clients, names)
	p := &conn.Parcel{Listener: 1, FD: -1}
	if err := two.all[1].Arrive(p); !errors.Is(err, serve.ErrNotPortable) {
		t.Errorf("a session without a state: %v", err)
	}
	end()
	_ = far.Close()
	sockets.close()
	two.stop()
}

// pausedDatagrams leaves what comes to a listener in its socket until it is resumed. Another one is never.
func pausedDatagrams(t *testing.T, s Suite) {
	v := steer(t, s)
	received := make(chan struct{}, 16)
	l, group := v.listener(s, "udp://127.0.0.1:0")
	l.Datagram = func() conn.DatagramHandler { return telling(received) }
	l.Paused = true
	number, err := v.Listen(l)
	if err != nil {
		t.Fatal(err)
	}
	c := v.at(group.Spec())
	for _, payload := range []string{"one", "two", "three"} {
		send(t, c, []byte(payload))
	}
	first := v.dial() // an exchange is a turn of everything
	send(t, first, []byte("hello"))
	want(t, first, "hello")
	_ = first.Close()
	if len(received) > 0 {
		t.Error("a datagram is taken from a socket that is paused")
	}
	for range 2 { // the second time it changes nothing
		if err := v.Resume(number); err != nil {
			t.Fatal(err)
		}
	}
	for _, payload := range []string{"one", "two", "three"} {
		if got := heard(t, c); got != payload {
			t.Errorf("the answer is %q, not %q", got, payload)
		}
	}
	_ = c.Close()
	if err := v.Resume(0); err == nil {
		t.Error("a listener of connections is resumed")
	}
	again, _ := v.listener(s, "udp://127.0.0.1:0")
	again.Datagram, again.Paused = l.Datagram, true
	if number, err = v.Listen(again); err != nil {
		t.Fatal(err)
	}
	v.Leave(number, leaving, nil)
	if err := v.Resume(number); err == nil {
		t.Error("a listener is resumed that was left")
	}
	v.stop()
}

// telling tells of each datagram, and answers with it.
type telling chan<- struct{}

// Datagram implements conn.DatagramHandler.
func (n telling) Datagram(d conn.Datagrams, from netip.AddrPort, p []byte) {
	n <- struct{}{}
	d.SendTo(from, p)
}
