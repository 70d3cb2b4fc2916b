package stream

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/proto/proxyprotocol"
	"github.com/myriad-server/myriad/upstream"
)

// TestIdle ends silent sessions, and no others.
func TestIdle(t *testing.T) {
	told := make(records, 2)
	r, p := proxy(t, epoll.Factory, TCPOptions{Idle: idle, Records: told}, server(t, "tcp", echo))
	began := time.Now() // before the session does
	silent, busy := r.dial(), r.dial()
	tick := time.NewTicker(idle / 50)
	defer tick.Stop()
	ended := make(chan time.Duration, 1)
	go func() {
		if _, err := silent.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			ended <- time.Since(began)
		}
		silent.Close()
	}()
	for time.Since(began) < 2*idle {
		<-tick.C
		send(t, busy, "x")
		want(t, busy, "x")
	}
	if d := await(t, ended, "the silent client's end"); d < idle {
		t.Errorf("it ended after %v", d)
	}
	if is := await(t, told, "the record"); is.Cause != Idle {
		t.Errorf("told %+v", is)
	}
	if n := p.Counts(); n[IdleEnds] != 1 || n[Open] != 1 {
		t.Errorf("counted %v", n)
	}
}

// idle is a limit that a test can wait for, and within which a slow machine does something as well.
const idle = 2 * time.Second

func TestLifetime(t *testing.T) {
	told := make(records, 1)
	r, p := proxy(t, epoll.Factory, TCPOptions{Lifetime: 100 * time.Millisecond, Records: told}, server(t, "tcp", echo))
	began := time.Now() // before the session does
	c := r.dial()
	for {
		if _, err := io.WriteString(c, "x"); err != nil {
			break
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			if d := time.Since(began); d < 100*time.Millisecond {
				t.Errorf("it ended after %v", d)
			}
			break
		}
	}
	c.Close()
	if is := await(t, told, "the record"); is.Cause != TooLong {
		t.Errorf("told %+v", is)
	}
	if n := p.Counts(); n[AgeEnds] != 1 {
		t.Errorf("counted %v", n)
	}
}

// TestPerClient counts over loops, and counts out what has ended.
func TestPerClient(t *testing.T) {
	var log journal
	told := make(records, 64)
	r, p := proxyAt(t, rigOptions{loops: 2}, TCPOptions{PerClient: 5, Log: log.logger(), Records: told},
		server(t, "tcp", echo))
	var open []net.Conn
	for range 5 {
		c := r.dial()
		send(t, c, "hello")
		want(t, c, "hello")
		open = append(open, c)
	}
	for range 3 {
		if c, err := r.tryDial(); err == nil {
			wantReset(t, c)
		} else if !isReset(err) {
			t.Fatal(err)
		}
		if is := await(t, told, "the record"); is.Cause != TooMany {
			t.Errorf("told %+v", is)
		}
	}
	if n := p.Counts(); n[Refused] != 3 || n[Open] != 5 || n[Sessions] != 8 {
		t.Errorf("counted %v", n)
	}
	if s := log.String(); !strings.Contains(s, "as many sessions as it may") || strings.Count(s, "\n") > 3 {
		t.Errorf("logged %q", s)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}, Timeout: patience}
	c, err := other.Dial("tcp", r.spec.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(t, c, "another client")
	want(t, c, "another client")
	open[0].Close()
	await(t, told, "the record")
	again := r.dial()
	send(t, again, "hello")
	want(t, again, "hello")
}

func TestClients(t *testing.T) {
	of := clients{most: 2}
	enter := func(a string, wanted bool) {
		t.Helper()
		if of.enter(netip.MustParseAddr(a)) != wanted {
			t.Errorf("%s may enter: %v", a, !wanted)
		}
	}
	enter("192.0.2.1", true)
	enter("::ffff:192.0.2.1", true)
	enter("192.0.2.1", false)
	enter("192.0.2.2", true)
	enter("2001:db8::1", true)
	enter("2001:db8::2%eth0", true)
	enter("2001:db8:0:0:ffff::3", false)
	enter("2001:db8:0:1::1", true)
	of.leave(netip.MustParseAddr("2001:db8::5"))
	enter("2001:db8::1", true)
	for range 2 {
		of.leave(netip.MustParseAddr("192.0.2.1"))
	}
	for i := range of.shards {
		for a, n := range of.shards[i].count {
			if n <= 0 || a == netip.MustParseAddr("192.0.2.1") {
				t.Errorf("%v is counted %d times", a, n)
			}
		}
	}
}

// TestEarlyBytes keeps what a client says before there is a server, also its end, and hears it leave.
func TestEarlyBytes(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		told := make(records, 3)
		o := upstream.Options{Queue: upstream.QueueOptions{Timeout: patience}}
		o.Endpoints = []upstream.EndpointOptions{{Address: server(t, "tcp", func(c net.Conn) {
			all, _ := io.ReadAll(c)
			io.WriteString(c, "got "+string(all))
		}), Connections: 1}}
		r, p := proxy(t, f, TCPOptions{Records: told, Group: group(t, o)})
		first := r.dial()
		send(t, first, "first")
		eventually(t, "the first has the server", func() bool { return r.meters[0].Snapshot()[meter.BytesOut] == 5 })
		second, third := r.dial(), r.dial()
		send(t, second, "sec")
		send(t, second, "ond")
		second.(*net.TCPConn).CloseWrite()
		eventually(t, "all are there", func() bool { return p.Counts()[Open] == 3 })
		reset(third)
		if is := await(t, told, "the third's record"); is.Cause != ClientFailed || is.Upstream != "" {
			t.Errorf("told %+v", is)
		}
		first.(*net.TCPConn).CloseWrite()
		want(t, first, "got first")
		want(t, second, "got second")
		wantEnd(t, second)
	})
}

// TestHeaderOut tells the server who the client is.
func TestHeaderOut(t *testing.T) {
	for _, version := range []Header{HeaderV1, HeaderV2} {
		got := make(chan string, 1)
		r, _ := proxy(t, epoll.Factory, TCPOptions{Send: version}, server(t, "tcp", func(c net.Conn) {
			all, _ := io.ReadAll(c)
			got <- string(all)
		}))
		c := r.dial()
		send(t, c, "hello")
		c.(*net.TCPConn).CloseWrite()
		in := await(t, got, "what the server got")
		n, h, err := proxyprotocol.Parse([]byte(in))
		if err != nil || in[n:] != "hello" || h.Version != int(version) || h.Transport != proxyprotocol.TCP4 ||
			h.Source.String() != c.LocalAddr().String() || h.Destination.String() != c.RemoteAddr().String() {
			t.Errorf("the server got %q, which is %+v, %v", in, h, err)
		}
	}
}

// TestHeaderOutUnix tells a server at a Unix socket that nothing is known of a client at another.
func TestHeaderOutUnix(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		for version, head := range map[Header]string{
			HeaderV1: "PROXY UNKNOWN\r\n",
			HeaderV2: "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00",
		} {
			got := make(chan string, 1)
			at := rigOptions{factory: f, address: "unix:" + filepath.Join(t.TempDir(), "front")}
			r, _ := proxyAt(t, at, TCPOptions{Send: version, Accept: AnyHeader}, server(t, "unix", func(c net.Conn) {
				all, _ := io.ReadAll(c)
				got <- string(all)
			}))
			c := r.dial()
			send(t, c, head+"hello")
			c.(*net.UnixConn).CloseWrite()
			if in := await(t, got, "what the server got"); in != head+"hello" {
				t.Errorf("version %d: the server got %q", version, in)
			}
		}
	})
}

// TestHeaderIn believes the client, and passes on what it believes.
func TestHeaderIn(t *testing.T) {
	const v1 = "PROXY TCP4 192.0.2.7 192.0.2.8 5100 443\r\n"
	v2 := string(proxyprotocol.AppendV2(nil, &proxyprotocol.Header{
		Transport: proxyprotocol.TCP6, Source: netip.MustParseAddrPort("[2001:db8::7]:5100"),
		Destination: netip.MustParseAddrPort("[2001:db8::8]:443"),
	}, true))
	local := string(proxyprotocol.AppendV2(nil, &proxyprotocol.Header{Local: true}, false))
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, test := range []struct {
		name    string
		accept  Header
		trusted []netip.Prefix
		in      string
		client  string // "own" is the connection's own address; empty: refused
		to      string
		rest    string
	}{
		{"v1", HeaderV1, nil, v1 + "hello", "192.0.2.7:5100", "192.0.2.8:443", "hello"},
		{"v1, any", AnyHeader, nil, v1 + "hello", "192.0.2.7:5100", "192.0.2.8:443", "hello"},
		{"v2", HeaderV2, nil, v2 + "hello", "[2001:db8::7]:5100", "[2001:db8::8]:443", "hello"},
		{"v2, any", AnyHeader, nil, v2 + "hello", "[2001:db8::7]:5100", "[2001:db8::8]:443", "hello"},
		{"unknown", HeaderV1, nil, "PROXY UNKNOWN\r\nhello", "own", "own", "hello"},
		{"local", HeaderV2, nil, local + "hello", "own", "own", "hello"},
		{"trusted", HeaderV1, here, v1, "192.0.2.7:5100", "192.0.2.8:443", ""},
		{"not trusted", HeaderV1, elsewhere, v1 + "hello", "own", "own", v1 + "hello"},
		{"none", HeaderV1, nil, "hello", "", "", ""},
		{"v1 instead of v2", HeaderV2, nil, v1, "", "", ""},
		{"v2 instead of v1", HeaderV1, nil, v2, "", "", ""},
		{"malformed", AnyHeader, nil, "PROXY TCP4 192.0.2.7\r\n", "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := make(chan string, 1)
			told := make(records, 1)
			r, p := proxy(t, epoll.Factory, TCPOptions{
				Accept: test.accept, Trusted: test.trusted, Send: HeaderV1, Records: told,
			}, server(t, "tcp", func(c net.Conn) {
				all, _ := io.ReadAll(c)
				got <- string(all)
			}))
			c := r.dial()
			send(t, c, test.in[:3])
			if _, err := io.WriteString(c, test.in[3:]); test.client == "" {
				wantResetAfter(t, c, err)
				if is := await(t, told, "the record"); is.Cause != BadHeader || is.Err == nil || is.Upstream != "" {
					t.Errorf("told %+v", is)
				}
				if p.Counts()[BadHeaders] != 1 {
					t.Errorf("counted %v", p.Counts())
				}
				return
			}
			c.(*net.TCPConn).CloseWrite()
			client, to := test.client, test.to
			if client == "own" {
				client, to = c.LocalAddr().String(), c.RemoteAddr().String()
			}
			in := await(t, got, "what the server got")
			n, h, err := proxyprotocol.Parse([]byte(in))
			if err != nil || in[n:] != test.rest || h.Source.String() != client || h.Destination.String() != to {
				t.Errorf("the server got %q, which is %+v, %v", in, h, err)
			}
			if is := await(t, told, "the record"); is.Client.String() != client {
				t.Errorf("told %+v", is)
			}
		})
	}
}

// TestHeaderTime gives up a client that does not say who it is.
func TestHeaderTime(t *testing.T) {
	told := make(records, 2)
	r, p := proxy(t, epoll.Factory, TCPOptions{
		Accept: AnyHeader, HeaderTime: 50 * time.Millisecond, Records: told,
	}, server(t, "tcp", echo))
	c := r.dial()
	send(t, c, "PROXY TCP4")
	wantReset(t, c)
	if is := await(t, told, "the record"); is.Cause != BadHeader || !errors.Is(is.Err, errHeaderTime) {
		t.Errorf("told %+v", is)
	}
	r.dial().Close() // a look whether the port is open is nothing to report
	if is := await(t, told, "the record"); is.Cause != ClientEnded || is.Err != nil {
		t.Errorf("told %+v", is)
	}
	if n := p.Counts(); n[BadHeaders] != 1 || n[Open] != 0 {
		t.Errorf("counted %v", n)
	}
}

// TestStop lets sessions go on, and ends them when the time for that is over.
func TestStop(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		told := make(records, 1000)
		r, p := proxy(t, f, TCPOptions{Records: told}, server(t, "tcp", echo))
		stays, goes := r.dial(), r.dial()
		for _, c := range []net.Conn{stays, goes} {
			send(t, c, "before")
			want(t, c, "before")
		}
		r.loops[0].Stop(false)
		eventually(t, "nothing is accepted any more", func() bool {
			c, err := r.tryDial()
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		send(t, goes, "after")
		want(t, goes, "after")
		goes.Close()
		next := func() Record { // that is not of one that only looked
			is := await(t, told, "a record")
			for is.Received == 0 {
				is = await(t, told, "a record")
			}
			return is
		}
		if is := next(); is.Cause != ClientEnded || is.Received != 11 {
			t.Errorf("told %+v", is)
		}
		r.stop()
		wantReset(t, stays)
		if is := next(); is.Cause != Stopped || is.Received != 6 {
			t.Errorf("told %+v", is)
		}
		if n := p.Counts(); n[Open] != 0 || n[ClientBreaks]+n[ServerBreaks] != 0 {
			t.Errorf("counted %v", n)
		}
	})
}

// TestServersReturn refuses clients as long as no server is there, and no longer.
func TestServersReturn(t *testing.T) {
	told := make(records, 64)
	var servers []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.22:0") // where no client takes the port meanwhile
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, l.Addr().String())
		l.Close()
	}
	r, _ := proxy(t, epoll.Factory, TCPOptions{Records: told}, servers...)
	for range 3 {
		c, err := r.tryDial()
		if err == nil {
			wantReset(t, c)
		} else if !isReset(err) {
			t.Fatal(err)
		}
		if is := await(t, told, "the record"); is.Cause != NotConnected {
			t.Errorf("told %+v", is)
		}
	}
	serverAt(t, "tcp", servers[1], echo)
	eventually(t, "a server is reached", func() bool {
		c, err := r.tryDial()
		if err != nil {
			return false
		}
		defer c.Close()
		_, _ = io.WriteString(c, "hello") // it may have been refused already, and what is read says so
		got := make([]byte, 5)
		_, err = io.ReadFull(c, got)
		return err == nil && string(got) == "hello"
	})
}
