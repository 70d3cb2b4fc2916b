package proxy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// many has ten endpoints behind a consistent hash.
func many(_ *proxy.Options, u *upstream.Options, _ *web.Server) {
	u.Policy = balance.Maglev{Size: 1009}
	u.Endpoints = nil
	for i := range 10 {
		u.Endpoints = append(u.Endpoints, upstream.EndpointOptions{Address: fmt.Sprintf("127.0.0.1:%d", 9001+i)})
	}
}

// chosen is where a request went.
func (r *rig) chosen(in string) string {
	r.t.Helper()
	r.client = r.connect()
	before := len(r.records)
	r.send(in)
	for _, c := range r.dialer.Conns {
		if len(c.Sent) > 0 {
			c.Sent = nil
			c.Receive([]byte(hello))
			r.turn()
		}
	}
	if len(r.records) != before+1 {
		r.t.Fatalf("%q has no answer", in)
	}
	return r.records[before].Upstream
}

// TestKey is about what chooses the endpoint: the same value always leads to the same, and values spread.
func TestKey(t *testing.T) {
	for _, c := range []struct {
		name  string
		key   proxy.Key
		in    func(value int) string
		alike bool // the value must make no difference
	}{
		{"a path", proxy.Key{Of: proxy.KeyPath}, func(n int) string { return target(fmt.Sprint("/", n)) }, false},
		{"not the query", proxy.Key{Of: proxy.KeyPath}, func(n int) string { return target(fmt.Sprint("/?", n)) }, true},
		{
			"a field",
			proxy.Key{Of: proxy.KeyField, Name: "X-User"},
			func(n int) string { return lines("GET / HTTP/1.1", "Host: a", fmt.Sprint("x-user: ", n)) }, false,
		},
		{
			"a cookie",
			proxy.Key{Of: proxy.KeyCookie, Name: "id"},
			func(n int) string {
				return lines("GET / HTTP/1.1", "Host: a", fmt.Sprint("Cookie: x=1; id=", n, "; y=2"))
			},
			false,
		},
		{
			"no such cookie",
			proxy.Key{Of: proxy.KeyCookie, Name: "id"},
			func(n int) string {
				return lines("GET / HTTP/1.1", "Host: a", fmt.Sprint("Cookie: xid=", n, ";id;idx=1"))
			},
			true,
		},
		{"a client", proxy.Key{Of: proxy.KeyClient}, func(n int) string { return target(fmt.Sprint("/", n)) }, true},
		{"a flow", proxy.Key{Of: proxy.KeyFlow}, func(n int) string { return target(fmt.Sprint("/", n)) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, plain, many, with(func(o *proxy.Options) { o.Key = c.key }))
			places := map[string]bool{}
			for n := range 40 {
				first := r.chosen(c.in(n))
				if again := r.chosen(c.in(n)); again != first {
					t.Fatalf("%d went to %s, then to %s", n, first, again)
				}
				places[first] = true
			}
			if c.alike && len(places) != 1 || !c.alike && len(places) < 6 {
				t.Errorf("40 values went to %d places", len(places))
			}
		})
	}
}

// TestSticky brings a client back to the endpoint that answered it.
func TestSticky(t *testing.T) {
	r := newRig(t, plain, many, func(o *proxy.Options, u *upstream.Options, _ *web.Server) {
		o.Sticky, u.Policy = "route", balance.RoundRobin{}
	})
	first := r.chosen(get)
	_, header, _, err := r.status("GET")
	cookie := header.Get("Set-Cookie")
	value, rest, _ := strings.Cut(cookie, "; ")
	if err != nil || !strings.HasPrefix(value, "route=") || rest != "Path=/; HttpOnly; SameSite=Lax" {
		t.Fatalf("the cookie is %q, %v", cookie, err)
	}
	again := lines("GET / HTTP/1.1", "Host: a", "Cookie: a=b; "+value)
	for range 20 {
		if where := r.chosen(again); where != first {
			t.Fatalf("it went to %s, then to %s", first, where)
		}
		if _, header, _, _ := r.status("GET"); header.Get("Set-Cookie") != "" {
			t.Error("the cookie is set again")
		}
	}
	for _, odd := range []string{"route=", "route=zz", "route=0", "route=11111111111111111", "route"} {
		r.chosen(lines("GET / HTTP/1.1", "Host: a", "Cookie: "+odd))
		if _, header, _, _ := r.status("GET"); header.Get("Set-Cookie") == "" {
			t.Errorf("%q was taken for a cookie of ours", odd)
		}
	}
}

// TestKeepAliveHint passes on how long an endpoint says that it keeps idle connections.
func TestKeepAliveHint(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"timeout=5": 5 * time.Second, "max=100, Timeout=7": 7 * time.Second, "timeout=12x": 12 * time.Second,
		"": 0, "timeout=": 0, "timeout": 0, "timeout=x": 0, "max=100": 0,
	} {
		r := newRig(t, plain, oneEndpoint)
		r.send(get)
		r.answer(lines("HTTP/1.1 200 OK", "Keep-Alive: "+value, "Content-Length: 0"))
		if got := r.group.Snapshot().Endpoints[0].Learned; got != want {
			t.Errorf("%q taught %v", value, got)
		}
		if strings.Contains(r.sent(), "Keep-Alive") {
			t.Error("the client was told what was not for it")
		}
	}
}

// ejects leaves endpoints out that fail.
func ejects(_ *proxy.Options, u *upstream.Options, _ *web.Server) {
	u.Eject = new(upstream.EjectOptions)
}

// TestEjectedBy is about what a client can make an endpoint answer: only what tells of the endpoint counts against it.
func TestEjectedBy(t *testing.T) {
	for status, ejected := range map[string]bool{
		"404 Not Found": false, "501 Not Implemented": false, "505 HTTP Version Not Supported": false,
		"500 Internal Server Error": true, "502 Bad Gateway": true, "503 Service Unavailable": true,
	} {
		r := newRig(t, plain, ejects)
		for range 10 {
			r.send(get)
			for i, c := range r.dialer.Conns {
				if r.asked(i) != "" {
					c.Receive([]byte(strings.Replace(hello, "200 OK", status, 1)))
				}
			}
			r.turn()
		}
		out := 0
		for _, e := range r.group.Snapshot().Endpoints {
			if e.State == "ejected" {
				out++
			}
		}
		if (out > 0) != ejected {
			t.Errorf("%s: %d endpoints are ejected", status, out)
		}
	}
}
