package sim

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// rig is a kernel, its driver and what Wait has returned.
type rig struct {
	*testing.T
	k      *Kernel
	d      driver.Driver
	pool   *buf.Pool
	listen *Listener
	done   []driver.Completion
}

func newRig(t *testing.T, o Options) *rig {
	r := &rig{T: t, k: New(o)}
	var err error
	if r.pool, err = buf.NewPool(64, 16, buf.Heap); err != nil {
		t.Fatal(err)
	}
	if r.d, err = Factory(r.k).Open(driver.Options{Blocks: r.pool, Ops: 16}); err != nil {
		t.Fatal(err)
	}
	r.listen = r.k.Listen(4)
	if _, err := r.d.Adopt(r.listen.Descriptor()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) submit(op driver.Op) driver.Token {
	r.Helper()
	token, err := r.d.Submit(op)
	for errors.Is(err, driver.ErrFull) {
		r.turn(0)
		token, err = r.d.Submit(op)
	}
	if err != nil {
		r.Fatal(err)
	}
	return token
}

// turn is one Wait; the blocks of what it returns are released.
func (r *rig) turn(d time.Duration) int {
	r.Helper()
	var dst [8]driver.Completion
	n, err := r.d.Wait(dst[:], d)
	if err != nil {
		r.Fatal(err)
	}
	for _, c := range dst[:n] {
		if c.Block != nil {
			c.Block.Release()
		}
	}
	r.done = append(r.done, dst[:n]...)
	return n
}

// until waits for the last completion of an operation.
func (r *rig) until(token driver.Token) driver.Completion {
	r.Helper()
	for range 1000 {
		for _, c := range r.done {
			if c.Token == token && c.Flags&driver.More == 0 {
				return c
			}
		}
		r.turn(time.Second)
	}
	r.Fatalf("operation %d does not end", token)
	return driver.Completion{}
}

// accepted is a connection to c.
func (r *rig) accepted(c Client) int {
	r.Helper()
	r.k.Dial(r.listen, c)
	done := r.until(r.submit(driver.Op{Code: driver.Accept, FD: r.listen.Descriptor()}))
	if done.Err != nil {
		r.Fatal(done.Err)
	}
	return done.Result
}

// act is a client made of a function.
type act func(p *Peer)

func (f act) Step(p *Peer) { f(p) }

func quiet(*Peer) {}

// TestBreach commits each breach of the contract and wants it named.
func TestBreach(t *testing.T) {
	for _, c := range []struct {
		name, want string
		commit     func(r *rig, fd int)
	}{
		{"two receives", "while a Recv is in flight", func(r *rig, fd int) {
			r.submit(driver.Op{Code: driver.Recv, FD: fd, Many: true})
			_, _ = r.d.Submit(driver.Op{Code: driver.Recv, FD: fd})
		}},
		{"two sends", "while a Send is in flight", func(r *rig, fd int) {
			r.submit(driver.Op{Code: driver.Send, FD: fd, Buf: make([]byte, 100_000)})
			_, _ = r.d.Submit(driver.Op{Code: driver.SendFile, FD: fd, From: 0, Len: 1})
		}},
		{"changed memory", "memory of a Send", func(r *rig, fd int) {
			p := make([]byte, 100)
			r.submit(driver.Op{Code: driver.Send, FD: fd, Buf: p})
			p[50] = 1
			_, _ = r.d.Wait(make([]driver.Completion, 8), 0)
		}},
		{"changed pieces", "memory of a Send", func(r *rig, fd int) {
			rest := [][]byte{{1}, {2}}
			r.submit(driver.Op{Code: driver.Send, FD: fd, Buf: []byte{0}, Rest: rest})
			rest[1] = []byte{3}
			_, _ = r.d.Wait(make([]driver.Completion, 8), 0)
		}},
		{"close over a receive", "Close while a Recv", func(r *rig, fd int) {
			r.submit(driver.Op{Code: driver.Recv, FD: fd})
			_, _ = r.d.Submit(driver.Op{Code: driver.Close, FD: fd})
		}},
		{"use after close", "not open", func(r *rig, fd int) {
			r.until(r.submit(driver.Op{Code: driver.Close, FD: fd}))
			_, _ = r.d.Submit(driver.Op{Code: driver.Recv, FD: fd})
		}},
		{"send after shutdown", "after Shutdown", func(r *rig, fd int) {
			r.until(r.submit(driver.Op{Code: driver.Shutdown, FD: fd}))
			_, _ = r.d.Submit(driver.Op{Code: driver.Send, FD: fd, Buf: []byte{1}})
		}},
		{"another kind", "another kind", func(r *rig, fd int) {
			_, _ = r.d.Submit(driver.Op{Code: driver.Accept, FD: fd})
		}},
		{"made-up token", "never given", func(r *rig, _ int) { _ = r.d.Cancel(1 << 40) }},
		{"zero token", "never given", func(r *rig, _ int) { _ = r.d.Cancel(0) }},
		{"waiting for nothing", "nothing will happen", func(r *rig, _ int) {
			_, _ = r.d.Wait(make([]driver.Completion, 8), -1)
		}},
		{"spinning", "spins", func(r *rig, _ int) {
			for range 2 * restlessWaits {
				_, _ = r.d.Wait(make([]driver.Completion, 8), 0)
			}
		}},
		{"file let go", "nobody holds", func(r *rig, fd int) {
			f := r.k.File(make([]byte, 10))
			f.Release()
			_, _ = r.d.Submit(driver.Op{Code: driver.SendFile, FD: fd, From: f.Descriptor(), Len: 10})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Options{Seed: 1})
			c.commit(r, r.accepted(act(quiet)))
			if err := r.k.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the breach is answered with %v", err)
			}
		})
	}
}

// TestReplay wants two runs with one seed to be the same to the last event, and those of another to differ.
func TestReplay(t *testing.T) {
	run := func(seed uint64) string {
		o := Options{Seed: seed, Faults: Faults{ShortRead: 0.5, Delay: 0.5, Reorder: 0.5, Batch: 0.5, CancelRace: 0.5}}
		r := newRig(t, o)
		fd := r.accepted(act(func(p *Peer) {
			_, _ = p.Write(make([]byte, 1+p.Rand().IntN(200)))
			p.After(time.Millisecond)
		}))
		recv := r.submit(driver.Op{Code: driver.Recv, FD: fd, Many: true})
		for range 50 {
			r.turn(time.Millisecond)
		}
		if err := r.d.Cancel(recv); err != nil {
			t.Fatal(err)
		}
		r.until(recv)
		return r.k.trace.String()
	}
	if first, second := run(5), run(5); first != second {
		t.Error("two runs with one seed differ")
	}
	if run(5) == run(6) {
		t.Error("two seeds make the same run")
	}
}

// TestEnds has a client end its connection in each way, and wants the loop's end to see that.
func TestEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *Peer)
		want error
	}{
		{"half close", (*Peer).CloseWrite, nil},
		{"close", (*Peer).Close, nil},
		{"reset", (*Peer).Reset, syscall.ECONNRESET},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Options{Seed: 1})
			fd := r.accepted(act(c.end))
			if done := r.until(r.submit(driver.Op{Code: driver.Recv, FD: fd, Many: true})); done.Err != c.want {
				t.Errorf("the end is %v", done.Err)
			}
			r.until(r.submit(driver.Op{Code: driver.Close, FD: fd}))
			if n := r.k.Descriptors(); n != 1 {
				t.Errorf("%d descriptors", n)
			}
		})
	}
}

// TestReset sets a linger time on the stand-in, and wants the client to be reset.
func TestReset(t *testing.T) {
	r := newRig(t, Options{Seed: 1})
	var got error
	fd := r.accepted(act(func(p *Peer) {
		if _, err := p.Read(make([]byte, 10)); err != nil {
			got = err
		}
	}))
	ordinary, done, err := r.d.Descriptor(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.SetLinger(ordinary, 0); err != nil {
		t.Fatal(err)
	}
	done()
	r.until(r.submit(driver.Op{Code: driver.Close, FD: fd}))
	r.turn(time.Second)
	if got != syscall.ECONNRESET {
		t.Errorf("the client sees %v", got)
	}
}

// TestPending accepts through the stand-in of the listener.
func TestPending(t *testing.T) {
	r := newRig(t, Options{Seed: 1})
	for range 3 {
		r.k.Dial(r.listen, act(quiet))
	}
	ordinary, done, err := r.d.Descriptor(r.listen.Descriptor())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for range 3 {
		fresh, err := sys.Accept(ordinary)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.d.Adopt(fresh); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sys.Accept(ordinary); err != syscall.EAGAIN || r.k.Descriptors() != 4 {
		t.Errorf("%v with %d descriptors", err, r.k.Descriptors())
	}
}

// TestConnect reaches a client, and one that is not there.
func TestConnect(t *testing.T) {
	r := newRig(t, Options{Seed: 1})
	there, away := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:80")
	greeted := false
	r.k.Reach(there, func() Client {
		return act(func(p *Peer) {
			n, err := p.Read(make([]byte, 10))
			greeted = greeted || n == 5
			if err == io.EOF {
				p.Close()
			}
		})
	})
	for _, c := range []struct {
		to   netip.AddrPort
		want error
	}{{there, nil}, {away, syscall.ECONNREFUSED}} {
		ordinary, err := sys.Socket(sys.Inet4, sys.Stream, true)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := r.d.Adopt(ordinary)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := sys.EncodeAddress(nil, c.to)
		if done := r.until(r.submit(driver.Op{Code: driver.Connect, FD: fd, Addr: raw})); done.Err != c.want {
			t.Fatalf("connecting to %v: %v", c.to, done.Err)
		}
		if c.want == nil {
			r.until(r.submit(driver.Op{Code: driver.Send, FD: fd, Buf: []byte("hello")}))
			r.turn(time.Second)
		}
		r.until(r.submit(driver.Op{Code: driver.Close, FD: fd}))
	}
	if !greeted {
		t.Error("the far end was not reached")
	}
}
