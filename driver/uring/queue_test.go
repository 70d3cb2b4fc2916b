package uring

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// A lazy send that the socket does not take whole is not silent, goes on, and completes when all is taken.
func TestLazyIntoFullSocket(t *testing.T) {
	r := newRig(t, driver.Options{}, 64, nil)
	near, far := r.pair()
	piece := bytes.Repeat([]byte("abc"), 100_000)
	tok := r.start(driver.Op{
		Code: driver.Send, FD: near, Buf: piece, Rest: [][]byte{piece[:1000], nil, piece[:7]}, Lazy: true,
	})
	other, otherFar := r.pair()
	for range 20 { // other completions are no reason to take it for a success
		recv := r.start(driver.Op{Code: driver.Recv, FD: other})
		if _, err := sys.Send(otherFar, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		r.finish(recv)
	}
	if done, early := r.final[tok]; early {
		t.Fatalf("%d bytes completed with nobody reading: %+v", len(piece), done)
	}
	got := 0
	r.until("all is taken", func() bool {
		got += r.drain(far)
		_, ok := r.final[tok]
		return ok
	})
	want := len(piece) + 1000 + 7
	if done := r.final[tok]; done.Err != nil || done.Result != want {
		t.Fatalf("%+v, want %d bytes", done, want)
	}
	if got += r.drain(far); got != want {
		t.Fatalf("%d bytes arrived, want %d", got, want)
	}
}

// More outcomes than the queue holds wait in the kernel; a failure among them must not be taken for the success of a
// silent send, and receives that the kernel ended for want of room go on.
func TestOverflow(t *testing.T) {
	r := newRig(t, driver.Options{}, 256, func(t *tuning) { t.submissions, t.outcomes = 4, 4 })
	const pairs = 40
	big := bytes.Repeat([]byte{'.'}, 400_000)
	far := make([]int, pairs)
	recv, send := make([]driver.Token, pairs), make([]driver.Token, pairs)
	for i := range far {
		var near int
		near, far[i] = r.pair()
		if _, err := sys.Send(far[i], []byte("ping"), 0); err != nil {
			t.Fatal(err)
		}
		recv[i] = r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
		send[i] = r.start(driver.Op{Code: driver.Send, FD: near, Buf: big, Lazy: true})
	}
	r.until("everybody is heard", func() bool {
		for _, tok := range recv {
			if r.total[tok] != 4 {
				return false
			}
		}
		return true
	})
	for i, tok := range send {
		if done, early := r.final[tok]; early {
			t.Fatalf("send %d completed with nobody reading: %+v", i, done)
		}
	}
	for i, tok := range send {
		got := 0
		r.until("the far end has all", func() bool { got += r.drain(far[i]); return got == len(big) })
		if done := r.finish(tok); done.Err != nil || done.Result != len(big) {
			t.Fatalf("%+v", done)
		}
		if _, err := sys.Send(far[i], []byte("pong"), 0); err != nil {
			t.Fatal(err)
		}
		r.until("the receive goes on", func() bool { return r.total[recv[i]] == 8 })
	}
}

// The offer of blocks follows what the turns use, and while the pool has blocks nobody is told that it has none.
func TestOfferFollowsUse(t *testing.T) {
	r := newRig(t, driver.Options{}, 4096, nil)
	const pairs = 400
	far := make([]int, pairs)
	total := 0
	for i := range far {
		var near int
		near, far[i] = r.pair()
		r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
	}
	r.turn(0)
	if n := r.main.supply.want; n != supplyFirst {
		t.Fatalf("%d blocks are on offer at first, want %d", n, supplyFirst)
	}
	burst := func(ends []int) {
		for _, fd := range ends {
			if _, err := sys.Send(fd, []byte("x"), 0); err != nil {
				t.Fatal(err)
			}
		}
		for before := total; total < before+len(ends); {
			r.turn(time.Second)
			for _, c := range r.came {
				if c.Err != nil || c.Flags&driver.More == 0 {
					t.Fatalf("%+v", c)
				}
				total += c.Result
			}
		}
	}
	r.main.supply.want = 1
	for range 10 {
		burst(far)
	}
	if n := r.main.supply.want; n < 8 {
		t.Errorf("after bursts of %d only %d blocks are on offer", pairs, n)
	}
	r.main.supply.want = 1024
	for range 8 * supplyReview {
		burst(far[:1])
	}
	if n := r.main.supply.want; n != supplyFirst {
		t.Errorf("after much quiet %d blocks are on offer, want %d", n, supplyFirst)
	}
}

// Waits are hidden from the scheduler only while something comes, and only if that leaves a processor to others.
func TestBriefWaits(t *testing.T) {
	r := newRig(t, driver.Options{}, 64, nil)
	near, far := r.pair()
	recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
	for _, processors := range []int{1, 2} {
		before := runtime.GOMAXPROCS(processors)
		for range 3 {
			want := r.total[recv] + 1
			if _, err := sys.Send(far, []byte("x"), 0); err != nil {
				t.Fatal(err)
			}
			r.until("it is heard", func() bool { return r.total[recv] == want })
		}
		r.turn(time.Millisecond)
		if r.brisk != (processors > 1) {
			t.Errorf("with %d processors, waits after traffic are hidden: %v", processors, r.brisk)
		}
		r.turn(5 * r.tick)
		if r.brisk {
			t.Errorf("with %d processors, waits long after traffic are still hidden", processors)
		}
		runtime.GOMAXPROCS(before)
	}
}
