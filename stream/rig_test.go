package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/poll"
	"github.com/myriad-server/myriad/driver/rtsig"
	"github.com/myriad-server/myriad/driver/selects"
	"github.com/myriad-server/myriad/driver/sweep"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take that is going to happen.
const patience = 20 * time.Second

// overDrivers runs a test over every driver that works here.
func overDrivers(t *testing.T, run func(t *testing.T, f driver.Factory)) {
	for _, f := range []driver.Factory{
		uring.Factory, epoll.Factory, poll.Factory, rtsig.Factory, selects.Factory, sweep.Factory,
	} {
		t.Run(f.Name, func(t *testing.T) {
			if s := f.Probe(); !s.OK {
				t.Skipf("the driver does not work here: %s; %s", s.Why, s.Fix)
			}
			run(t, f)
		})
	}
}

// rig is a number of loops that serve one listener.
type rig struct {
	t       testing.TB
	spec    listen.Spec
	loops   []*loop.Loop
	meters  []*meter.Set
	pools   []*buf.Pool
	ended   sync.WaitGroup
	stopped sync.Once
}

// rigOptions are what tests choose.
type rigOptions struct {
	factory   driver.Factory
	address   string // "127.0.0.1:0" if empty
	loops     int    // 1 if zero
	blocks    int    // 1024 if zero
	handler   func() conn.Handler
	datagrams func() conn.DatagramHandler
	direct    bool

	sendBuffer int // of the listener's sockets, if not zero
}

// serve starts loops and returns when they listen.
func serve(t testing.TB, o rigOptions) *rig {
	t.Helper()
	if o.factory.Open == nil {
		o.factory = epoll.Factory
	}
	if o.address == "" {
		o.address = "127.0.0.1:0"
	}
	if o.blocks == 0 {
		o.blocks = 1024
	}
	spec, err := listen.Parse(o.address)
	if err != nil {
		t.Fatal(err)
	}
	spec.ReusePort, spec.SendBuffer = o.loops > 1, o.sendBuffer
	switch {
	case o.datagrams != nil && spec.Network == "unix":
		spec.Network = "unixgram"
	case o.datagrams != nil:
		spec.Network = "udp"
	}
	group := listen.NewGroup(spec)
	r := &rig{t: t}
	for i := range max(1, o.loops) {
		fd, err := group.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		r.run(fd, i, &o)
	}
	r.spec = group.Spec()
	t.Cleanup(func() {
		r.stop()
		for i := range r.loops {
			group.Closed(i)
		}
	})
	return r
}

// run starts one loop.
func (r *rig) run(fd, number int, o *rigOptions) {
	set := new(meter.Set)
	ready := make(chan error)
	r.ended.Add(1)
	go func() {
		defer r.ended.Done()
		runtime.LockOSThread() // and never unlock: drivers leave marks on the thread
		pool, err := buf.NewPool(16<<10, o.blocks, sys.Map)
		if err != nil {
			ready <- err
			return
		}
		pipes := driver.NewPipes(64, sys.RoomyPipe, sys.Close)
		d, err := o.factory.Open(driver.Options{Blocks: pool, Pipes: pipes, Ops: 64 << 10, Direct: o.direct})
		if err != nil {
			ready <- err
			return
		}
		l, err := loop.New(loop.Options{
			Driver: d, Blocks: pool, Pipes: pipes, Meter: set, Connections: 50_000, OutputBytes: 1 << 20,
		})
		if err == nil && o.handler != nil {
			_, err = l.Listen(fd, o.handler())
		} else if err == nil {
			err = l.ListenDatagrams(fd, o.datagrams(), false)
		}
		if err != nil {
			ready <- err
			return
		}
		r.loops, r.meters, r.pools = append(r.loops, l), append(r.meters, set), append(r.pools, pool)
		ready <- nil
		if err := l.Run(); err != nil {
			r.t.Errorf("loop %d: %v", number, err)
		}
		if n := l.Open(); n != 0 {
			r.t.Errorf("loop %d leaves %d connections", number, n)
		}
		if err := l.Close(); err != nil {
			r.t.Errorf("loop %d: %v", number, err)
		}
		if n := pool.Lent(); n != 0 {
			r.t.Errorf("loop %d leaves %d blocks", number, n)
		}
		if err := pool.Free(sys.Unmap); err != nil {
			r.t.Errorf("loop %d: %v", number, err)
		}
		if n := pipes.Lent(); n != 0 {
			r.t.Errorf("loop %d leaves %d pipes", number, n)
		}
	}()
	if err := <-ready; err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the loops: what is open is aborted.
func (r *rig) stop() {
	r.stopped.Do(func() {
		for _, l := range r.loops {
			l.Stop(true)
		}
		r.ended.Wait()
	})
}

// do runs f on the thread of loop 0 and waits.
func (r *rig) do(f func()) {
	done := make(chan struct{})
	if !r.loops[0].Do(func() { f(); close(done) }) {
		r.t.Fatal("the loop has ended")
	}
	await(r.t, done, "a function on the loop")
}

// dial connects a client that gives up in time.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := r.tryDial()
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) tryDial() (net.Conn, error) {
	network, address := r.spec.Network, r.spec.Address.String()
	if network == "unix" {
		address = r.spec.Name
	}
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { c.Close() })
	return c, c.SetDeadline(time.Now().Add(patience))
}

// proxy is a TCP proxy in front of servers, over one loop of a driver.
func proxy(t testing.TB, f driver.Factory, o TCPOptions, servers ...string) (*rig, *TCP) {
	t.Helper()
	return proxyAt(t, rigOptions{factory: f}, o, servers...)
}

func proxyAt(t testing.TB, r rigOptions, o TCPOptions, servers ...string) (*rig, *TCP) {
	t.Helper()
	if o.Group == nil {
		o.Group = group(t, upstream.Options{}, servers...)
	}
	p, err := NewTCP(o)
	if err != nil {
		t.Fatal(err)
	}
	r.handler = p.Handler
	return serve(t, r), p
}

// group is an upstream group of some addresses, which is closed behind the loops.
func group(t testing.TB, o upstream.Options, servers ...string) *upstream.Group {
	t.Helper()
	for _, s := range servers {
		o.Endpoints = append(o.Endpoints, upstream.EndpointOptions{Address: s})
	}
	if o.Policy == nil {
		o.Policy = balance.RoundRobin{}
	}
	g, err := upstream.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// server is a listener whose connections are served by a function each, and closed behind it.
func server(t testing.TB, network string, serve func(c net.Conn)) (address string) {
	t.Helper()
	if network == "unix" {
		return "unix:" + serverAt(t, network, filepath.Join(t.TempDir(), "socket"), serve)
	}
	return serverAt(t, network, "127.0.0.1:0", serve)
}

// serverAt is a server at an address, whose own is returned.
func serverAt(t testing.TB, network, at string, serve func(c net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			group.Go(func() {
				serve(c)
				c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return l.Addr().String()
}

// echo sends back what comes, and ends when its peer does.
func echo(c net.Conn) { io.Copy(c, c) }

// want reads exactly what is wanted.
func want(t testing.TB, c io.Reader, wanted string) {
	t.Helper()
	got := make([]byte, len(wanted))
	n, err := io.ReadFull(c, got)
	if err != nil || string(got) != wanted {
		t.Fatalf("read %q, %v; want %q", got[:n], err, wanted)
	}
}

// wantEnd reads the peer's orderly end.
func wantEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d bytes, %v; want the end", n, err)
	}
}

// wantReset reads until the connection ends, which must be by a reset.
func wantReset(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); !isReset(err) {
		t.Fatalf("the connection ended with %v; want a reset", err)
	}
}

// wantResetAfter is wantReset behind a write: one that is refused takes the error, and a read finds a plain end.
func wantResetAfter(t testing.TB, c net.Conn, write error) {
	t.Helper()
	if !isReset(write) {
		wantReset(t, c)
	}
}

func isReset(err error) bool {
	return err != nil && strings.Contains(err.Error(), "connection reset by peer")
}

func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// await takes the next value, which must come in time.
func await[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		t.Fatalf("%s: nothing came\n%s", what, stacks[:runtime.Stack(stacks, true)])
		panic("unreachable")
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.Done():
			t.Fatalf("it did not happen: %s", what)
		case <-tick.C:
		}
	}
}

// pattern is byte at of the stream that tests send.
func pattern(at int64) byte { return streamed[at%int64(len(streamed))] }

// streamed is the stream, which begins again where it ends. Its length is prime, so that pieces of it in another order
// do not look right.
var streamed = func() []byte {
	p := make([]byte, 1_048_583)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}()

// wantStream reads the first n bytes of the stream, up to step bytes at once.
func wantStream(c io.Reader, n int64, step int) error {
	buffer := make([]byte, step)
	for at := int64(0); at < n; {
		k, err := c.Read(buffer[:min(int64(step), n-at)])
		for got := buffer[:k]; len(got) > 0; {
			wanted := streamed[at%int64(len(streamed)):]
			m := min(len(wanted), len(got))
			if !bytes.Equal(got[:m], wanted[:m]) {
				return fmt.Errorf("a wrong byte among the %d from %d on", m, at)
			}
			got, at = got[m:], at+int64(m)
		}
		if err != nil && at < n {
			return fmt.Errorf("%w after %d of %d bytes", err, at, n)
		}
	}
	return nil
}

// sendStream writes the first n bytes of the stream.
func sendStream(c io.Writer, n int64) error {
	for at := int64(0); at < n; {
		from := at % int64(len(streamed))
		k := min(64<<10, n-at, int64(len(streamed))-from)
		if _, err := c.Write(streamed[from : from+k]); err != nil {
			return err
		}
		at += k
	}
	return nil
}

// reset closes a connection with a reset.
func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}
