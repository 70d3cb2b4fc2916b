package uring

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// TestSettle has connections made elsewhere settle among those that are accepted, in tables that fill up. They work,
// and are parted with again.
func TestSettle(t *testing.T) {
	const n = 100
	c := newCrowd(t, func(t *tuning) { t.ringsMost = 3 })
	c.grow(30, 30)
	settled := 0
	var near, far []int
	for i := range n {
		if i%40 == 0 {
			c.turn(0) // in between the small queue of outcomes runs over
		}
		a, b, err := sys.SocketPair(sys.Stream)
		c.must(err)
		fd, err := c.Settle(a)
		c.must(err)
		if isDirect(fd) {
			settled++
		}
		if c.near[fd] {
			t.Fatalf("%#x is given a second time", fd)
		}
		near, far = append(near, fd), append(far, b)
	}
	if settled == 0 || settled == n {
		t.Errorf("%d of %d are direct, in %d small tables", settled, n, len(c.rings))
	}
	c.grow(30, 60) // accepts go on beside them
	for i, fd := range near {
		_, err := sys.Send(far[i], make([]byte, i+1), 0)
		c.must(err)
		if done := c.finish(c.start(driver.Op{Code: driver.Recv, FD: fd})); done.Err != nil || done.Result != i+1 {
			t.Fatalf("%d bytes were sent: %+v", i+1, done)
		}
	}
	free := func() (all int) {
		for _, r := range c.rings {
			all += r.free
		}
		return all
	}
	before := free()
	for i, fd := range near {
		c.turn(0)
		own, err := c.Part(fd)
		c.must(err)
		_, err = sys.Send(own, make([]byte, i+1), 0)
		c.must(err)
		if got := c.drain(far[i]); got != i+1 {
			t.Fatalf("%d bytes came of %d", got, i+1)
		}
		_, _ = sys.Close(own), sys.Close(far[i])
	}
	c.until("the slots are free again", func() bool { return free() >= before+settled })
}
