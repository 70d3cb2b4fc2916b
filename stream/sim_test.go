package stream

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/upstream"
)

// world is a proxy between simulated clients and servers.
type world struct {
	rand   *rand.Rand
	kernel *sim.Kernel
	pool   *buf.Pool
	meter  meter.Set
	loop   *loop.Loop
	front  *sim.Listener
	tcp    *TCP
	left   int // ends that have not finished
	block  int // bytes of each of a few; if 0 there are many, of a size by chance
	lossy  bool
	// blurred: the kernel tells of a reset once, to the operation that comes first, and the other one sees an end. When
	// they complete in another order, as they may here, nobody can tell a reset from an end.
	blurred bool
	told    int
}

func (w *world) Log(r *Record) {
	w.told++
	if w.lossy || r.Cause == ClientEnded || r.Cause == UpstreamEnded {
		return
	}
	w.kernel.Fail("a session ended: %+v", *r)
}

// farAt is where simulated servers are.
var farAt = netip.MustParseAddrPort("192.0.2.1:80")

// build makes the loop with the proxy on it.
func (w *world) build(o sim.Options, t TCPOptions, connections, links int) {
	w.kernel = sim.New(o)
	var err error
	block, blocks := w.block, 256
	if block == 0 {
		block, blocks = 64<<w.rand.IntN(9), max(4096, connections)
	}
	if w.pool, err = buf.NewPool(block, blocks, buf.Heap); err != nil {
		panic(err)
	}
	pipes := w.kernel.Pipes(1 + w.rand.IntN(20))
	d, err := w.kernel.Open(driver.Options{Blocks: w.pool, Pipes: pipes, Ops: 1 << 16})
	if err != nil {
		panic(err)
	}
	w.loop, err = loop.New(loop.Options{
		Driver: d, Blocks: w.pool, Pipes: pipes, Meter: &w.meter, Connections: connections, OutputBytes: 1 << 20,
		Clock: w.kernel.Clock,
	})
	if err != nil {
		panic(err)
	}
	t.Group, err = upstream.New(upstream.Options{
		Endpoints:      []upstream.EndpointOptions{{Address: farAt.String(), Connections: links}},
		ConnectTimeout: 100 * time.Hour, Queue: upstream.QueueOptions{Timeout: 100 * time.Hour},
	})
	if err != nil {
		panic(err)
	}
	t.Records = w
	if w.tcp, err = NewTCP(t); err != nil {
		panic(err)
	}
	w.front = w.kernel.Listen(1 << 14)
	if _, err := w.loop.Listen(w.front.Descriptor(), w.tcp.Handler()); err != nil {
		panic(err)
	}
}

// run runs the loop until it ends, and checks what it leaves.
func (w *world) run(sessions int) {
	err := w.loop.Run()
	if w.kernel.Err() != nil {
		return
	}
	fail := w.kernel.Fail
	if err != nil {
		fail("Run: %v", err)
	}
	if n := w.loop.Open(); n != 0 {
		fail("%d connections are left", n)
	}
	if err := w.loop.Close(); err != nil {
		fail("Close: %v", err)
	}
	if n := w.pool.Lent(); n != 0 {
		fail("%d blocks are lent", n)
	}
	if n := w.kernel.Descriptors(); n != 0 {
		fail("%d descriptors are open", n)
	}
	n := w.tcp.Counts()
	if n[Open] != 0 || !w.lossy && int(n[Sessions]) != sessions || w.told != int(n[Sessions]) {
		fail("counted %v, told %d times", n, w.told)
	}
	for _, how := range ends {
		n[Sessions] -= n[how]
	}
	if n[Sessions] != 0 {
		fail("%d sessions ended and were not counted under a cause", n[Sessions])
	}
	w.tcp.options.Group.Close()
}

func (w *world) finished() {
	if w.left--; w.left == 0 {
		w.loop.Stop(false)
	}
}

// talker is one end: it sends a stream, says that it is done, and reads the other's stream.
type talker struct {
	w          *world
	send, want int
	sent, got  int
	early      bool   // says that it is done before it has read everything
	late       bool   // says that it is done only after the other has
	heard      bool   // that the other is done
	header     string // is sent first
	headed     bool   // a line comes first, which is not of the stream
	slow       bool
	quit       int // bytes to get before it resets the connection, or 0
	ended      bool
	over       bool
	buffer     [700]byte
}

func (c *talker) Step(p *sim.Peer) {
	if c.over {
		return
	}
	r := p.Rand()
	for p.Err() == nil && c.header != "" {
		k, err := p.Write([]byte(c.header[:1+r.IntN(len(c.header))]))
		c.header = c.header[k:]
		if k == 0 || err != nil {
			break
		}
	}
	for p.Err() == nil && c.header == "" && c.sent < c.send {
		n := min(1+r.IntN(len(c.buffer)), c.send-c.sent)
		for i := range n {
			c.buffer[i] = pattern(int64(c.sent + i))
		}
		k, err := p.Write(c.buffer[:n])
		c.sent += k
		if k == 0 || err != nil || r.IntN(4) == 0 {
			break
		}
	}
	if c.slow && r.IntN(4) != 0 {
		p.After(time.Duration(r.IntN(5e6)))
		return
	}
	over := c.read(p)
	if c.sent == c.send && c.header == "" && !c.ended && (c.early || c.got == c.want && (c.heard || !c.late)) && !over {
		c.ended = true
		p.CloseWrite()
	}
	if over {
		c.over = true
		c.w.finished()
		return
	}
	p.After(time.Duration(1 + r.IntN(2e6)))
}

// read takes what has come, and reports that it is over.
func (c *talker) read(p *sim.Peer) bool {
	for {
		n, err := p.Read(c.buffer[:1+p.Rand().IntN(len(c.buffer))])
		for _, b := range c.buffer[:n] {
			switch {
			case c.headed:
				c.headed = b != '\n'
				continue
			case b != pattern(int64(c.got)):
				p.Fail("connection %d: byte %d is wrong", p.Number, c.got)
			}
			c.got++
		}
		switch {
		case err == io.EOF:
			if c.got != c.want && !c.w.blurred {
				p.Fail("connection %d: the end after %d of %d bytes", p.Number, c.got, c.want)
			}
			c.heard = true
			if c.sent == c.send {
				p.Close()
				return true
			}
			return false // the other way goes on
		case err != nil:
			if !c.w.lossy {
				p.Fail("connection %d: %v after %d of %d bytes", p.Number, err, c.got, c.want)
			}
			p.Close()
			return true
		case c.quit > 0 && c.got >= c.quit:
			p.Reset()
			return true
		case n == 0 || c.slow:
			return false
		}
	}
}

// overSeeds runs a test with 150 seeds, with as many as SEEDS says, or with MYRIAD_SEED alone.
func overSeeds(t *testing.T, run func(w *world, seed uint64)) {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	first, last := uint64(1), number("SEEDS", 150)
	if only := number("MYRIAD_SEED", 0); only != 0 {
		first, last = only, only
	}
	for seed := first; seed <= last; seed++ {
		w := &world{rand: rand.New(rand.NewPCG(seed, 11))}
		err := func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			run(w, seed)
			return w.kernel.Err()
		}()
		if err != nil {
			t.Fatalf("%v\nto replay: MYRIAD_SEED=%d go test -run %s ./stream", err, seed, t.Name())
		}
	}
}

// TestSimSessions passes streams between ends that are slow, end early or break off, on a kernel with faults: what
// arrives is what was sent, an end is never said before everything has arrived, and nothing is left.
func TestSimSessions(t *testing.T) {
	overSeeds(t, func(w *world, seed uint64) {
		r := w.rand
		faults := sim.Draw(r)
		faults.Reset = 0 // the talkers do that themselves, and know of it
		quits := r.IntN(2) == 0
		w.lossy = quits || faults.AcceptError > 0
		w.blurred = quits && faults.Delay+faults.Reorder > 0
		links := 1000
		if r.IntN(3) == 0 {
			links = 1 + r.IntN(3) // the others wait
		}
		pipe := 1 << r.IntN(16)
		if r.IntN(3) == 0 {
			pipe = -1
		}
		in, out := r.IntN(2) == 0, r.IntN(2) == 0
		accept, send := NoHeader, NoHeader
		if in {
			accept = AnyHeader
		}
		if out {
			send = HeaderV1
		}
		w.build(sim.Options{
			Seed: seed, Faults: faults, ReceiveBytes: 1 << (6 + r.IntN(9)), SendBytes: 1 << (6 + r.IntN(9)),
		}, TCPOptions{
			Idle: Unlimited, BufferBytes: int64(1 << r.IntN(17)), PipeBytes: pipe, Accept: accept, Send: send,
			HeaderTime: 100 * time.Hour,
		}, 1000, links)
		sessions := 1 + r.IntN(20)
		up, down := r.IntN(1<<r.IntN(16)), r.IntN(1<<r.IntN(16))
		first := r.IntN(3)
		end := func(send, want, side int) *talker {
			c := &talker{w: w, send: send, want: want, slow: r.IntN(4) == 0}
			c.early, c.late = first != side, first == side && r.IntN(2) == 0
			if quits && want > 0 && r.IntN(4) == 0 {
				c.quit = 1 + r.IntN(want)
			}
			w.left++
			return c
		}
		w.kernel.Reach(farAt, func() sim.Client {
			c := end(down, up, 1)
			c.headed = out
			return c
		})
		for range sessions {
			c := end(up, down, 2)
			if in {
				c.header = "PROXY TCP4 192.0.2.7 192.0.2.8 5100 443\r\n"
			}
			w.kernel.After(time.Duration(r.IntN(20e6)), func() { w.kernel.Dial(w.front, c) })
		}
		w.run(sessions)
	})
}

// breaker sends a stream, and breaks off when the proxy must have received it.
type breaker struct {
	talker
	broken bool
}

func (c *breaker) Step(p *sim.Peer) {
	if c.broken {
		return
	}
	if c.sent < c.send {
		n, _ := p.Write(streamed[c.sent:c.send])
		c.sent += n
	} else if p.Now() > 100*time.Millisecond {
		c.broken = true
		p.Reset()
		c.w.finished()
		return
	}
	p.After(time.Millisecond)
}

// sleeper begins to read late.
type sleeper struct{ talker }

func (c *sleeper) Step(p *sim.Peer) {
	if p.Now() < 200*time.Millisecond {
		p.After(200 * time.Millisecond)
		return
	}
	c.talker.Step(p)
}

// TestSimResetBehindBytes passes on what came before a reset, and then the reset.
func TestSimResetBehindBytes(t *testing.T) {
	overSeeds(t, func(w *world, seed uint64) {
		w.lossy = true
		w.build(sim.Options{Seed: seed, ReceiveBytes: 64, SendBytes: 64}, TCPOptions{PipeBytes: -1}, 10, 10)
		w.left = 2
		w.kernel.Reach(farAt, func() sim.Client { return &breaker{talker: talker{w: w, send: 700}} })
		reader := &sleeper{talker{w: w, send: 0, want: 701}}
		w.kernel.Dial(w.front, reader)
		w.run(1)
		if reader.got < 700-64-64 { // the reset discards what is in the buffers
			w.kernel.Fail("%d of 700 bytes came", reader.got)
		}
	})
}

// TestSimCrowd has ten thousand sessions at the same time, and all of them silent for a while.
func TestSimCrowd(t *testing.T) {
	const sessions = 10_000
	w := &world{rand: rand.New(rand.NewPCG(1, 11))}
	w.build(sim.Options{Seed: 1, Descriptors: 3 * sessions, ReceiveBytes: 4096, SendBytes: 4096},
		TCPOptions{Idle: Unlimited}, 3*sessions, sessions)
	w.kernel.Reach(farAt, func() sim.Client {
		w.left++
		return &crowded{talker{w: w, send: 300, want: 200, late: true}}
	})
	for i := range sessions {
		w.left++
		c := &crowded{talker: talker{w: w, send: 200, want: 300, early: true}}
		w.kernel.After(time.Duration(i)*time.Microsecond, func() { w.kernel.Dial(w.front, c) })
	}
	w.kernel.After(time.Second-time.Millisecond, func() {
		if n := w.tcp.Counts()[Open]; n != sessions {
			w.kernel.Fail("%d sessions are open", n)
		}
		if n := w.pool.Lent(); n != 0 {
			w.kernel.Fail("silent sessions hold %d blocks", n)
		}
	})
	w.run(sessions)
	if err := w.kernel.Err(); err != nil {
		t.Fatal(err)
	}
}

// crowded is a talker that is silent for its first second.
type crowded struct{ talker }

func (c *crowded) Step(p *sim.Peer) {
	if p.Now() < time.Second {
		p.After(time.Second - p.Now())
		return
	}
	c.talker.Step(p)
}
