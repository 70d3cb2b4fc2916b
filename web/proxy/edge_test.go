package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/webtest"
)

// TestDenial is about what the agent says when there is no link.
func TestDenial(t *testing.T) {
	r := newRig(t)
	r.send(get)
	e := upstream.LinkOf(r.upstream(0)).Endpoint
	dial := func(why error) error { return &upstream.DialError{Endpoint: e, Err: why} }
	name := func(why error) error { return &upstream.NameError{Name: "app:80", Err: why} }
	for err, want := range map[error]string{
		upstream.ErrNoEndpoint:                  "no_endpoint",
		name(errors.New("odd")):                 "dns_error",
		name(&net.DNSError{IsNotFound: true}):   "dns_error",
		name(&net.DNSError{IsTimeout: true}):    "dns_timeout",
		name(context.DeadlineExceeded):          "dns_timeout",
		upstream.ErrQueueFull:                   "queue_full",
		upstream.ErrQueueTimeout:                "queue_timeout",
		upstream.ErrNoPorts:                     "no_ports",
		upstream.ErrClosed:                      "closing",
		errors.New("odd"):                       "connect_failed",
		fmt.Errorf("x: %w", upstream.ErrClosed): "closing",
		dial(upstream.ErrConnectTimeout):        "connect_timeout",
		dial(syscall.ETIMEDOUT):                 "connect_timeout",
		dial(syscall.ECONNREFUSED):              "connect_refused",
		dial(syscall.ENOENT):                    "connect_refused",
		dial(syscall.EHOSTUNREACH):              "connect_unreachable",
		dial(syscall.ENETUNREACH):               "connect_unreachable",
		dial(syscall.EADDRNOTAVAIL):             "no_ports",
		dial(syscall.EMFILE):                    "connect_failed",
	} {
		word, address := proxy.DenialOf(err)
		var of *upstream.DialError
		if word != want || (address != "") != errors.As(err, &of) {
			t.Errorf("%v is %s, at %q", err, word, address)
		}
	}
}

// from is a connection from another address.
type from struct {
	*webtest.Conn
	address netip.AddrPort
	id      uint64
}

func (f from) Remote() netip.AddrPort { return f.address }
func (f from) ID() uint64             { return f.id }

// TestClients are clients of all kinds of addresses.
func TestClients(t *testing.T) {
	r := newRig(t, oneEndpoint, with(func(o *proxy.Options) {
		o.Forwarded = proxy.ForwardedBoth
		o.Trusted = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
	}))
	asks := lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 1.1.1.1", "Forwarded: for=1.1.1.1")
	for i, c := range []struct{ address, want string }{
		{"192.0.2.1:1", "X-Forwarded-For: 192.0.2.1|Forwarded: for=192.0.2.1;"},
		{"[::ffff:192.0.2.1]:1", "X-Forwarded-For: 192.0.2.1|Forwarded: for=192.0.2.1;"},
		{"[fe80::1%eth0]:1", "X-Forwarded-For: fe80::1|Forwarded: for=\"[fe80::1]\";"},
		{"[2001:db8::1]:1", "X-Forwarded-For: 1.1.1.1, 2001:db8::1|Forwarded: for=1.1.1.1, for=\"[2001:db8::1]\";"},
		{"", "|Forwarded: for=unknown;"},
	} {
		w := from{Conn: webtest.New(r.handler), id: uint64(100 + i)}
		w.Dials = r.dialer
		if c.address != "" {
			w.address = netip.MustParseAddrPort(c.address)
		}
		r.handler.Received(w, []byte(asks))
		r.turn()
		x, forwarded, _ := cut(c.want)
		want := "GET / HTTP/1.1\r\nHost: a\r\n" + x + "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n" + forwarded +
			"host=\"a\";proto=http\r\nVia: 1.1 myriad\r\n\r\n"
		if got := r.asked(-1); got != want {
			t.Errorf("%q: the upstream got\n%q, not\n%q", c.address, got, want)
		}
	}
}

// TestClientsAtUnixSockets are clients without an address, who are trusted like those of this machine.
func TestClientsAtUnixSockets(t *testing.T) {
	for network, trusted := range map[string]bool{"127.0.0.0/8": true, "10.0.0.0/8": false} {
		r := newRig(t, oneEndpoint, with(func(o *proxy.Options) {
			o.Trusted = []netip.Prefix{netip.MustParsePrefix(network)}
		}))
		w := from{Conn: webtest.New(r.handler), id: 100}
		w.Dials = r.dialer
		r.handler.Received(w, []byte(lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 1.1.1.1")))
		r.turn()
		if got := r.asked(-1); strings.Contains(got, "\r\nX-Forwarded-For: 1.1.1.1\r\n") != trusted {
			t.Errorf("with %s trusted, the upstream got %q", network, got)
		}
	}
}

// cut separates two lines; the first gets its end, if it is one.
func cut(text string) (first, second string, ok bool) {
	for i := range text {
		if text[i] == '|' {
			if first = text[:i]; first != "" {
				first += "\r\n"
			}
			return first, text[i+1:], true
		}
	}
	return "", text, false
}

// TestStarved has no memory for the head of an answer.
func TestStarved(t *testing.T) {
	for name, in := range map[string]string{"an answer": get, "a tunnel": asksUpgrade} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint)
			r.send(in)
			r.client.Starved = true
			if in == get {
				r.answer(hello)
			} else {
				r.answer(upgraded)
			}
			if r.client.State() != conn.Closed || r.upstream(0).State() != conn.Closed {
				t.Errorf("the client is %v, the link %v", r.client.State(), r.upstream(0).State())
			}
			if n := r.proxy.Busy(r.dialer.Number()); n != 0 {
				t.Errorf("%d sessions are left", n)
			}
		})
	}
}

// TestWaiting is requests that wait for a link, and what ends their wait.
func TestWaiting(t *testing.T) {
	t.Run("the whole takes too long", func(t *testing.T) {
		r := newRig(t, plain, timeouts)
		r.dialer.Held = true
		r.send(get)
		r.client.Advance(21 * time.Second) // the dialling goes on
		if status, _, _, err := r.status("GET"); status != 504 || err != nil || r.cause() != "exchange_timeout" {
			t.Errorf("%d, %v, %q", status, err, r.cause())
		}
	})
	queue := func(limit int) option {
		return func(_ *proxy.Options, u *upstream.Options, _ *web.Server) {
			u.Queue = upstream.QueueOptions{Limit: limit, Timeout: time.Second}
			u.Endpoints[0].Connections, u.Endpoints = 1, u.Endpoints[:1]
		}
	}
	for limit, want := range map[int]string{-1: "queue_full", 10: "queue_timeout", 11: ""} {
		t.Run("in the queue: "+want, func(t *testing.T) {
			r := newRig(t, plain, queue(limit))
			r.send(get)
			first := r.client
			r.client = r.connect()
			r.send(get)
			switch limit {
			case 10:
				r.mustWait()
				r.advance(2 * time.Second)
			case 11:
				r.answer(hello) // the first has its answer, and the second the link
				r.answer(hello)
				if len(r.dialer.Conns) != 1 {
					t.Error("there is another link")
				}
			}
			status, _, _, err := r.status("GET")
			if fine := want == ""; err != nil || fine != (status == 200) || !fine && status != 503 || r.cause() != want {
				t.Errorf("%d, %v, %q", status, err, r.cause())
			}
			if limit != 11 {
				r.client = first
				r.answer(hello)
			}
			first.Turn()
			if got := string(first.Sent); got != hello {
				t.Errorf("the first client got %q", got)
			}
		})
	}
}

// TestTunnelStuck is a client that does not take what is left when its tunnel has ended.
func TestTunnelStuck(t *testing.T) {
	r := tunnelled(t, oneEndpoint)
	r.client.Stuck = true
	r.answer("last words")
	r.upstream(0).End()
	r.client.End()
	r.turn()
	if r.client.State() != conn.Draining {
		t.Fatalf("the client is %v", r.client.State())
	}
	r.send("and so on")
	r.client.Advance(31 * time.Second)
	if r.client.State() != conn.Closed || !errors.Is(r.client.Why, conn.ErrTimeout) {
		t.Errorf("the client is %v, %v", r.client.State(), r.client.Why)
	}
}
