package stream

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web/webtest"
)

// place is a process in memory: a TCP proxy on one thread, whose connections lead to the test.
type place struct {
	tcp     *TCP
	group   *upstream.Group
	handler conn.Handler
	dialer  webtest.Dialer
	records []Record
}

// Log keeps the records.
func (p *place) Log(r *Record) { p.records = append(p.records, *r) }

const placeServer = "127.0.0.1:9001"

func newPlace(t testing.TB, o TCPOptions, servers ...string) *place {
	t.Helper()
	if len(servers) == 0 {
		servers = []string{placeServer}
	}
	p := new(place)
	p.group = group(t, upstream.Options{}, servers...)
	o.Group, o.Records = p.group, p
	var err error
	if p.tcp, err = NewTCP(o); err != nil {
		t.Fatal(err)
	}
	p.handler = p.tcp.Handler()
	p.handler.(conn.Starter).Started(&p.dialer)
	return p
}

// connect begins a session, and returns both its ends; that of the server is nil if it was not dialled.
func (p *place) connect() (client, server *webtest.Conn) {
	client = webtest.New(p.handler)
	p.dialer.Turn()
	if n := len(p.dialer.Conns); n > 0 {
		server = p.dialer.Conns[n-1]
	}
	return client, server
}

// arrive has a parcel come, and returns both ends of the session.
func (p *place) arrive(parcel *conn.Parcel) (client, server *webtest.Conn, err error) {
	client, err = webtest.Arrive(p.handler, parcel, &p.dialer)
	if n := len(p.dialer.Conns); n > 0 {
		server = p.dialer.Conns[n-1]
	}
	p.dialer.Turn()
	return client, server, err
}

// counted checks the counters that are not zero.
func (p *place) counted(t *testing.T, want map[Counter]int64) {
	t.Helper()
	counts := p.tcp.Counts()
	for c, n := range counts.All() {
		if n != want[c] {
			t.Errorf("%v is %d, want %d", c, n, want[c])
		}
	}
}

// uses is how many connections the group counts.
func uses(t testing.TB, g *upstream.Group) (open, busy int64) {
	t.Helper()
	for _, e := range g.Snapshot().Endpoints {
		open, busy = open+int64(e.Open), busy+int64(e.Leased)
	}
	return open, busy
}

// departure is a session that leaves, or does not.
type departure struct {
	name   string
	before func(client, server *webtest.Conn)
	leaves bool
	after  func(t *testing.T, there *place, client, server *webtest.Conn)
	cause  Cause
}

// departures are the states that a session can be in.
var departures = []departure{
	{"silent", func(_, _ *webtest.Conn) {}, true, talk, ClientEnded},
	{"with bytes behind it", func(client, server *webtest.Conn) {
		client.Receive([]byte("up"))
		server.Receive([]byte("down"))
		settle(client, server)
	}, true, talk, ClientEnded},
	{
		"the client has ended", func(client, _ *webtest.Conn) { client.End() }, true,
		func(t *testing.T, _ *place, client, server *webtest.Conn) {
			server.Receive([]byte("late"))
			client.Turn()
			if string(client.Sent) != "late" {
				t.Errorf("the client got %q", client.Sent)
			}
			server.End()
		}, ClientEnded,
	},
	{
		"the server has ended", func(_, server *webtest.Conn) { server.End() }, true,
		func(t *testing.T, _ *place, client, server *webtest.Conn) {
			client.Receive([]byte("late"))
			server.Turn()
			if string(server.Sent) != "late" {
				t.Errorf("the server got %q", server.Sent)
			}
			client.End()
		}, UpstreamEnded,
	},
	{"the silence goes on", func(client, server *webtest.Conn) {
		client.Receive([]byte("up"))
		server.Turn()
		advance(50*time.Second, client, server)
	}, true, func(t *testing.T, _ *place, client, server *webtest.Conn) {
		advance(5*time.Second, client, server)
		if client.State() != conn.Open {
			t.Error("it ended too soon")
		}
		advance(30*time.Second, client, server) // bytes are noticed up to 15 s later
	}, Idle},
	{"so does its age", func(client, server *webtest.Conn) {
		for range 19 {
			advance(5*time.Second, client, server)
			client.Receive([]byte("up"))
			server.Turn()
		}
	}, true, func(_ *testing.T, _ *place, client, server *webtest.Conn) {
		advance(6*time.Second, client, server)
	}, TooLong},
	{"queued bytes are stuck", func(client, server *webtest.Conn) {
		server.Stuck = true
		client.Receive([]byte("up"))
	}, false, nil, 0},
	{"both have ended", func(client, server *webtest.Conn) {
		client.Stuck = true
		server.Receive([]byte("down"))
		client.End()
		server.End()
	}, false, nil, 0},
}

// TestSessionsDepart has sessions leave in every state that they can be in, and go on in another process.
func TestSessionsDepart(t *testing.T) {
	for i := range departures {
		t.Run(departures[i].name, departures[i].check)
	}
}

func (test *departure) check(t *testing.T) {
	o := TCPOptions{Idle: time.Minute, Lifetime: 100 * time.Second, PerClient: 1}
	here, there := newPlace(t, o), newPlace(t, o)
	client, server := here.connect()
	test.before(client, server)
	parcel := client.Depart()
	if (parcel != nil) != test.leaves {
		t.Fatalf("it left: %t", parcel != nil)
	}
	if parcel == nil {
		return
	}
	here.counted(t, map[Counter]int64{Sessions: 1, MovedOut: 1})
	if open, busy := uses(t, here.group); open != 0 || busy != 0 || len(here.records) != 0 {
		t.Errorf("behind it %d connections, %d in use, records %v", open, busy, here.records)
	}
	if !here.tcp.clients.enter(client.Remote().Addr()) {
		t.Error("the client is still counted")
	}
	in, out := parcel.In, parcel.Out
	client, server, err := there.arrive(parcel)
	if err != nil {
		t.Fatal(err)
	}
	there.counted(t, map[Counter]int64{MovedIn: 1, Open: 1})
	if open, busy := uses(t, there.group); open != 1 || busy != 1 {
		t.Errorf("there %d connections, %d in use", open, busy)
	}
	if there.tcp.clients.enter(client.Remote().Addr()) {
		t.Error("the client is not counted")
	}
	test.after(t, there, client, server)
	settle(client, server)
	there.counted(t, map[Counter]int64{MovedIn: 1, ends[test.cause]: 1})
	if open, busy := uses(t, there.group); open != 0 || busy != 0 || len(there.records) != 1 {
		t.Fatalf("behind it %d connections, %d in use, records %v", open, busy, there.records)
	}
	r := there.records[0]
	if r.Cause != test.cause || r.Received < in || r.Sent < out || r.Upstream != placeServer {
		t.Errorf("the record is %+v", r)
	}
}

// advance moves the time of both ends.
func advance(by time.Duration, ends ...*webtest.Conn) {
	for _, c := range ends {
		c.Advance(by)
	}
}

// talk passes a byte each way and ends the session.
func talk(t *testing.T, _ *place, client, server *webtest.Conn) {
	client.Receive([]byte("u"))
	server.Receive([]byte("d"))
	settle(client, server)
	if string(server.Sent) != "u" || string(client.Sent) != "d" {
		t.Errorf("the server got %q, the client %q", server.Sent, client.Sent)
	}
	client.End()
	server.End()
	settle(client, server)
}

// settle lets a turn end on both sides.
func settle(client, server *webtest.Conn) {
	for _, c := range []*webtest.Conn{client, server} {
		if c.State() != conn.Closed {
			c.Turn()
		}
	}
}

// TestNoSessionDeparts has connections stay that have no server yet.
func TestNoSessionDeparts(t *testing.T) {
	asked := newPlace(t, TCPOptions{Accept: HeaderV1})
	if client, _ := asked.connect(); client.Depart() != nil {
		t.Error("one left that waits for a header")
	}
	held := newPlace(t, TCPOptions{})
	held.dialer.Held = true
	if client, _ := held.connect(); client.Depart() != nil {
		t.Error("one left that waits for its server")
	}
}

// TestSessionsIntroduced has a session leave whose client has said who it is.
func TestSessionsIntroduced(t *testing.T) {
	here, there := newPlace(t, TCPOptions{Accept: HeaderV1}), newPlace(t, TCPOptions{Accept: HeaderV1})
	client := webtest.New(here.handler)
	client.Receive([]byte("PROXY TCP4 192.0.2.7 192.0.2.8 77 88\r\n"))
	here.dialer.Turn()
	client, server, err := there.arrive(client.Depart())
	if err != nil {
		t.Fatal(err)
	}
	talk(t, there, client, server)
	if r := there.records[0]; r.Client != netip.MustParseAddrPort("192.0.2.7:77") {
		t.Errorf("the record is %+v", r)
	}
}

// TestSessionsRefused has sessions arrive where they cannot go on, and then where they came from.
func TestSessionsRefused(t *testing.T) {
	here := newPlace(t, TCPOptions{PerClient: 1})
	client, _ := here.connect()
	parcel := client.Depart()
	alone := *parcel
	alone.Mate = nil
	closed := newPlace(t, TCPOptions{})
	closed.group.Close()
	for _, test := range []struct {
		name   string
		there  *place
		parcel *conn.Parcel
		want   error
	}{
		{"another server", newPlace(t, TCPOptions{PerClient: 1}, "127.0.0.1:9002"), parcel, upstream.ErrNoEndpoint},
		{"no connection to it", newPlace(t, TCPOptions{PerClient: 1}), &alone, conn.ErrState},
		{"a closed group", closed, parcel, upstream.ErrClosed},
	} {
		client, _, err := test.there.arrive(test.parcel)
		if !errors.Is(err, test.want) || client.Attached() != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		test.there.counted(t, nil)
	}
	client, server, err := here.arrive(parcel)
	if err != nil {
		t.Fatal(err)
	}
	here.counted(t, map[Counter]int64{Sessions: 1, MovedOut: 1, MovedIn: 1, Open: 1})
	talk(t, here, client, server)
}

// TestSessionsBeyondLimits has a session arrive where there are as many as there may be: it goes on, and nothing new
// begins.
func TestSessionsBeyondLimits(t *testing.T) {
	o := TCPOptions{PerClient: 1}
	here, there := newPlace(t, o), newPlace(t, o)
	there.connect()
	client, _ := here.connect()
	client, server, err := there.arrive(client.Depart())
	if err != nil {
		t.Fatal(err)
	}
	if more, _ := there.connect(); more.State() == conn.Open {
		t.Error("one more session of the client has begun")
	}
	talk(t, there, client, server)
	if more, _ := there.connect(); more.State() == conn.Open {
		t.Error("one more session of the client has begun while it has one")
	}
}

// FuzzUnpackSession has any state arrive.
func FuzzUnpackSession(f *testing.F) {
	here := newPlace(f, TCPOptions{})
	client, _ := here.connect()
	f.Add(client.Depart().State)
	client, server := here.connect()
	server.End()
	f.Add(client.Depart().State)
	f.Add([]byte("\x01"))
	f.Fuzz(func(t *testing.T, state []byte) {
		there := newPlace(t, TCPOptions{PerClient: 1})
		client, server, err := there.arrive(&conn.Parcel{State: state, Mate: &conn.Parcel{}})
		if err != nil {
			there.counted(t, nil)
			if open, busy := uses(t, there.group); open != 0 || busy != 0 || client.Attached() != nil {
				t.Errorf("behind an error %d connections, %d in use", open, busy)
			}
			return
		}
		client.Receive([]byte("u"))
		server.Receive([]byte("d"))
		for range 1000 {
			if client.State() == conn.Closed && server.State() == conn.Closed {
				break
			}
			advance(time.Minute, client, server)
		}
		if n := there.tcp.Counts(); n[Open] != 0 || n[MovedIn] != 1 {
			t.Errorf("behind it %v", n)
		}
	})
}
