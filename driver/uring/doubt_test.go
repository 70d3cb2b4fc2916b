package uring

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// doubtRig is a driver with connections over TCP, each with a receive that waits.
type doubtRig struct {
	*rig
	near, far []int
	recv      []driver.Token
	got       [][]byte
}

func newDoubtRig(t *testing.T, direct bool, n int) *doubtRig {
	r := &doubtRig{rig: newRig(t, driver.Options{Direct: direct}, 1024, nil)}
	accept := r.start(driver.Op{Code: driver.Accept, FD: r.listen(), Many: true})
	for range n {
		r.far = append(r.far, r.dial())
		r.until("a connection", func() bool {
			for _, c := range r.came {
				if c.Token == accept {
					r.near = append(r.near, c.Result)
				}
			}
			r.came = r.came[:0]
			return len(r.near) == len(r.far)
		})
	}
	for _, fd := range r.near {
		r.recv = append(r.recv, r.start(driver.Op{Code: driver.Recv, FD: fd, Many: true}))
	}
	r.turn(0)
	r.got = make([][]byte, n)
	return r
}

// age makes the doubts of now old.
func (r *doubtRig) age() { r.epoch = r.epoch.Add(-2 * time.Second) }

// hear waits until every receive has brought so many bytes in all, and keeps them.
func (r *doubtRig) hear(total int) {
	r.Helper()
	for begun := time.Now(); ; {
		n, err := r.Wait(r.dst, time.Millisecond)
		r.must(err)
		for _, c := range r.dst[:n] {
			i := slices.Index(r.recv, c.Token)
			if i < 0 || c.Err != nil || c.Block == nil || c.Flags != driver.More {
				r.Fatalf("%+v", c)
			}
			r.got[i] = append(r.got[i], c.Block.Bytes()[:c.Result]...)
			c.Block.Release()
		}
		missing := slices.IndexFunc(r.got, func(got []byte) bool { return len(got) < total })
		if missing < 0 {
			return
		}
		if time.Since(begun) > 20*time.Second {
			r.Fatalf("%d bytes of %d have come of receive %d", len(r.got[missing]), total, missing)
		}
	}
}

// say has every client send the bytes that follow the first ones of the test's stream.
func (r *doubtRig) say(from, to int) {
	r.Helper()
	for _, fd := range r.far {
		if _, err := sys.Send(fd, stream[from:to], 0); err != nil {
			r.Fatal(err)
		}
	}
}

var stream = func() []byte {
	p := make([]byte, 4096)
	for i := range p {
		p[i] = byte(i * 7 / 3)
	}
	return p
}()

// TestResetBehindData has every client send some bytes and reset the connection before the driver's thread runs again.
func TestResetBehindData(t *testing.T) {
	for _, direct := range []bool{false, true} {
		r := newDoubtRig(t, direct, 200)
		for i, fd := range r.far {
			if _, err := sys.Send(fd, stream[:1+i], 0); err != nil {
				t.Fatal(err)
			}
			r.must(sys.SetLinger(fd, 0))
			r.must(sys.Close(fd))
		}
		for i, tok := range r.recv {
			if done := r.finish(tok); done.Err != syscall.ECONNRESET || r.total[tok] != 1+i {
				t.Fatalf("direct %v: after a reset behind %d bytes of %d: %+v", direct, r.total[tok], 1+i, done)
			}
		}
	}
}

// TestUnheardReset makes sure that the kernel does not tell of a reset: it happened to another socket, which then
// takes the descriptor's place.
func TestUnheardReset(t *testing.T) {
	r := newDoubtRig(t, false, 100)
	r.say(0, 3)
	r.hear(3)
	other := newDoubtRig(t, false, 1)
	r.must(sys.SetLinger(other.far[0], 0))
	r.must(sys.Close(other.far[0]))
	for i := 0; i < len(r.near); i += 2 {
		r.must(sys.Replace(r.near[i], other.near[0]))
	}
	begun := time.Now()
	for i, tok := range r.recv {
		if i%2 != 0 {
			continue
		}
		// The first of several to look takes the error; the others find the end.
		if done := r.finish(tok); done.Err != nil && done.Err != syscall.ECONNRESET {
			t.Fatalf("%+v", done)
		}
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	r.until("no doubt is left", r.doubts.empty)
	for i, tok := range r.recv {
		if _, over := r.final[tok]; over != (i%2 == 0) {
			t.Errorf("receive %d is over: %v", i, over)
		}
	}
}

// TestRenewedReceives has bytes come before, between and after the steps by which a receive is armed again.
func TestRenewedReceives(t *testing.T) {
	for _, direct := range []bool{false, true} {
		r := newDoubtRig(t, direct, 50)
		at := 0
		for round := range 60 {
			r.say(at, at+1)
			r.hear(at + 1)
			if r.age(); round%2 == 0 {
				r.hear(at + 1) // is found to be fresh, and is no longer
				r.age()
			}
			if round%3 == 0 {
				r.say(at+1, at+2)
			}
			for _, tok := range r.recv {
				if slot, e := r.ops.find(uint64(tok)); round%4 < 2 {
					r.renew(slot, e)
				}
			}
			if round%3 != 0 {
				r.say(at+1, at+2)
			}
			at += 2
			r.hear(at)
		}
		for _, got := range r.got {
			if !bytes.Equal(got, stream[:at]) {
				t.Fatalf("direct %v: %d other bytes than were sent", direct, len(got))
			}
		}
		r.say(at, at+1)
		for i, tok := range r.recv {
			slot, e := r.ops.find(uint64(tok))
			if i%2 == 0 {
				r.renew(slot, e)
				r.must(r.Cancel(tok))
			} else {
				r.must(r.Cancel(tok))
				r.renew(slot, e)
			}
			r.start(driver.Op{Code: driver.Close, FD: r.near[i]})
		}
		for _, tok := range r.recv {
			if done := r.finish(tok); done.Err != driver.ErrCanceled {
				t.Fatalf("direct %v: cancelled while it is armed again: %+v", direct, done)
			}
		}
		r.until("all is over but the accept", func() bool { return r.ops.used == 1 })
	}
}

// TestDoubtsPass has a server that nobody talks to any more look once, and then sleep.
func TestDoubtsPass(t *testing.T) {
	r := newDoubtRig(t, false, doubtLooks+10)
	r.say(0, 5)
	r.hear(5)
	if n := r.doubts.count(); n != len(r.recv) {
		t.Fatalf("%d receives of %d are in doubt", n, len(r.recv))
	}
	r.age()
	r.turn(0)
	if n := r.doubts.bound(-1); n <= 0 || n > doubtAge+doubtSlack {
		t.Errorf("the next look is in %d ns", n)
	}
	r.age()
	r.turn(0)
	if n := r.doubts.bound(-1); n != -1 || !r.doubts.empty() {
		t.Errorf("after the look the next is in %d ns, with %d items", n, r.doubts.count())
	}
	r.say(5, 6)
	r.hear(6)
}

// count is how many there are.
func (q *doubts) count() int {
	n := -q.head
	for piece := q.first; piece != nil; piece = piece.next {
		if piece == q.last {
			return n + q.tail
		}
		n += doubtRun
	}
	return 0
}

// TestDoubtsInOrder has a queue that grows and shrinks by chance give back what it was given, and keep no memory.
func TestDoubtsInOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	var q doubts
	put, got := uint64(0), uint64(0)
	for range 200 {
		for range random.IntN(3 * doubtRun) {
			q.push(put)
			put++
		}
		for range random.IntN(4 * doubtRun) {
			if q.empty() {
				break
			}
			if tok := q.pop(); tok != got {
				t.Fatalf("seed %d: %d came before %d", seed, tok, got)
			}
			got++
		}
		if n := q.count(); n != int(put-got) || q.empty() != (n == 0) {
			t.Fatalf("seed %d: %d in the queue, counted %d, empty: %v", seed, put-got, n, q.empty())
		}
	}
	if n := testing.AllocsPerRun(10, func() {
		for range doubtRun {
			q.push(put)
			q.pop()
		}
	}); n != 0 {
		t.Errorf("%v allocations in a queue that does not grow", n)
	}
}
