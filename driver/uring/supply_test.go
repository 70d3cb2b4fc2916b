package uring

import (
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// What is taken back from a ring can be given to others, and the ring goes on with what it has left.
func TestWithdrawnOffer(t *testing.T) {
	r := newRig(t, driver.Options{}, 1024, nil)
	const pairs = 100
	far, recv := make([]int, pairs), make([]driver.Token, pairs)
	for i := range far {
		var near int
		near, far[i] = r.pair()
		recv[i] = r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
	}
	for round := 1; round <= 20; round++ {
		r.main.supply.want = r.main.supply.most
		r.turn(0)
		lent := r.pool.Lent()
		if lent != r.main.supply.most {
			t.Fatalf("%d blocks are on offer, want %d", lent, r.main.supply.most)
		}
		r.reclaim()
		if n := r.pool.Lent(); n != supplyFirst || r.shares.offered != supplyFirst {
			t.Fatalf("%d blocks are left on offer, counted as %d, want %d", n, r.shares.offered, supplyFirst)
		}
		for i, fd := range far {
			if _, err := sys.Send(fd, []byte{byte(i)}, 0); err != nil {
				t.Fatal(err)
			}
		}
		for begun, heard := time.Now(), 0; heard < pairs; {
			n, err := r.Wait(r.dst, time.Millisecond)
			r.must(err)
			for _, c := range r.dst[:n] {
				if c.Err != nil || c.Result != 1 || recv[c.Block.Bytes()[0]] != c.Token {
					t.Fatalf("%+v", c)
				}
				c.Block.Release()
				heard++
			}
			if time.Since(begun) > 20*time.Second {
				t.Fatalf("%d of %d are heard", heard, pairs)
			}
		}
	}
}
