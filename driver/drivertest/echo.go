package drivertest

import (
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// echoing is one connection: the driver's end returns what it receives, the far
// end compares.
type echoing struct {
	id, far int
	recv    *flight
	send    *flight
	back    []byte // received and not yet sent
	want    []byte // what the far end sends in all
	sent    int
	seen    int
}

// echo sends random messages of random sizes over n connections at once and wants
// every byte back in its place. Each third connection receives one block at a time.
func echo(r *rig, n int, connect func(*rig, int) (near, far []int)) {
	near, far := connect(r, n)
	all := make([]*echoing, n)
	for i := range all {
		all[i] = &echoing{id: near[i], far: far[i], want: r.bytes(1 + r.random.IntN(96<<10))}
		if i%4 == 1 {
			r.small(near[i])
		}
	}
	room := make([]byte, 64<<10)
	r.until("every byte has come back", func() bool {
		left := 0
		for i, c := range all {
			r.echoNear(c, i%3 != 0)
			r.echoFar(c, room)
			left += len(c.want) - c.seen
		}
		return left == 0
	})
}

// echoNear works the driver's end.
func (r *rig) echoNear(c *echoing, many bool) {
	if c.recv == nil || c.recv.over {
		if c.recv != nil {
			if c.recv.last.Err != nil && c.recv.last.Err != driver.ErrNoBlock {
				r.Fatalf("receive: %v", c.recv.last.Err)
			}
			c.back = append(c.back, c.recv.data...)
		}
		c.recv = r.start(driver.Op{Code: driver.Recv, FD: c.id, Many: many})
	}
	c.back = append(c.back, c.recv.data...)
	c.recv.data = c.recv.data[:0]
	if c.send != nil && c.send.over {
		if c.send.last.Err != nil || c.send.total != len(c.send.op.Buf) {
			r.Fatalf("send of %d bytes: %+v", len(c.send.op.Buf), c.send.last)
		}
		c.send = nil
	}
	if c.send == nil && len(c.back) > 0 {
		c.send = r.start(driver.Op{Code: driver.Send, FD: c.id, Buf: c.back, Lazy: r.random.IntN(2) == 0})
		c.back = nil
	}
}

// echoFar works the test's end: it writes a piece now and then, and reads less
// than there is now and then.
func (r *rig) echoFar(c *echoing, room []byte) {
	if c.sent < len(c.want) && r.random.IntN(3) > 0 {
		piece := c.want[c.sent:]
		n, err := sys.Send(c.far, piece[:min(len(piece), 1+r.random.IntN(9000))], 0)
		if err == nil {
			c.sent += n
		} else if err != syscall.EAGAIN {
			r.Fatalf("the far end sends: %v", err)
		}
	}
	n, err := sys.Recv(c.far, room[:1+r.random.IntN(len(room))], 0)
	if err == syscall.EAGAIN {
		return
	}
	if err != nil || n == 0 || c.seen+n > len(c.want) {
		r.Fatalf("the far end receives %d bytes after %d of %d: %v", n, c.seen, len(c.want), err)
	}
	r.same("echo", room[:n], c.want[c.seen:c.seen+n])
	c.seen += n
}

// fairness has one connection that never runs dry and another that says one word.
func fairness(r *rig) {
	busyNear, busyFar := pair(r)
	near, far := pair(r)
	busy := r.start(driver.Op{Code: driver.Recv, FD: busyNear, Many: true})
	word := r.start(driver.Op{Code: driver.Recv, FD: near})
	noise := r.bytes(64 << 10)
	feed := func() {
		for {
			if _, err := sys.Send(busyFar, noise, 0); err != nil {
				return
			}
		}
	}
	for range 20 {
		feed()
		r.turn(0)
	}
	r.write(far, []byte("word"))
	for turns := 0; !word.over; turns++ {
		if turns == 100 {
			r.Fatal("a connection that always has more starves the others")
		}
		feed()
		r.turn(0)
		busy.data, busy.results = nil, nil
	}
	if string(word.data) != "word" {
		r.Fatalf("received %q", word.data)
	}
}

// stale makes two descriptors ready, closes the second on the completion of the
// first, and uses its number for another connection.
func stale(r *rig) {
	for range 50 {
		oneNear, oneFar := pair(r)
		twoNear, twoFar := pair(r)
		one := r.start(driver.Op{Code: driver.Recv, FD: oneNear})
		two := r.start(driver.Op{Code: driver.Recv, FD: twoNear})
		r.write(oneFar, []byte("one"))
		r.must(second(sys.Send(twoFar, []byte("two"), 0)))
		r.until("either has received", func() bool { return one.over || two.over })
		if one.over {
			one, two = two, one
			oneNear, twoNear, oneFar, twoFar = twoNear, oneNear, twoFar, oneFar
		}
		// Now two has completed; one may be on its way.
		r.must(r.d.Cancel(one.token))
		r.finish(one)
		r.close(oneNear)
		r.drop(oneFar)
		near, far := pair(r)
		fresh := r.start(driver.Op{Code: driver.Recv, FD: near})
		r.silent(fresh)
		r.write(far, []byte("three"))
		if r.finish(fresh); string(fresh.data) != "three" {
			r.Fatalf("a new connection receives %q", fresh.data)
		}
		r.close(near)
		r.close(twoNear)
		r.drop(far)
		r.drop(twoFar)
	}
}

// second drops a count.
func second(_ int, err error) error { return err }

// reuse opens and closes so that descriptor numbers and slots come again.
func reuse(r *rig) {
	for i := range 300 {
		near, far := pair(r)
		recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
		want := []byte{byte(i), byte(i >> 8), 7}
		r.must(second(sys.Send(far, want, 0)))
		r.until("the bytes have come", func() bool { return len(recv.data) == len(want) })
		r.same("received", recv.data, want)
		if i%2 == 0 {
			r.drop(far)
			if c := r.finish(recv); c.Err != nil || c.Result != 0 {
				r.Fatalf("the end: %+v", c)
			}
			r.close(near)
			continue
		}
		r.must(r.d.Cancel(recv.token))
		if c := r.finish(recv); c.Err != driver.ErrCanceled {
			r.Fatalf("cancelled: %+v", c)
		}
		r.close(near)
		r.drop(far)
	}
}

// foreign is a descriptor that was never adopted, and one that was closed.
func foreign(r *rig) {
	near, _ := pair(r)
	r.close(near)
	for _, op := range []driver.Op{
		{Code: driver.Recv, FD: near},
		{Code: driver.Recv, FD: -1},
		{Code: driver.Recv, FD: 1 << 30},
		{Code: driver.Send, FD: near, Buf: []byte("x")},
	} {
		f, err := r.try(op)
		if err != nil {
			continue // refusing it is as good
		}
		if c := r.finish(f); c.Err == nil {
			r.Fatalf("%+v succeeds", op)
		}
	}
	if _, err := r.try(driver.Op{Code: driver.Nothing}); err == nil {
		r.Fatal("the operation Nothing is accepted")
	}
}

// closeInFlight closes the driver with operations in flight, blocks on their way
// and a connection that nobody was told of.
func closeInFlight(r *rig) {
	l := tcpListener(r)
	r.start(driver.Op{Code: driver.Accept, FD: l.id, Many: true})
	r.dial(l)
	near, far := pairs(r, 8)
	for i := range near {
		r.start(driver.Op{Code: driver.Recv, FD: near[i], Many: true})
		if i%2 == 0 {
			r.must(second(sys.Send(far[i], r.bytes(10000), 0)))
		} else {
			r.small(near[i])
			r.start(driver.Op{Code: driver.Send, FD: near[i], Buf: r.bytes(1 << 20)})
		}
	}
	n, err := r.d.Wait(r.room[:3], 10*time.Millisecond)
	r.must(err)
	for _, c := range r.room[:n] {
		r.account(c)
	}
	ordinary := map[int]func(){}
	for id := range r.owned {
		fd, done, err := r.d.Descriptor(id)
		r.must(err)
		ordinary[fd] = done
	}
	for _, done := range ordinary {
		done()
	}
	r.must(r.d.Close())
	r.closed = true
	for fd := range ordinary {
		if r.owned[fd] { // otherwise it was a descriptor of the driver alone
			_ = sys.Close(fd)
		}
	}
	_ = r.d.Wake() // must do no harm
	if _, err := r.d.Submit(driver.Op{Code: driver.Recv, FD: near[0]}); err == nil {
		r.Error("a closed driver takes operations")
	}
}
