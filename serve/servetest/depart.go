package servetest

import (
	"errors"
	"net"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/serve"
)

// departIdle has idle connections leave for another site, and come back.
func departIdle(t *testing.T, s Suite) {
	closed := make(chan error, 1000)
	two := openSites(t, s, nil, func(v *server) conn.Handler { return counting(v, closed) })
	if two == nil {
		return
	}
	clients := make([]net.Conn, 50)
	for i := range clients {
		clients[i] = two.all[0].dial()
		send(t, clients[i], []byte("one\n"))
		want(t, clients[i], "1 one\n")
	}
	for round, line := range []string{"2 two\n", "3 three\n"} {
		stop := two.depart(round)
		for range clients {
			p := await(t, two.moved, "a connection that leaves")
			if p.In == 0 || p.Out == 0 || !p.Idle || p.Listener != 0 {
				t.Errorf("it left as %+v", p)
			}
			if why := await(t, closed, "Closed"); !errors.Is(why, conn.ErrMoved) {
				t.Errorf("where it left it was closed for %v", why)
			}
		}
		for _, c := range clients {
			send(t, c, []byte(line[2:]))
			want(t, c, line)
		}
		stop()
	}
	for _, c := range clients {
		_ = c.Close()
		if why := await(t, closed, "Closed"); why != nil {
			t.Errorf("a connection that ended was closed for %v", why)
		}
	}
	two.stop()
}

// departHalf has connections leave with a part of a line, and in the middle of an exchange: then when that is over.
func departHalf(t *testing.T, s Suite) {
	two := openSites(t, s, nil, func(v *server) conn.Handler { return counting(v, nil) })
	if two == nil {
		return
	}
	half, busy, fresh := two.all[0].dial(), two.all[0].dial(), two.all[0].dial()
	for _, c := range []net.Conn{half, busy, fresh} {
		send(t, c, []byte("one\n"))
		want(t, c, "1 one\n")
	}
	send(t, half, []byte("two\nthr"))
	want(t, half, "2 two\n")
	send(t, busy, []byte("two\nhold\n"))
	want(t, busy, "2 two\n")
	stop := two.depart(0)
	unread := ""
	for range 2 {
		unread += string(await(t, two.moved, "a connection that leaves").Unread)
	}
	if unread != "thr" && unread != "" { // the kernel may have it yet
		t.Errorf("%q went with them", unread)
	}
	send(t, half, []byte("ee\n"))
	want(t, half, "3 three\n")
	send(t, busy, []byte("go\n"))
	want(t, busy, "3 go\n")
	await(t, two.moved, "the connection that was busy")
	send(t, busy, []byte("more\n"))
	want(t, busy, "4 more\n")
	stop()
	for _, c := range []net.Conn{half, busy, fresh} {
		_ = c.Close()
	}
	two.stop()
}

// departInVain has connections leave for a site that has no room: they go on where they were.
func departInVain(t *testing.T, s Suite) {
	two := openSites(t, s, func(i int, site *serve.Site) {
		if i == 1 {
			site.Limits.Connections, site.Limits.Loops = 2, 1 // full with two, however the kernel spreads
		}
	}, func(v *server) conn.Handler { return counting(v, nil) })
	if two == nil {
		return
	}
	var clients []net.Conn
	for i := range 8 {
		c := two.all[min(i/2, 1)^1].dial()
		line := "hold\n"
		if i >= 2 {
			line = "one\n"
		}
		send(t, c, []byte("zero\n"+line))
		want(t, c, "1 zero\n")
		if i >= 2 {
			want(t, c, "2 one\n")
		}
		clients = append(clients, c)
	}
	stop := two.depart(0)
	for range clients[2:] {
		if err := await(t, two.refused, "a refusal"); !errors.Is(err, serve.ErrFull) {
			t.Errorf("refused for %v", err)
		}
	}
	for _, c := range clients[2:] {
		send(t, c, []byte("two\n"))
		want(t, c, "3 two\n")
	}
	if len(two.moved)+len(two.refused) > 0 {
		t.Error("what went back has left again")
	}
	stop()
	for _, c := range clients {
		_ = c.Close()
	}
	two.stop()
}
