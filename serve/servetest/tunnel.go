package servetest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/myriad-server/myriad/conn"
)

// tunnel pipes what it accepts to what it dials, both ways. A pair leaves at any time once it is made.
type tunnel struct {
	conn.Defaults
	target conn.Target
	far    *tunnelFar
	t      *testing.T
}

// tunnelFar is the handler of the dialled side.
type tunnelFar struct{ *tunnel }

// tunnelEnd is what is attached to a side.
type tunnelEnd struct {
	other conn.Conn // nil when it is gone
	made  bool
	ended bool
}

func endOf(c conn.Conn) *tunnelEnd { return c.Attached().(*tunnelEnd) }

func newTunnel(t *testing.T, target conn.Target) conn.Handler {
	h := &tunnel{target: target, t: t}
	h.far = &tunnelFar{h}
	return h
}

func (h *tunnel) Opened(c conn.Conn) {
	c.Pause()
	c.Attach(&tunnelEnd{other: c.Dialer().Dial(&h.target, h.far, &tunnelEnd{other: c})})
}

func (h *tunnelFar) Opened(c conn.Conn) {
	other := endOf(c).other
	if other == nil {
		c.Abort(nil)
		return
	}
	endOf(other).made = true
	if !c.Pipe(other) || !other.Pipe(c) {
		h.t.Error("Pipe is false")
	}
	other.Resume()
}

func (h *tunnel) Received(_ conn.Conn, in []byte) int {
	h.t.Errorf("%d bytes came beside the pipe", len(in))
	return len(in)
}

func (h *tunnel) Ended(c conn.Conn) {
	e := endOf(c)
	if e.ended = true; e.other == nil {
		c.Drain()
		return
	}
	if e.other.CloseWrite(); endOf(e.other).ended {
		e.other.Drain()
		c.Drain()
	}
}

func (h *tunnel) Stopped(conn.Conn) {}

func (h *tunnel) Closed(c conn.Conn, why error) {
	other := endOf(c).other
	if other == nil {
		return
	}
	endOf(other).other = nil
	if why != nil {
		other.Abort(why)
	}
}

// Leaves implements conn.Portable.
func (h *tunnel) Leaves(c conn.Conn) (conn.Conn, bool) {
	e := endOf(c)
	return e.other, e.made && e.other != nil
}

// Pack implements conn.Portable.
func (h *tunnel) Pack(_ conn.Conn, state []byte) ([]byte, bool) {
	return append(state, "tunnel"...), true
}

// Unpack implements conn.Portable.
func (h *tunnel) Unpack(c conn.Conn, state []byte, mate func(h conn.Handler, v any) conn.Conn) error {
	if string(state) != "tunnel" {
		return errors.New("not a tunnel")
	}
	far := mate(h.far, &tunnelEnd{other: c})
	c.Attach(&tunnelEnd{other: far, made: true})
	c.Pipe(far) // not where one has sent its last byte
	far.Pipe(c)
	return nil
}

// departTunnel sends streams through tunnels whose ends go from site to site meanwhile: no byte is lost, none comes
// twice.
func departTunnel(t *testing.T, s Suite) {
	f, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var echoes sync.WaitGroup
	echoes.Go(func() { echoAll(f, &echoes) })
	target := conn.Target{Address: f.Addr().(*net.TCPAddr).AddrPort()}
	two := openSites(t, s, nil, func(*server) conn.Handler { return newTunnel(t, target) })
	if two == nil {
		_ = f.Close()
		return
	}
	const streams, size = 4, 1 << 20
	over := make(chan error, 2*streams)
	moved := make(chan struct{}) // closed when tunnels have left; the second half of each stream waits for it
	for i := range streams {
		c := two.all[0].dial().(*net.TCPConn)
		send(t, c, []byte("hello"))
		want(t, c, "hello") // it is accepted: no other process serves the socket that is closed
		at := int64(i) * size
		go func() {
			piece := make([]byte, 10_000)
			var err error
			for sent := int64(0); sent < size && err == nil; sent += int64(len(piece)) {
				if piece = piece[:min(int64(len(piece)), size-sent)]; sent >= size/2 {
					<-moved
				}
				fill(piece, at+sent)
				_, err = c.Write(piece)
			}
			over <- errors.Join(err, c.CloseWrite())
		}()
		go func() {
			err := wantStream(c, at, size)
			if n, end := c.Read(make([]byte, 1)); err == nil && (n != 0 || !errors.Is(end, io.EOF)) {
				err = errors.Join(errors.New("no end behind it"), end)
			}
			over <- errors.Join(err, c.Close())
		}()
	}
	moves, left := 0, 2*streams
	for round := 0; left > 0; round++ {
		stop := two.depart(round % 2)
		select {
		case <-two.moved:
			if moves++; moves == streams {
				close(moved)
			}
		case err := <-over:
			if left--; err != nil {
				t.Error(err)
			}
		}
		stop()
	}
	_ = f.Close()
	echoes.Wait()
	for len(two.moved) > 0 {
		<-two.moved
	}
	two.stop()
}

// echoAll sends everything back to everybody until the listener is closed.
func echoAll(l net.Listener, group *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		group.Go(func() {
			_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) // without the pipes that would stay open
			_ = c.Close()
		})
	}
}

// departHalfClosed has a tunnel leave on which one side has sent its last byte.
func departHalfClosed(t *testing.T, s Suite) {
	f, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	target := conn.Target{Address: f.Addr().(*net.TCPAddr).AddrPort()}
	two := openSites(t, s, nil, func(*server) conn.Handler { return newTunnel(t, target) })
	if two == nil {
		return
	}
	c := two.all[0].dial().(*net.TCPConn)
	far, err := f.Accept()
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, []byte("question"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(far); err != nil || string(all) != "question" {
		t.Fatalf("%q, %v", all, err)
	}
	for round := range 3 {
		stop := two.depart(round % 2)
		p := await(t, two.moved, "the tunnel")
		if m := p.Mate; !p.Ended || p.Final || !m.Final || m.Ended || m.Listener != -1 {
			t.Errorf("it left as %+v with %+v", p, m)
		}
		stop()
		send(t, far, []byte("answer"))
		want(t, c, "answer")
	}
	_ = far.Close()
	wantEnd(t, c)
	_ = c.Close()
	two.stop()
}
