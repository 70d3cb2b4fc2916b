package stream

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/upstream"
)

// records collects what is told about sessions.
type records chan Record

func (r records) Log(of *Record) { r <- *of }

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func TestEcho(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		told := make(records, 1)
		server := server(t, "tcp", echo)
		r, p := proxy(t, f, TCPOptions{Records: told}, server)
		c := r.dial()
		for range 3 {
			send(t, c, "hello")
			want(t, c, "hello")
		}
		if n := p.Counts(); n[Sessions] != 1 || n[Open] != 1 {
			t.Errorf("counted %v", n)
		}
		from := c.LocalAddr().String()
		c.Close()
		is := await(t, told, "the record")
		if is.Client.String() != from || is.Upstream != server || is.Received != 15 || is.Sent != 15 ||
			is.UpstreamReceived != 15 || is.UpstreamSent != 15 || is.Cause != ClientEnded || is.Err != nil ||
			is.Connection == 0 || is.Wall == 0 || is.Duration <= 0 || is.Connect <= 0 || is.Connect > is.Duration {
			t.Errorf("told %+v", is)
		}
		eventually(t, "the session is over", func() bool { return p.Counts()[Open] == 0 })
	})
}

// TestUnix passes on between sockets of both kinds.
func TestUnix(t *testing.T) {
	for _, test := range []struct{ name, listen, server string }{
		{"tcp to unix", "", "unix"},
		{"unix to tcp", "unix:" + t.TempDir() + "/in", "tcp"},
		{"unix to unix", "unix:" + t.TempDir() + "/in", "unix"},
		{"abstract to unix", "unix:@stream-test-" + t.Name(), "unix"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, _ := proxyAt(t, rigOptions{address: test.listen}, TCPOptions{Send: HeaderV2}, server(t, test.server, echo))
			c := r.dial()
			head := make([]byte, 16)
			if _, err := io.ReadFull(c, head); err != nil || !bytes.HasPrefix(head, []byte("\r\n\r\n\x00\r\nQUIT\n")) {
				t.Fatalf("%q, %v", head, err)
			}
			if _, err := io.CopyN(io.Discard, c, int64(head[15])); err != nil {
				t.Fatal(err)
			}
			send(t, c, "hello")
			want(t, c, "hello")
			c.(interface{ CloseWrite() error }).CloseWrite()
			wantEnd(t, c)
		})
	}
}

// TestHalfClose ends one direction and uses the other.
func TestHalfClose(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		t.Run("client first", func(t *testing.T) {
			told := make(records, 1)
			r, _ := proxy(t, f, TCPOptions{Records: told}, server(t, "tcp", func(c net.Conn) {
				all, err := io.ReadAll(c)
				if err == nil {
					io.WriteString(c, "got "+string(all))
				}
			}))
			c := r.dial()
			send(t, c, "everything")
			c.(*net.TCPConn).CloseWrite()
			want(t, c, "got everything")
			wantEnd(t, c)
			if is := await(t, told, "the record"); is.Cause != ClientEnded || is.Err != nil {
				t.Errorf("told %+v", is)
			}
		})
		t.Run("server first", func(t *testing.T) {
			told := make(records, 1)
			got := make(chan string, 1)
			r, _ := proxy(t, f, TCPOptions{Records: told}, server(t, "tcp", func(c net.Conn) {
				io.WriteString(c, "hello and goodbye")
				c.(*net.TCPConn).CloseWrite()
				all, _ := io.ReadAll(c)
				got <- string(all)
			}))
			c := r.dial()
			want(t, c, "hello and goodbye")
			wantEnd(t, c)
			send(t, c, "thanks")
			c.Close()
			if s := await(t, got, "the answer"); s != "thanks" {
				t.Errorf("the server got %q", s)
			}
			if is := await(t, told, "the record"); is.Cause != UpstreamEnded || is.Err != nil {
				t.Errorf("told %+v", is)
			}
		})
		t.Run("together", func(t *testing.T) {
			told := make(records, 1)
			r, _ := proxy(t, f, TCPOptions{Records: told, EndTogether: true}, server(t, "tcp", func(c net.Conn) {
				io.WriteString(c, "goodbye")
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
			}))
			c := r.dial()
			want(t, c, "goodbye")
			wantEnd(t, c)
			c.Close()
			if is := await(t, told, "the record"); is.Cause != UpstreamEnded {
				t.Errorf("told %+v", is)
			}
		})
	})
}

// TestReset passes resets on, both ways, behind the bytes that came before.
func TestReset(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		t.Run("by the client", func(t *testing.T) {
			told := make(records, 1)
			failed := make(chan error, 1)
			r, p := proxy(t, f, TCPOptions{Records: told}, server(t, "tcp", func(c net.Conn) {
				io.WriteString(c, "hello")
				_, err := io.Copy(io.Discard, c)
				failed <- err
			}))
			c := r.dial()
			want(t, c, "hello")
			reset(c)
			if err := await(t, failed, "the server's end"); !isReset(err) {
				t.Errorf("the server saw %v", err)
			}
			if is := await(t, told, "the record"); is.Cause != ClientFailed || !errors.Is(is.Err, syscall.ECONNRESET) {
				t.Errorf("told %+v", is)
			}
			if p.Counts()[ClientBreaks] != 1 {
				t.Errorf("counted %v", p.Counts())
			}
		})
		t.Run("by the server", func(t *testing.T) {
			told := make(records, 1)
			r, p := proxy(t, f, TCPOptions{Records: told}, server(t, "tcp", func(c net.Conn) {
				io.ReadFull(c, make([]byte, 1))
				io.WriteString(c, "last words")
				reset(c)
			}))
			c := r.dial()
			send(t, c, "x")
			want(t, c, "last words")
			wantReset(t, c)
			if is := await(t, told, "the record"); is.Cause != UpstreamFailed || !errors.Is(is.Err, syscall.ECONNRESET) {
				t.Errorf("told %+v", is)
			}
			if p.Counts()[ServerBreaks] != 1 {
				t.Errorf("counted %v", p.Counts())
			}
		})
	})
}

// TestBulk sends much both ways at the same time.
func TestBulk(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		size := int64(8 << 20)
		if f.Name == uring.Factory.Name || f.Name == epoll.Factory.Name {
			size = 64 << 20
		}
		for _, pipe := range []int{0, -1} {
			failed := make(chan error, 3)
			r, p := proxy(t, f, TCPOptions{PipeBytes: pipe}, server(t, "tcp", func(c net.Conn) {
				go func() { failed <- sendStream(c, size) }()
				failed <- wantStream(c, size, 64<<10)
				io.Copy(io.Discard, c)
			}))
			c := r.dial()
			go func() { failed <- sendStream(c, size) }()
			if err := wantStream(c, size, 64<<10); err != nil {
				t.Fatalf("the client: %v", err)
			}
			for range 3 {
				if err := await(t, failed, "a direction"); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			eventually(t, "the session ends", func() bool { return p.Counts()[Open] == 0 })
			if n := p.Counts(); n[Pipes] == 0 != (pipe < 0) {
				t.Errorf("PipeBytes %d: counted %v", pipe, n)
			}
		}
	})
}

// TestSlowReader does not hold more than it may for a client that does not read.
func TestSlowReader(t *testing.T) {
	const size = 64 << 20
	r, _ := proxyAt(t, rigOptions{blocks: 64}, TCPOptions{BufferBytes: 128 << 10, PipeBytes: -1},
		server(t, "tcp", func(c net.Conn) { sendStream(c, size) }))
	c := r.dial()
	most := 0
	reads := 0
	watched := reader(func(p []byte) (int, error) {
		if reads++; reads%256 == 0 {
			r.do(func() { most = max(most, r.pools[0].Lent()) })
		}
		return c.Read(p)
	})
	if err := wantStream(watched, size, 8<<10); err != nil {
		t.Fatal(err)
	}
	if most == 0 || most > 26 { // 8 blocks of output and one more, and 16 that a turn may receive
		t.Errorf("it held %d blocks of 16 KiB", most)
	}
}

// reader is a function that is an io.Reader.
type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// TestUnreachable answers with a reset, and says why.
func TestUnreachable(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		nobody := l.Addr().String()
		l.Close()
		told := make(records, 1)
		var log journal
		r, p := proxy(t, f, TCPOptions{Name: "front", Records: told, Log: log.logger()}, nobody)
		c, err := r.tryDial()
		if err == nil {
			wantReset(t, c)
		} else if !isReset(err) {
			t.Fatal(err)
		}
		is := await(t, told, "the record")
		if is.Cause != NotConnected || !errors.Is(is.Err, syscall.ECONNREFUSED) || is.Upstream != "" {
			t.Errorf("told %+v", is)
		}
		if n := p.Counts(); n[Unreached] != 1 || n[Open] != 0 {
			t.Errorf("counted %v", n)
		}
		if s := log.String(); !strings.Contains(s, "listener=front") || !strings.Contains(s, nobody) ||
			!strings.Contains(s, "connection refused") {
			t.Errorf("logged %q", s)
		}
	})
}

// TestNextServer reaches the second server when the first one does not answer.
func TestNextServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	r, _ := proxy(t, epoll.Factory, TCPOptions{}, nobody, server(t, "tcp", echo))
	for range 4 {
		c := r.dial()
		send(t, c, "hello")
		want(t, c, "hello")
	}
}

// TestSameServer is the story of the forgotten flow: a client that comes back after its session was ended for silence
// reaches the server that knows it.
func TestSameServer(t *testing.T) {
	var servers []string
	for i := range 8 {
		servers = append(servers, server(t, "tcp", func(c net.Conn) {
			io.WriteString(c, string(rune('a'+i)))
			io.Copy(io.Discard, c)
		}))
	}
	const clients = 16
	told := make(records, clients)
	r, _ := proxy(t, epoll.Factory, TCPOptions{
		Idle: time.Second, Records: told, // within which a slow machine has connected both sides
		Group: group(t, upstream.Options{Policy: balance.Maglev{}}, servers...),
	})
	reached, first := map[byte]bool{}, [clients]byte{}
	for visit := range 3 {
		var open []net.Conn
		for client := range clients {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(client))}, Timeout: patience}
			c, err := d.Dial("tcp", r.spec.Address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var name [1]byte
			if _, err := io.ReadFull(c, name[:]); err != nil {
				t.Fatal(err)
			}
			if visit == 0 {
				first[client] = name[0]
			} else if name[0] != first[client] {
				t.Errorf("client %d came to server %c, then to %c", client, first[client], name[0])
			}
			reached[name[0]] = true
			open = append(open, c)
		}
		for _, c := range open {
			wantEnd(t, c) // it was silent for too long
			c.Close()
		}
		of := map[netip.Addr]bool{}
		for range clients {
			is := await(t, told, "the record")
			if is.Cause != Idle {
				t.Fatalf("told %+v", is)
			}
			of[is.Client.Addr()] = true
		}
		if len(of) != clients {
			t.Errorf("the records are of %v", of)
		}
	}
	if len(reached) < 3 {
		t.Errorf("16 clients came to %d of 8 servers", len(reached))
	}
}
