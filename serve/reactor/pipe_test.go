package reactor_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/poll"
	"github.com/myriad-server/myriad/driver/rtsig"
	"github.com/myriad-server/myriad/driver/selects"
	"github.com/myriad-server/myriad/driver/sweep"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/loop"
)

// realDrivers are those that pipes are tried with, over the loopback.
var realDrivers = []struct {
	name    string
	factory driver.Factory
	options driver.Options
}{
	{"epoll", epoll.Factory, driver.Options{}},
	{"epoll level", epoll.Factory, driver.Options{Level: true}},
	{"poll", poll.Factory, driver.Options{}},
	{"select", selects.Factory, driver.Options{}},
	{"rtsig", rtsig.Factory, driver.Options{}},
	{"sweep", sweep.Factory, driver.Options{Sweep: time.Millisecond}},
	{"uring", uring.Factory, driver.Options{}},
	{"uring direct", uring.Factory, driver.Options{Direct: true}},
}

// plumber pipes what it accepts to what it dials, both ways.
type plumber struct {
	conn.Defaults
	target conn.Target
	out    *plumberOut
	tb     testing.TB
}

// pipeEnd is what is attached: the other side, nil when it is gone.
type pipeEnd struct {
	other conn.Conn
	ended bool
}

// plumberOut is the handler of the dialled side.
type plumberOut struct{ *plumber }

func (p *plumberOut) Opened(c conn.Conn) {
	other := c.Attached().(*pipeEnd).other
	if other == nil {
		c.Abort(nil)
		return
	}
	if !c.Pipe(other) || !other.Pipe(c) {
		p.tb.Error("Pipe is false")
	}
	other.Resume()
}

func (p *plumber) Opened(c conn.Conn) {
	c.Pause()
	out := c.Dialer().Dial(&p.target, p.out, &pipeEnd{other: c})
	c.Attach(&pipeEnd{other: out})
}

func (p *plumber) Received(c conn.Conn, in []byte) int {
	if other := c.Attached().(*pipeEnd).other; other == nil || other.State() != conn.Open {
		return len(in) // there is nobody to pipe to any more
	}
	p.tb.Errorf("Received of %d bytes that are piped", len(in))
	return len(in)
}

func (p *plumber) Ended(c conn.Conn) {
	s := c.Attached().(*pipeEnd)
	s.ended = true
	switch {
	case s.other == nil:
		c.Drain()
	case s.other.Attached().(*pipeEnd).ended:
		s.other.Drain()
		c.Drain()
	default:
		s.other.CloseWrite()
	}
}

func (p *plumber) Stopped(c conn.Conn) { c.Abort(conn.ErrStopping) }

func (p *plumber) Closed(c conn.Conn, _ error) {
	s := c.Attached().(*pipeEnd)
	if s.other == nil {
		return
	}
	t := s.other.Attached().(*pipeEnd)
	if t.other = nil; !s.ended || !t.ended {
		s.other.Abort(nil)
	}
}

// plumbing is a loop that pipes between its clients and a backend of the test.
type plumbing struct {
	tb      testing.TB
	address string
	backend *net.TCPListener
	loop    *loop.Loop
	pipes   *driver.Pipes
	blocks  *buf.Pool
	meter   meter.Set
	over    chan error
}

func plumb(tb testing.TB, f driver.Factory, o driver.Options, open func() (int, int, error)) *plumbing {
	tb.Helper()
	if s := f.Probe(); !s.OK {
		tb.Skipf("driver %s does not work here: %s", f.Name, s.Why)
	}
	backend, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	p := &plumbing{tb: tb, backend: backend, over: make(chan error, 1)}
	ready := make(chan error)
	go p.run(f, o, open, ready)
	if err := <-ready; err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.loop.Stop(true)
		if err := <-p.over; err != nil {
			tb.Error(err)
		}
		_ = backend.Close()
	})
	return p
}

// run is the thread of the loop.
func (p *plumbing) run(f driver.Factory, o driver.Options, open func() (int, int, error), ready chan error) {
	runtime.LockOSThread()
	err := func() (err error) {
		if p.blocks, err = buf.NewPool(4096, 256, sys.Map); err != nil {
			return err
		}
		p.pipes = driver.NewPipes(4, open, sys.Close) // fewer than are wanted at times
		o.Blocks, o.Pipes, o.Ops = p.blocks, p.pipes, 4096
		d, err := f.Open(o)
		if err != nil {
			return err
		}
		if p.loop, err = loop.New(loop.Options{
			Driver: d, Blocks: p.blocks, Pipes: p.pipes, Meter: &p.meter, Connections: 2000, OutputBytes: 1 << 20,
		}); err != nil {
			return err
		}
		fd, err := sys.Socket(sys.Inet4, sys.Stream, true)
		if err != nil {
			return err
		}
		address, _ := sys.EncodeAddress(nil, netip.MustParseAddrPort("127.0.0.1:0"))
		if err = errors.Join(sys.Bind(fd, address), sys.Listen(fd, 512)); err != nil {
			return err
		}
		local, err := sys.LocalAddress(fd)
		if err != nil {
			return err
		}
		p.address = local.String()
		h := &plumber{tb: p.tb, target: conn.Target{Address: p.backend.Addr().(*net.TCPAddr).AddrPort()}}
		h.out = &plumberOut{h}
		_, err = p.loop.Listen(fd, h)
		return err
	}()
	ready <- err
	if err == nil {
		p.over <- errors.Join(p.loop.Run(), p.loop.Close())
	}
}

// ask runs f on the loop's thread.
func (p *plumbing) ask(f func()) {
	done := make(chan struct{})
	p.loop.Do(func() { f(); close(done) })
	<-done
}

// settled waits until something is true on the loop's thread.
func (p *plumbing) settled(what string, f func() bool) {
	p.tb.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-again.C {
		ok := false
		p.ask(func() { ok = f() })
		if ok {
			return
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("does not happen: %s", what)
		}
	}
}

// meet makes one piped connection, and gives both of its ends.
func (p *plumbing) meet() (client, server *net.TCPConn) {
	p.tb.Helper()
	c := persist(p.tb, func() (net.Conn, error) { return net.Dial("tcp", p.address) })
	s := persist(p.tb, p.backend.AcceptTCP)
	deadline := time.Now().Add(60 * time.Second)
	if err := errors.Join(c.SetDeadline(deadline), s.SetDeadline(deadline)); err != nil {
		p.tb.Fatal(err)
	}
	return c.(*net.TCPConn), s
}

// persist does again what noPipe has made fail.
func persist[T any](tb testing.TB, f func() (T, error)) T {
	tb.Helper()
	for {
		v, err := f()
		if err == nil {
			return v
		}
		if !errors.Is(err, syscall.EMFILE) {
			tb.Fatal(err)
		}
		runtime.Gosched()
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// converse sends said from one end, in random pieces and then the end, while it wants to hear heard there.
func converse(tb testing.TB, c *net.TCPConn, seed uint64, said, heard []byte) {
	var got []byte
	var group sync.WaitGroup
	group.Go(func() {
		r := rand.New(rand.NewPCG(seed, 1))
		for len(said) > 0 {
			n := min(len(said), 1+r.IntN(1<<r.IntN(19)))
			if _, err := c.Write(said[:n]); err != nil {
				tb.Errorf("writing: %v", err)
				return
			}
			said = said[n:]
			for range r.IntN(8) {
				runtime.Gosched()
			}
		}
		if err := c.CloseWrite(); err != nil {
			tb.Error(err)
		}
	})
	got, err := io.ReadAll(c)
	group.Wait()
	if err != nil || !bytes.Equal(got, heard) {
		tb.Errorf("heard %d bytes of %d, or other ones; then %v", len(got), len(heard), err)
	}
}

// conversations are connections at the same time, with random bytes in both directions.
func (p *plumbing) conversations(n int) {
	var group sync.WaitGroup
	for range n {
		client, server := p.meet()
		group.Go(func() { p.conversation(rand.Uint64(), client, server) })
	}
	group.Wait()
	p.clean()
}

func (p *plumbing) conversation(seed uint64, client, server *net.TCPConn) {
	r := rand.New(rand.NewPCG(seed, 0))
	there, back := randomBytes(r, r.IntN(1<<(3+r.IntN(20)))), randomBytes(r, r.IntN(1<<(3+r.IntN(20))))
	var group sync.WaitGroup
	group.Go(func() { converse(p.tb, client, seed, there, back) })
	group.Go(func() { converse(p.tb, server, seed+1, back, there) })
	group.Wait()
	_, _ = client.Close(), server.Close()
	if p.tb.Failed() {
		p.tb.Logf("seed %d", seed)
	}
}

// overDrivers runs a test with every driver.
func overDrivers(t *testing.T, open func() (int, int, error), run func(p *plumbing)) {
	for _, d := range realDrivers {
		t.Run(d.name, func(t *testing.T) { run(plumb(t, d.factory, d.options, open)) })
	}
}

// clean wants nothing to be left of connections that are over.
func (p *plumbing) clean() {
	p.tb.Helper()
	p.settled("all connections end", func() bool { return p.loop.Open() == 0 })
	p.ask(func() {
		if n := p.pipes.Lent(); n != 0 {
			p.tb.Errorf("%d pipes are out", n)
		}
	})
}

// TestPipe wants all bytes of both directions over every driver, and the ends.
func TestPipe(t *testing.T) {
	overDrivers(t, sys.RoomyPipe, func(p *plumbing) {
		p.conversations(1)
		p.conversations(12)
	})
}

// noPipe is pipe2(2) in a process that may have no more descriptors.
func noPipe() (read, write int, err error) {
	soft, hard, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		return 0, 0, err
	}
	if err := sys.SetLimit(sys.LimitDescriptors, 3, hard); err != nil {
		return 0, 0, err
	}
	read, write, err = sys.RoomyPipe()
	return read, write, errors.Join(err, sys.SetLimit(sys.LimitDescriptors, soft, hard))
}

// TestPipeWithoutDescriptors has no pipe to be had: bytes are copied, and none is lost.
func TestPipeWithoutDescriptors(t *testing.T) {
	if _, _, err := noPipe(); !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("a pipe without descriptors: %v", err)
	}
	overDrivers(t, noPipe, func(p *plumbing) {
		p.conversations(3)
	})
}

// TestPipeSlowReader has a client that does not read: the sender is held up before long, nothing of it is in the
// memory of the process, and then every byte comes.
func TestPipeSlowReader(t *testing.T) {
	const size = 192 << 20
	overDrivers(t, sys.RoomyPipe, func(p *plumbing) {
		client, server := p.meet()
		sent := make(chan int, 1<<16)
		go func() {
			defer close(sent)
			for total := 0; total < size; {
				n, err := server.Write(make([]byte, 64<<10))
				if total += n; err != nil {
					t.Errorf("after %d bytes: %v", total, err)
					return
				}
				sent <- n
			}
			_ = server.CloseWrite()
		}()
		held := 0
		for waiting := true; waiting; {
			select {
			case n, open := <-sent:
				held, waiting = held+n, open
			case <-time.After(300 * time.Millisecond):
				waiting = false
			}
		}
		if held > size/2 {
			t.Errorf("%d of %d bytes were taken for a client that does not read", held, size)
		}
		p.ask(func() {
			if n := p.blocks.Lent(); n > 70 { // the driver's offer among them
				t.Errorf("%d blocks are held", n)
			}
		})
		go func() {
			for range sent {
			}
		}()
		if n, err := io.Copy(io.Discard, client); n != size || err != nil {
			t.Errorf("%d of %d bytes came, then %v", n, size, err)
		}
		_, _ = client.Close(), server.Close()
		p.clean()
	})
}

// TestPipeAbort resets one end in the middle: the other hears of it, and nothing is left.
func TestPipeAbort(t *testing.T) {
	overDrivers(t, sys.RoomyPipe, func(p *plumbing) {
		for round := range 8 {
			client, server := p.meet()
			from, to := client, server
			if round%2 == 0 {
				from, to = server, client
			}
			go func() { _, _ = to.Write(make([]byte, 32<<20)) }()
			if _, err := io.CopyN(io.Discard, from, int64(1+round*300_000)); err != nil {
				t.Error(err)
			}
			_, _ = from.SetLinger(0), from.Close()
			if _, err := to.Read(make([]byte, 1)); err == nil {
				t.Error("bytes came instead of an end")
			}
			_ = to.Close()
		}
		p.clean()
	})
}

// TestPipeIdle wants connections that are piped and idle to hold no pipe.
func TestPipeIdle(t *testing.T) {
	overDrivers(t, sys.RoomyPipe, func(p *plumbing) {
		const pairs = 100
		var clients, servers []*net.TCPConn
		word := []byte("a word")
		for range pairs {
			client, server := p.meet()
			clients, servers = append(clients, client), append(servers, server)
		}
		for range 3 {
			for i := range pairs {
				for _, way := range [][2]*net.TCPConn{{clients[i], servers[i]}, {servers[i], clients[i]}} {
					if _, err := way[0].Write(word); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(way[1], make([]byte, len(word))); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		p.settled("no pipe is held", func() bool { return p.pipes.Lent() == 0 && p.pipes.Idle() < 5 })
		for i := range pairs {
			_, _ = clients[i].Close(), servers[i].Close()
		}
		p.clean()
	})
}

// BenchmarkPipe moves bytes from one TCP connection to another. The time is that of sender, receiver and both kernels
// as well; what the process allocates is nothing.
func BenchmarkPipe(b *testing.B) {
	for _, d := range realDrivers {
		b.Run(d.name, func(b *testing.B) {
			p := plumb(b, d.factory, d.options, sys.RoomyPipe)
			client, server := p.meet()
			_ = errors.Join(client.SetDeadline(time.Time{}), server.SetDeadline(time.Time{}))
			piece := make([]byte, 256<<10)
			b.SetBytes(int64(len(piece)))
			b.ReportAllocs()
			go func() {
				for range b.N {
					_, _ = server.Write(piece)
				}
				_ = server.CloseWrite()
			}()
			room := make([]byte, 256<<10)
			b.ResetTimer()
			total := 0
			for {
				n, err := client.Read(room)
				if total += n; err != nil {
					break
				}
			}
			if total != b.N*len(piece) {
				b.Fatalf("%d of %d bytes came", total, b.N*len(piece))
			}
			_, _ = client.Close(), server.Close()
		})
	}
}
