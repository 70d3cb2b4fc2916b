package web_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// relaying answers as somebody else did: with a head of its own making.
func relaying(status int, fields string, length int64, content string) web.Handler {
	return web.HandlerFunc(func(x *web.Exchange) {
		x.Add("X-Route", "r")
		b := x.ReserveHead(len(fields) + 64)
		b = http1.AppendStatus(b, status)
		b = append(b, fields...)
		b = x.Date(b, true)
		x.RelayHead(b, status, length, []byte(content))
		var trailers http1.BodyDecoder
		trailers.StartChunked()
		_, _, _, _ = trailers.Decode([]byte("0\r\nX-T: 1\r\n\r\n"))
		x.EndRelay(&trailers)
	})
}

func TestRelay(t *testing.T) {
	long := "X-Long: " + strings.Repeat("x", 6000) + "\r\n"
	stamp := "Server: test\r\n" + date + "X-Route: r\r\n"
	get, head := "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
	old := "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
	for _, c := range []struct {
		name    string
		in      string
		handler web.Handler
		want    string
		state   conn.State
	}{
		{
			"with a length", get, relaying(200, "X-A: 1\r\n", 5, "hello"),
			"HTTP/1.1 200 OK\r\nX-A: 1\r\n" + stamp + "Content-Length: 5\r\n\r\nhello", conn.Open,
		},
		{
			"more than the length", get, relaying(200, "", 3, "hello"),
			"HTTP/1.1 200 OK\r\n" + stamp + "Content-Length: 3\r\n\r\nhel", conn.Open,
		},
		{
			"without", get, relaying(200, "", -1, "hello"),
			"HTTP/1.1 200 OK\r\n" + stamp + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", conn.Open,
		},
		{
			"a long head", get, relaying(200, long, -1, "hello"),
			"HTTP/1.1 200 OK\r\n" + long + stamp + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
			conn.Open,
		},
		{
			"without, to HTTP/1.0", old, relaying(200, "", -1, "hello"),
			"HTTP/1.1 200 OK\r\n" + stamp + "Connection: close\r\n\r\nhello", conn.Closed,
		},
		{
			"HEAD", head, relaying(200, "", 5, ""),
			"HTTP/1.1 200 OK\r\n" + stamp + "Content-Length: 5\r\n\r\n", conn.Open,
		},
		{
			"304", get, relaying(304, "", 5, ""),
			"HTTP/1.1 304 Not Modified\r\n" + stamp + "Content-Length: 5\r\n\r\n", conn.Open,
		},
		{"204", get, relaying(204, "", 0, "x"), "HTTP/1.1 204 No Content\r\n" + stamp + "\r\n", conn.Open},
		{
			"less than the length", get, relaying(200, "", 9, "hello"), "", conn.Closed,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := webtest.New((&web.Server{Name: "test", Root: c.handler}).Handler())
			w.Receive([]byte(c.in))
			if got := string(w.Sent); got != c.want || w.State() != c.state {
				t.Errorf("%v, %q", w.State(), got)
			}
		})
	}
}

func TestInterim(t *testing.T) {
	handler := web.HandlerFunc(func(x *web.Exchange) {
		waits := x.DeferContinue()
		x.OnBody(func([]byte, bool) {})
		x.Interim(101, nil)
		x.Interim(200, nil)
		if waits {
			x.Interim(103, []byte("Link: </a>\r\n"))
			x.Close()
		}
		x.Status(204)
		x.Reply(nil)
		x.Interim(103, nil)
	})
	put := "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
	expecting := put + "Expect: 100-continue\r\n\r\n"
	done := "HTTP/1.1 204 No Content\r\n" + date
	for in, want := range map[string]string{
		expecting:       "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + done + "Connection: close\r\n\r\n",
		expecting + "x": done + "\r\n",
		put + "\r\n":    done + "\r\n",
	} {
		w := webtest.New((&web.Server{Root: handler}).Handler())
		w.Receive([]byte(in))
		if got := string(w.Sent); got != want {
			t.Errorf("%q got %q", in, got)
		}
	}
}

// TestOnExpired has a deadline of the handler's in place of the server's.
func TestOnExpired(t *testing.T) {
	var x *web.Exchange
	fired := 0
	handler := web.HandlerFunc(func(e *web.Exchange) {
		x = e
		x.OnExpired(int64(time.Hour), func() {
			if fired++; fired == 1 {
				x.OnExpired(int64(2*time.Hour), func() { x.Fail(504) })
			}
		})
	})
	w := webtest.New((&web.Server{Root: handler}).Handler())
	w.Receive([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	w.Advance(59 * time.Minute)
	if fired != 0 || len(w.Sent) != 0 {
		t.Fatalf("too early: %d, %q", fired, w.Sent)
	}
	w.Advance(50 * time.Minute)
	if fired != 1 || len(w.Sent) != 0 {
		t.Fatalf("%d, %q", fired, w.Sent)
	}
	x.OnExpired(int64(110*time.Minute), func() { x.Fail(503) }) // sooner than before
	w.Advance(2 * time.Minute)
	if !strings.HasPrefix(string(w.Sent), "HTTP/1.1 503 ") || w.State() != conn.Open {
		t.Errorf("%v, %q", w.State(), w.Sent)
	}
}

// taker is what a connection is handed to.
type taker struct {
	got    []byte
	events []string
}

func (k *taker) Opened(conn.Conn) { k.events = append(k.events, "opened") }

func (k *taker) Received(c conn.Conn, in []byte) int {
	k.got = append(k.got, in...)
	c.Write(in)
	return len(in)
}
func (k *taker) Ended(conn.Conn)         { k.events = append(k.events, "ended") }
func (k *taker) Flushed(conn.Conn)       {}
func (k *taker) Expired(conn.Conn)       { k.events = append(k.events, "expired") }
func (k *taker) Stopped(conn.Conn)       { k.events = append(k.events, "stopped") }
func (k *taker) Closed(conn.Conn, error) { k.events = append(k.events, "closed") }

func TestSwitch(t *testing.T) {
	var x *web.Exchange
	k := new(taker)
	w := webtest.New((&web.Server{Root: web.HandlerFunc(func(e *web.Exchange) { x = e })}).Handler())
	w.Receive([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\nfirst"))
	b := http1.AppendStatus(x.ReserveHead(64), 101)
	x.Switch(append(b, "Connection: Upgrade\r\n"...), 101, k)
	w.Turn()
	w.Receive([]byte(" second"))
	if got := string(w.Sent); got != "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\nfirst second" {
		t.Errorf("the client got %q", got)
	}
	if w.Timer != 0 || w.Idle {
		t.Error("the connection is still HTTP's")
	}
	w.SetTimer(1)
	w.Advance(time.Second)
	w.Stop()
	w.End()
	w.Drain()
	w.Turn()
	if got := strings.Join(k.events, " "); string(k.got) != "first second" || got != "expired stopped ended closed" {
		t.Errorf("%q, then %s", k.got, got)
	}
}

// TestNote is about exchanges that are logged although nobody was answered.
func TestNote(t *testing.T) {
	for _, noted := range []bool{false, true} {
		var records []web.Record
		s := &web.Server{Log: logging(func(r *web.Record) { records = append(records, *r) })}
		s.Root = web.HandlerFunc(func(x *web.Exchange) {
			if noted {
				x.Note("them", 2, "")
			}
		})
		w := webtest.New(s.Handler())
		w.Receive([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
		w.Abort(errPanic)
		w.Turn()
		if !noted {
			if len(records) != 0 {
				t.Errorf("%+v", records)
			}
			continue
		}
		if len(records) != 1 || records[0].Status != 499 || records[0].Upstream != "them" || records[0].Attempts != 2 ||
			records[0].Cause != "client_gone" {
			t.Errorf("%+v", records)
		}
	}
}

type logging func(r *web.Record)

func (f logging) Log(r *web.Record) { f(r) }

func TestLimitBody(t *testing.T) {
	few, many := strings.Repeat("x", 20), strings.Repeat("x", 21)
	for in, want := range map[string]string{
		"Content-Length: 20\r\n\r\n" + few:                                  "200",
		"Content-Length: 21\r\n\r\n":                                        "413",
		"Content-Length: 31\r\n\r\n":                                        "413",
		"Transfer-Encoding: chunked\r\n\r\n15\r\n" + many + "\r\n0\r\n\r\n": "413",
		"Transfer-Encoding: chunked\r\n\r\n14\r\n" + few + "\r\n0\r\n\r\n":  "200",
	} {
		s := &web.Server{LargestBody: 30, Limits: web.Limits{BodyBytes: 10}}
		s.Root = web.HandlerFunc(func(x *web.Exchange) {
			if x.LimitBody(20) {
				x.OnBody(func(_ []byte, done bool) {
					if done {
						x.Reply(nil)
					}
				})
			}
		})
		w := webtest.New(s.Handler())
		w.Receive([]byte("PUT / HTTP/1.1\r\nHost: a\r\n" + in))
		if got := string(w.Sent); !strings.HasPrefix(got, "HTTP/1.1 "+want+" ") {
			t.Errorf("%q got %q", in, got)
		}
	}
}

// placed is a connection of its own number and address.
type placed struct {
	*webtest.Conn
	id    uint64
	asked int
}

func (p *placed) ID() uint64 { return p.id }

func (p *placed) Remote() netip.AddrPort {
	p.asked++
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(p.id))
}

// TestRemote asks for the addresses of many connections: each is asked for once, unless others took its place.
func TestRemote(t *testing.T) {
	var got netip.AddrPort
	h := (&web.Server{Root: web.HandlerFunc(func(x *web.Exchange) { got = x.Remote(); x.Fail(404) })}).Handler()
	var conns []*placed
	for id := range uint64(1000) {
		conns = append(conns, &placed{Conn: webtest.New(h), id: id})
	}
	for round := range 2 {
		for _, c := range append(conns[:300:300], conns[600:800]...) {
			h.Received(c, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
			if want := c.Remote(); got != want {
				t.Fatalf("connection %d has the address %v, not %v", c.id, got, want)
			}
			c.asked--
			if round == 1 && c.id < 88 && c.asked != 1 {
				t.Fatalf("connection %d was asked %d times", c.id, c.asked)
			}
		}
	}
}
