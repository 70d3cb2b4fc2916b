package servetest

import (
	"errors"
	"net"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

// doorstep accepts connections for somebody else.
type doorstep struct {
	t  *testing.T
	l  *net.TCPListener
	at net.Addr
}

func openDoorstep(t *testing.T) *doorstep {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &doorstep{t, l, l.Addr()}
}

// accept is a client, and its connection as it would come from another process.
func (d *doorstep) accept(listener int) (net.Conn, *conn.Parcel) {
	d.t.Helper()
	client, err := net.DialTimeout("tcp", d.at.String(), patience)
	if err != nil {
		d.t.Fatal(err)
	}
	far, err := d.l.AcceptTCP()
	if err != nil {
		d.t.Fatal(err)
	}
	var fd int
	raw, err := far.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(own uintptr) { fd, err = sys.Duplicate(int(own)) }), err)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	_ = far.Close()
	return client, &conn.Parcel{Listener: listener, FD: fd}
}

// arrive has connections arrive that were accepted elsewhere, one by one and many at once.
func arrive(t *testing.T, s Suite) {
	d := openDoorstep(t)
	v := steer(t, s)
	serveOne := func(c net.Conn) {
		t.Helper()
		send(t, c, []byte("hello"))
		want(t, c, "hello")
		_ = c.Close()
	}
	for range 3 {
		c, p := d.accept(0)
		if err := v.Arrive(p); err != nil {
			t.Fatalf("Arrive: %v", err)
		}
		serveOne(c)
	}
	var clients []net.Conn
	var parcels []*conn.Parcel
	for range min(s.AtOnce, 16) {
		c, p := d.accept(0)
		clients, parcels = append(clients, c), append(parcels, p)
	}
	for i, err := range v.ArriveMany(parcels) {
		if err != nil {
			t.Errorf("the %d. of many: %v", i, err)
		}
	}
	for _, c := range clients {
		serveOne(c)
	}
	c, p := d.accept(7)
	if err := v.Arrive(p); !errors.Is(err, serve.ErrNotPortable) {
		t.Errorf("at no listener: %v", err)
	}
	p.Listener, p.State = 0, []byte("state")
	if err := v.Arrive(p); !errors.Is(err, serve.ErrNotPortable) {
		t.Errorf("with a state that the handler cannot read: %v", err)
	}
	p.State = nil
	if err := v.Arrive(p); err != nil { // what was refused is as good as before
		t.Fatalf("Arrive: %v", err)
	}
	serveOne(c)
	v.stop()
	if err := v.Arrive(&conn.Parcel{FD: -1}); !errors.Is(err, conn.ErrStopping) {
		t.Errorf("Arrive at a site that has ended: %v", err)
	}
}

// arriveWithout serves a listener that has no socket here: connections arrive.
func arriveWithout(t *testing.T, s Suite) {
	d := openDoorstep(t)
	v := steer(t, s)
	l, _ := v.listener(s, "127.0.0.1:0")
	l.Open = func(int) (int, error) { return -1, nil }
	l.Closed = nil
	l.Handler = func() conn.Handler { return &watched{script: naming("second "), record: v.record} }
	number, err := v.Listen(l)
	if err != nil {
		t.Fatal(err)
	}
	c, p := d.accept(number)
	if err := v.Arrive(p); err != nil {
		t.Fatal(err)
	}
	send(t, c, []byte("hello"))
	want(t, c, "second hello")
	gone := v.leave(number, leaving)
	wantEnd(t, c)
	_ = c.Close()
	await(t, gone, "gone")
	c, p = d.accept(number)
	if err := v.Arrive(p); !errors.Is(err, conn.ErrStopping) {
		t.Errorf("Arrive at a listener that is left: %v", err)
	}
	_ = sys.Close(p.FD)
	_ = c.Close()
	v.stop()
}

// arriveAtLimits is refused when nothing idle can make room.
func arriveAtLimits(t *testing.T, s Suite) {
	const limit = 4 // by one, two and four loops it can be divided
	if s.AtOnce < limit {
		t.Skip("the model serves one connection at a time, and others wait")
	}
	d := openDoorstep(t)
	s.Site.Limits.Connections = limit
	busy := naming("")
	busy.opened = nil
	v := &steered{suite: s}
	v.server = start(t, s, func(site *serve.Site) {
		site.Steer = func(s serve.Steering) { v.Steering = s }
	}, same(busy))
	var clients []net.Conn
	for range limit {
		c, p := d.accept(0)
		if err := v.Arrive(p); err != nil {
			t.Fatal(err)
		}
		send(t, c, []byte("busy"))
		want(t, c, "busy")
		clients = append(clients, c)
	}
	c, p := d.accept(0)
	if err := v.Arrive(p); !errors.Is(err, serve.ErrFull) {
		t.Fatalf("Arrive at a full site: %v", err)
	}
	_ = clients[0].Close()
	eventually(t, "there is no room, and a connection has ended", func() bool { return v.Arrive(p) == nil })
	send(t, c, []byte("room"))
	want(t, c, "room")
	_ = c.Close()
	for _, c := range clients[1:] {
		_ = c.Close()
	}
	v.stop()
}
