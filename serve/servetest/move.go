package servetest

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// handOver moves the connection of a call to a dialer, and returns what taken was called with there, and the call that
// goes on with it, which must have been opened before.
func (o *office) handOver(c conn.Conn, h *call, to conn.Dialer) (conn.Conn, *call) {
	o.t.Helper()
	next := &call{script: h.script, t: o.t, ends: make(chan error, 2), open: make(chan bool, 2)}
	taken := make(chan conn.Conn, 2)
	o.on(func() {
		c.Move(to, next, next, func(c conn.Conn) {
			if c != nil && (c.Attached() != next || c.Dialer() != to || c.State() != conn.Open || len(next.open) != 1) {
				o.t.Errorf("taken with %v attached, state %s, opened %d times", c.Attached(), c.State(), len(next.open))
			}
			taken <- c
		})
	})
	moved := await(o.t, taken, "what became of a move")
	if len(taken) > 0 {
		o.t.Error("taken was called twice")
	}
	return moved, next
}

// two is an office with two loops and a connection on the first of them that has been answered once.
func two(t *testing.T, s Suite) (o *office, f *far, c conn.Conn, h *call, came chan bool) {
	t.Helper()
	if o = openOffice(t, s, nil); o == nil {
		return nil, nil, nil, nil, nil
	}
	if len(o.all) < 2 {
		t.Fatal("the site of the suite must have two loops")
	}
	o.dialer = o.all[0]
	f = o.listen("tcp", "127.0.0.1:0")
	came = make(chan bool, 16)
	h = o.dial(f.target, script{received: func(conn.Conn, []byte) int { came <- true; return 0 }}, "hello",
		func(it conn.Conn) { c = it })
	await(t, came, "an answer")
	return o, f, c, h, came
}

// move takes a connection to another loop and back, several times.
func move(t *testing.T, s Suite) {
	o, f, c, h, came := two(t, s)
	if o == nil {
		return
	}
	for round := 1; round <= 5; round++ {
		to := o.all[round%2]
		moved, next := o.handOver(c, h, to)
		if moved == nil {
			t.Fatalf("round %d: the connection was not moved", round)
		}
		if why := h.end(); !errors.Is(why, conn.ErrMoved) {
			t.Errorf("round %d: where it was, it was closed for %v", round, why)
		}
		c, h, o.dialer = moved, next, to
		o.on(func() { c.Write([]byte("again")) })
		await(t, came, "an answer behind the move")
		o.on(func() {
			if in, out := c.Traffic(); string(h.got) != "again" || in != uint64(5+5*round) || out != in {
				t.Errorf("round %d: %q came; %d bytes in, %d out", round, h.got, in, out)
			}
		})
	}
	o.on(func() { c.CloseWrite() })
	if why := h.end(); why != nil || string(h.got) != "againbye" {
		t.Errorf("closed for %v behind %q", why, h.got)
	}
	f.close()
	o.stop()
}

// nowhere is a dialer that no loop is behind.
type nowhere struct{ conn.Dialer }

func (nowhere) Do(f func()) bool {
	f()
	return true
}

// moveInVain asks for what cannot be: the connection stays and works.
func moveInVain(t *testing.T, s Suite) {
	o, f, c, h, came := two(t, s)
	if o == nil {
		return
	}
	for _, row := range []struct {
		name   string
		to     conn.Dialer
		before func()
		after  func()
	}{
		{name: "to where it is", to: o.all[0]},
		{name: "to no loop", to: nowhere{}},
		{name: "with output", to: o.all[1], before: func() { c.Write([]byte("hello")) }},
		{name: "with output behind it", to: o.all[1], after: func() { c.Write([]byte("hello")) }},
		{name: "while it is moved", to: o.all[1], before: func() {
			c.Move(o.all[1], h, h, func(c conn.Conn) {
				if c != nil {
					t.Error("a connection was moved that had output")
				}
			})
		}, after: func() { c.Write([]byte("hello")) }},
	} {
		taken := make(chan conn.Conn, 2)
		o.on(func() {
			if row.before != nil {
				row.before()
			}
			c.Move(row.to, h, h, func(c conn.Conn) { taken <- c })
			if row.after != nil {
				row.after()
			}
		})
		if moved := await(t, taken, row.name); moved != nil || len(h.ends) > 0 {
			t.Fatalf("%s: the connection was moved", row.name)
		}
		if row.before == nil && row.after == nil {
			o.on(func() { c.Write([]byte("hello")) })
		}
		await(t, came, "an answer behind the move that was not")
	}
	taken := make(chan conn.Conn, 2)
	o.on(func() {
		c.Move(o.all[1], h, h, func(c conn.Conn) { taken <- c })
		c.Abort(errMine)
	})
	if moved, why := await(t, taken, "of an aborted one"), h.end(); moved != nil || !errors.Is(why, errMine) {
		t.Errorf("an aborted connection was moved: %v, or closed for %v", moved != nil, why)
	}
	f.close()
	o.stop()
}

// wanderer is what wanders from loop to loop: a stream that is checked wherever it is received.
type wanderer struct {
	at    int64
	asked bool // to be moved, and not heard of
}

// wanders is the handler of one loop.
type wanders struct {
	t      *testing.T
	office *office
	number int
	inside atomic.Bool
	shared *wandering
}

// wandering is what all loops share.
type wandering struct {
	handlers       []*wanders
	moved, refused atomic.Int64
	ends           chan int64 // bytes that came
}

func (h *wanders) enter() func() {
	if h.inside.Swap(true) {
		h.t.Error("a handler is called by two threads of control at once")
	}
	return func() { h.inside.Store(false) }
}

func (h *wanders) Opened(c conn.Conn) {
	defer h.enter()()
	h.next(c)
}

// next lets the connection be moved soon.
func (h *wanders) next(c conn.Conn) { c.SetTimer(1 + rand.Int64N(int64(3*time.Millisecond))) }

func (h *wanders) Expired(c conn.Conn) {
	defer h.enter()()
	w := c.Attached().(*wanderer)
	if w.asked {
		return
	}
	to := h.shared.handlers[(h.number+1)%len(h.shared.handlers)]
	w.asked = true
	ref := c.Ref()
	c.Move(h.office.all[to.number], to, w, func(c conn.Conn) {
		if c != nil {
			w.asked = false
			h.shared.moved.Add(1)
			if c.Attached() != w {
				to.t.Error("something else is attached")
			}
			return
		}
		h.shared.refused.Add(1)
		ref.Post(func(c conn.Conn) { // it has stayed
			w.asked = false
			h.next(c)
		})
	})
}

func (h *wanders) Received(c conn.Conn, in []byte) int {
	defer h.enter()()
	w := c.Attached().(*wanderer)
	if wrong := check(in, w.at); wrong >= 0 {
		h.t.Errorf("byte %d is wrong", w.at+int64(wrong))
	}
	w.at += int64(len(in))
	return len(in)
}

func (h *wanders) Ended(c conn.Conn) {
	defer h.enter()()
	c.Drain()
}

func (h *wanders) Flushed(conn.Conn) {}

func (h *wanders) Stopped(c conn.Conn) {
	defer h.enter()()
	c.Drain()
}

func (h *wanders) Closed(c conn.Conn, why error) {
	defer h.enter()()
	if !errors.Is(why, conn.ErrMoved) {
		h.shared.ends <- c.Attached().(*wanderer).at
	}
}

// moveUnderLoad moves connections about while their peers send. No byte is lost, and nothing is left.
func moveUnderLoad(t *testing.T, s Suite) {
	const count, size, piece = 20, 200 << 10, 1 << 10
	o := openOffice(t, s, nil)
	if o == nil {
		return
	}
	shared := &wandering{ends: make(chan int64, count)}
	sent := make(chan error, count)
	o.wander(shared, count, func(c net.Conn) { sent <- sendSlowly(c, size, piece) })
	for range count {
		if err := await(t, sent, "sending"); err != nil {
			t.Error(err)
		}
		if n := await(t, shared.ends, "Closed"); n != size {
			t.Errorf("%d of %d bytes came", n, size)
		}
	}
	t.Logf("%d moves, %d times it stayed", shared.moved.Load(), shared.refused.Load())
	if shared.moved.Load() < count {
		t.Errorf("%d moves, %d times it stayed", shared.moved.Load(), shared.refused.Load())
	}
	o.stop()
}

// wander dials connections that wander from now on, and has a goroutine for the far end of each.
func (o *office) wander(shared *wandering, count int, far func(c net.Conn)) {
	o.t.Helper()
	for i := range o.all {
		shared.handlers = append(shared.handlers, &wanders{t: o.t, office: o, number: i, shared: shared})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	target := &conn.Target{Address: l.Addr().(*net.TCPAddr).AddrPort()}
	for range count {
		o.on(func() { o.dialer.Dial(target, shared.handlers[slices.Index(o.all, o.dialer)], &wanderer{}) })
		c, err := l.Accept()
		if err != nil {
			o.t.Fatal(err)
		}
		go far(c)
	}
}

// moveAndStop stops loops that hand connections to each other: some arrive where nobody is any more. All end, and
// nothing is left.
func moveAndStop(t *testing.T, s Suite) {
	const count, rounds = 20, 5
	for range rounds {
		o := openOffice(t, s, nil)
		if o == nil {
			return
		}
		shared := &wandering{ends: make(chan int64, count)}
		ends := make(chan error, count)
		o.wander(shared, count, func(c net.Conn) {
			_ = c.SetDeadline(time.Now().Add(patience))
			err := drained(c)
			ends <- errors.Join(err, c.Close())
		})
		for deadline := time.Now().Add(patience); shared.moved.Load() < 2*count; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%d moves", shared.moved.Load())
			}
		}
		o.cancel()
		for range count {
			if err := await(t, ends, "the end"); err != nil {
				t.Error(err)
			}
		}
		o.stop()
	}
}

// sendSlowly sends a stream in pieces with pauses between them, and ends.
func sendSlowly(c net.Conn, size, piece int64) error {
	p := make([]byte, piece)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for at := int64(0); at < size; at += piece {
		<-pause.C
		fill(p, at)
		if _, err := c.Write(p); err != nil {
			return errors.New(err.Error() + " at " + strconv.FormatInt(at, 10))
		}
		pause.Reset(time.Duration(rand.IntN(4)) * time.Millisecond)
	}
	return errors.Join(c.SetDeadline(time.Now().Add(patience)), c.(*net.TCPConn).CloseWrite(), drained(c), c.Close())
}

// drained reads until the peer ends.
func drained(c net.Conn) error {
	if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the peer does not end")
	}
	return nil
}
