package stream

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/upstream"
)

// deafen has a connection's machine vanish, as far as its peer can see.
func deafen(t testing.TB, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = errors.Join(err, raw.Control(func(fd uintptr) { err = sys.Deafen(int(fd)) }))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// chatter sends a little again and again until the connection breaks, and discards what comes.
func chatter(c net.Conn) {
	go io.Copy(io.Discard, c)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := io.WriteString(c, "still here"); err != nil {
			return
		}
	}
}

// TestVanished ends a session of which one side is gone without a word, although the other one talks on and the kernel
// takes what it says.
func TestVanished(t *testing.T) {
	const idle = time.Second
	run := func(t *testing.T, o rigOptions, clientGoes bool) {
		t.Parallel() // most of it is waiting
		told := make(records, 1)
		servers := make(chan net.Conn, 1)
		done := make(chan struct{})
		defer close(done)
		r, p := proxyAt(t, o, TCPOptions{Idle: idle, Records: told},
			server(t, "tcp", func(c net.Conn) {
				servers <- c
				<-done
			}))
		client := r.dial()
		send(t, client, "hello")
		from := await(t, servers, "the server's connection")
		want(t, from, "hello")
		gone, stays, wanted := from, client, errServerTakes
		if clientGoes {
			gone, stays, wanted = client, from, errClientTakes
		}
		deafen(t, gone)
		send(t, stays, "are you there?")
		go chatter(stays)
		is := await(t, told, "the record")
		if is.Cause != Idle || !errors.Is(is.Err, wanted) || is.Duration < idle {
			t.Errorf("told %+v", is)
		}
		if n := p.Counts(); n[IdleEnds] != 1 || n[Open] != 0 {
			t.Errorf("counted %v", n)
		}
	}
	both := func(t *testing.T, o rigOptions) {
		t.Run("client", func(t *testing.T) { run(t, o, true) })
		t.Run("server", func(t *testing.T) { run(t, o, false) })
	}
	overDrivers(t, func(t *testing.T, f driver.Factory) { both(t, rigOptions{factory: f}) })
	t.Run("uring, direct", func(t *testing.T) {
		if s := uring.Factory.Probe(); !s.OK {
			t.Skipf("the driver does not work here: %s; %s", s.Why, s.Fix)
		}
		both(t, rigOptions{factory: uring.Factory, direct: true})
	})
}

// TestOneSided lets a session live in which one side only listens, for as long as its machine acknowledges.
func TestOneSided(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			r, p := proxy(t, epoll.Factory, TCPOptions{Idle: idle}, server(t, network, func(c net.Conn) {
				io.Copy(io.Discard, c)
			}))
			c := r.dial()
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for began := time.Now(); time.Since(began) < 2*idle; <-tick.C {
				send(t, c, "hello")
			}
			if n := p.Counts(); n[IdleEnds] != 0 || n[Open] != 1 {
				t.Errorf("counted %v", n)
			}
		})
	}
}

// TestSlowEnd gives a client that is done and slow all that is queued for it, in whatever time that takes.
func TestSlowEnd(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		t.Parallel() // most of it is waiting
		const size, piece, pause = 900 << 10, 16 << 10, 25 * time.Millisecond
		told := make(records, 1)
		p, err := NewTCP(TCPOptions{
			PipeBytes: -1, BufferBytes: size, Records: told,
			Group: group(t, upstream.Options{}, server(t, "tcp", func(c net.Conn) {
				io.Copy(io.Discard, c)
				sendStream(c, size)
			})),
		})
		if err != nil {
			t.Fatal(err)
		}
		h := p.Handler().(*near)
		h.endTime = 40 * pause
		r := serve(t, rigOptions{factory: f, sendBuffer: 4 << 10, handler: func() conn.Handler { return h }})
		c := r.dial()
		c.(*net.TCPConn).SetReadBuffer(8 * piece)
		c.(*net.TCPConn).CloseWrite()
		if err := wantStream(slowly{c, time.NewTicker(pause)}, size, piece); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, c)
		if is := await(t, told, "the record"); is.Cause != ClientEnded || is.Err != nil || is.Duration < h.endTime {
			t.Errorf("told %+v", is)
		}
	})
}

// slowly reads from a connection, once a tick.
type slowly struct {
	net.Conn
	tick *time.Ticker
}

func (s slowly) Read(p []byte) (int, error) {
	<-s.tick.C
	return s.Conn.Read(p)
}
