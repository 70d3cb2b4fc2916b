package moving

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/serve/servetest"
	"github.com/myriad-server/myriad/stream"
)

// sockets are those of a listener, one for each loop, that processes share.
type sockets struct {
	mu    sync.Mutex
	group *listen.Group
	fds   map[int]int
}

// open gives a process a descriptor of its own for the socket of a loop.
func (s *sockets) open(worker int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, is := s.fds[worker]; !is {
		fd, err := s.group.Open(worker)
		if err != nil {
			return -1, err
		}
		s.fds[worker] = fd
	}
	return sys.Duplicate(s.fds[worker])
}

// close closes what is left.
func (s *sockets) close() {
	for worker, fd := range s.fds {
		_ = sys.Close(fd)
		s.group.Closed(worker)
	}
}

// startDatagrams begins a process that passes datagrams on.
func startDatagrams(t *testing.T, f driver.Factory, shared *sockets, server string) (*process, *stream.UDP) {
	t.Helper()
	p := &process{t: t}
	u, err := stream.NewUDP(stream.UDPOptions{Group: p.group("datagrams", server), Records: p, Idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	site := servetest.Site()
	site.Driver, site.Limits.Loops, site.Limits.Drain = f, 2, patience
	site.Steer = func(s serve.Steering) { p.Steering = s }
	site.Listeners = []serve.Listener{{Name: "datagrams", Network: "udp", Open: shared.open, Datagram: u.Handler}}
	t.Cleanup(u.Finish) // behind the end of the process
	p.run(&site)
	return p, u
}

// TestDatagramsMove has sessions of datagrams go to another process, which serves the same sockets: the server sees
// each client come from where it came from before, and what it answers late arrives.
func TestDatagramsMove(t *testing.T) {
	for _, f := range []driver.Factory{epoll.Factory, uring.Factory} {
		t.Run(f.Name, func(t *testing.T) {
			if s := f.Probe(); !s.OK {
				t.Skipf("the driver does not work here: %s; %s", s.Why, s.Fix)
			}
			moveDatagrams(t, f)
		})
	}
}

func moveDatagrams(t *testing.T, f driver.Factory) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	spec, err := listen.Parse("udp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spec.ReusePort = true
	shared := &sockets{group: listen.NewGroup(spec), fds: map[int]int{}}
	defer shared.close()
	here, u := startDatagrams(t, f, shared, server.LocalAddr().String())
	clients := make([]net.Conn, 8)
	from := make([]net.Addr, len(clients))
	for i := range clients {
		if clients[i], err = net.Dial("udp", shared.group.Spec().Address.String()); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
		say(t, clients[i], "first")
		from[i] = hear(t, server, "first")
		reply(t, server, from[i], clients[i])
		say(t, clients[i], "second")
		hear(t, server, "second") // it is answered when the session has moved
	}
	there, v := startDatagrams(t, f, shared, server.LocalAddr().String())
	parcels := make(chan *conn.Parcel, len(clients))
	stop, err := here.Depart(serve.Departure{
		Room: func() int { return len(clients) }, Take: func(p *conn.Parcel) { parcels <- p },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range clients {
		if err := there.Arrive(await(t, parcels, "a session that leaves")); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	for i, c := range clients {
		reply(t, server, from[i], c)
		say(t, c, "third")
		if got := hear(t, server, "third"); got.String() != from[i].String() {
			t.Errorf("a client that came from %v comes from %v", from[i], got)
		}
		reply(t, server, from[i], c)
	}
	n, m := u.Counts(), v.Counts()
	if n[stream.Sessions] != 8 || n[stream.MovedOut] != 8 || n[stream.Open] != 0 || here.leased() != 0 {
		t.Errorf("where they were %v", n)
	}
	if m[stream.Sessions] != 0 || m[stream.MovedIn] != 8 || m[stream.Open] != 8 || there.leased() != 8 {
		t.Errorf("where they are %v", m)
	}
	here.stop()
	there.stop()
	if len(here.records) != 0 {
		t.Errorf("where they were the log is told %v", here.records)
	}
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// hear takes the next datagram of a server, which must be this one, and says whom it came from.
func hear(t *testing.T, server net.PacketConn, text string) (from net.Addr) {
	t.Helper()
	_ = server.SetReadDeadline(time.Now().Add(patience))
	room := make([]byte, 100)
	n, from, err := server.ReadFrom(room)
	if err != nil || string(room[:n]) != text {
		t.Fatalf("the server got %q, %v; want %q", room[:n], err, text)
	}
	return from
}

// reply answers, and has the client hear it.
func reply(t *testing.T, server net.PacketConn, to net.Addr, c net.Conn) {
	t.Helper()
	if _, err := server.WriteTo([]byte("answer"), to); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	room := make([]byte, 100)
	if n, err := c.Read(room); err != nil || string(room[:n]) != "answer" {
		t.Fatalf("the client got %q, %v", room[:n], err)
	}
}
