package servetest

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

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

// PackAll implements conn.PortableDatagrams.
func (r *relay) PackAll(_ conn.Datagrams, give func(socket conn.Datagrams, state []byte)) {
	for _, s := range r.sessions {
		state, err := s.client.MarshalText()
		if err != nil {
			r.t.Error(err)
		}
		give(s.socket, state)
	}
	clear(r.sessions)
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
	parcels := make(chan *conn.Parcel, len(clients))
	end, err := two.all[0].Depart(serve.Departure{
		Room: func() int { return 1 },
		Take: func(p *conn.Parcel) { parcels <- p },
		Only: func(listener int) bool { return listener == 1 },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.all[1].Listen(l); err != nil {
		t.Fatal(err)
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
	for i, c := range clients {
		if now := ask(t, c, "who am I"); now != names[i] {
			t.Errorf("a client was %s and is %s", names[i], now)
		}
		_ = c.Close()
	}
	p := &conn.Parcel{Listener: 1, FD: -1}
	if err := two.all[1].Arrive(p); !errors.Is(err, serve.ErrNotPortable) {
		t.Errorf("a session without a state: %v", err)
	}
	end()
	_ = far.Close()
	sockets.close()
	two.stop()
}
