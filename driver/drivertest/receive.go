package drivertest

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

func receiveOnce(r *rig) {
	near, far := pair(r)
	recv := r.start(driver.Op{Code: driver.Recv, FD: near})
	r.silent(recv)
	r.write(far, []byte("hello"))
	if c := r.finish(recv); c.Err != nil || string(recv.data) != "hello" {
		r.Fatalf("received %q: %+v", recv.data, c)
	}
	r.write(far, []byte("again"))
	recv = r.start(driver.Op{Code: driver.Recv, FD: near}) // the bytes are there first
	if c := r.finish(recv); c.Err != nil || string(recv.data) != "again" {
		r.Fatalf("received %q: %+v", recv.data, c)
	}
}

// receivePortion has many completions end when so many bytes have come, or sooner, and none of the bytes behind lost.
func receivePortion(r *rig) {
	size := r.options.Blocks.BlockSize()
	for _, portion := range []int{1, 100, size, 4 * size} {
		near, far := tcpPair(r)
		want := r.bytes(5*portion + 1)
		sent := 0
		var got []byte
		for end := false; !end; {
			recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true, Len: portion})
			if sent < 2*portion && portion > 1 { // a portion is of bytes, not of completions
				r.write(far, want[sent:sent+portion/2])
				r.until("half a portion", func() bool { return recv.over || len(recv.data) == portion/2 })
				r.write(far, want[sent+portion/2:sent+portion])
				sent += portion
			} else if sent < len(want) {
				r.write(far, want[sent:])
				r.drop(far)
				sent = len(want)
			}
			c := r.finish(recv)
			if c.Err != nil || len(recv.data) >= portion+size {
				r.Fatalf("%d bytes of a portion of %d: %+v", len(recv.data), portion, c)
			}
			got = append(got, recv.data...)
			end = c.Result == 0
		}
		r.same("received", got, want)
		r.close(near)
	}
}

// receiveEnd has the end come with the last bytes, after them and before the
// operation, over both kinds of stream.
func receiveEnd(r *rig) {
	for _, connect := range []func(*rig) (int, int){pair, tcpPair} {
		for _, many := range []bool{true, false} {
			for _, early := range []bool{true, false} {
				near, far := connect(r)
				var recv *flight
				if !early {
					recv = r.start(driver.Op{Code: driver.Recv, FD: near, Many: many})
					r.silent(recv)
				}
				r.must(second(sys.Send(far, []byte("last words"), 0)))
				r.drop(far)
				if early {
					recv = r.start(driver.Op{Code: driver.Recv, FD: near, Many: many})
				}
				c := r.finish(recv)
				if !many {
					rest := r.start(driver.Op{Code: driver.Recv, FD: near})
					c = r.finish(rest)
				}
				if string(recv.data) != "last words" || c.Err != nil || c.Result != 0 {
					r.Fatalf("received %q, then %+v (many: %v, early: %v)", recv.data, c, many, early)
				}
				r.close(near)
			}
		}
	}
}

// receiveEndBehindBlock has the bytes fill a block exactly, or nearly, before the end.
func receiveEndBehindBlock(r *rig) {
	size := r.options.Blocks.BlockSize()
	for _, n := range []int{size - 1, size, size + 1, 20*size - 1, 20 * size, 20*size + 1} {
		for _, many := range []bool{true, false} {
			near, far := tcpPair(r)
			want := r.bytes(n)
			r.write(far, want)
			r.drop(far)
			var got []byte
			for {
				recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: many})
				c := r.finish(recv)
				got = append(got, recv.data...)
				if c.Err != nil {
					r.Fatalf("after %d of %d bytes: %v", len(got), n, c.Err)
				}
				if c.Result == 0 {
					break
				}
			}
			r.same("received", got, want)
			r.close(near)
		}
	}
}

// receiveUrgent has the kernel cut a read short at the urgent mark, so that a
// short read does not mean that nothing is left.
func receiveUrgent(r *rig) {
	for _, parked := range []bool{true, false} {
		near, far := tcpPair(r)
		recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
		if parked {
			r.silent(recv)
		}
		r.must(second(sys.Send(far, []byte("before "), 0)))
		r.must(second(sys.Send(far, []byte("!"), sys.MsgUrgent)))
		r.must(second(sys.Send(far, []byte("after"), 0)))
		r.until("all but the urgent byte has come", func() bool { return len(recv.data) >= len("before after") })
		if string(recv.data) != "before after" {
			r.Fatalf("received %q", recv.data)
		}
	}
}

// receiveCut has descriptors that the peer passes cut reads short.
func receiveCut(r *rig) {
	for _, parked := range []bool{true, false} {
		near, far := pair(r)
		recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
		if parked {
			r.silent(recv)
		}
		r.must(sys.SendDescriptor(far, []byte("one "), far))
		r.must(sys.SendDescriptor(far, []byte("two "), far))
		r.must(second(sys.Send(far, []byte("three"), 0)))
		r.until("all has come", func() bool { return len(recv.data) >= len("one two three") })
		if string(recv.data) != "one two three" {
			r.Fatalf("received %q", recv.data)
		}
	}
}

func receiveReset(r *rig) {
	for _, parked := range []bool{true, false} {
		near, far := tcpPair(r)
		var recv *flight
		if parked {
			recv = r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
			r.silent(recv)
		}
		r.must(sys.SetLinger(far, 0))
		r.drop(far)
		if !parked {
			recv = r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
		}
		if c := r.finish(recv); c.Err != syscall.ECONNRESET {
			r.Fatalf("after a reset: %+v", c)
		}
	}
}

// receiveResetBehind has the reset come right behind the last bytes, so that one hint may stand for both.
func receiveResetBehind(r *rig) {
	const bytes = 23
	for _, parked := range []bool{true, false} {
		var flights []*flight
		for range 32 {
			near, far := tcpPair(r)
			var recv *flight
			if parked {
				recv = r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
				r.turn(0)
			}
			r.must(second(sys.Send(far, make([]byte, bytes), 0)))
			r.must(sys.SetLinger(far, 0))
			r.drop(far)
			if !parked {
				recv = r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
			}
			flights = append(flights, recv)
		}
		for _, recv := range flights {
			if c := r.finish(recv); c.Err != syscall.ECONNRESET || len(recv.data) != bytes {
				r.Fatalf("after %d bytes of %d (parked: %v): %+v", len(recv.data), bytes, parked, c)
			}
		}
	}
}

// emptyPool keeps every block until there is none, and then goes on.
func emptyPool(r *rig) {
	near, far := pair(r)
	want := r.bytes(16 << 10)
	r.write(far, want)
	r.hold = true
	recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
	if c := r.finish(recv); c.Err != driver.ErrNoBlock {
		r.Fatalf("with no block left: %+v", c)
	}
	if n := len(recv.blocks); n == 0 || n > r.options.Blocks.Limit() {
		r.Fatalf("%d blocks of %d were filled", n, r.options.Blocks.Limit())
	}
	got := recv.data
	once := r.start(driver.Op{Code: driver.Recv, FD: near})
	if c := r.finish(once); c.Err != driver.ErrNoBlock {
		r.Fatalf("with no block left: %+v", c)
	}
	for _, b := range recv.blocks {
		b.Release()
	}
	r.hold = false
	for len(got) < len(want) {
		recv = r.start(driver.Op{Code: driver.Recv, FD: near})
		if c := r.finish(recv); c.Err != nil && c.Err != driver.ErrNoBlock {
			r.Fatalf("after the blocks came back: %+v", c)
		}
		got = append(got, recv.data...)
	}
	r.same("received", got, want)
}

// emptyPoolEnd has neither bytes nor blocks: what needs no block must not fail.
func emptyPoolEnd(r *rig) {
	fullNear, fullFar := pair(r)
	near, far := pair(r)
	r.write(fullFar, r.bytes(8<<10))
	r.hold = true
	full := r.start(driver.Op{Code: driver.Recv, FD: fullNear, Many: true})
	if c := r.finish(full); c.Err != driver.ErrNoBlock {
		r.Fatalf("with no block left: %+v", c)
	}
	recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
	r.silent(recv)
	r.drop(far)
	if c := r.finish(recv); c.Err != nil || c.Result != 0 {
		r.Fatalf("the end of a stream with no block left: %+v", c)
	}
	for _, b := range full.blocks {
		b.Release()
	}
	r.hold = false
}

// shutdown ends one direction only.
func shutdown(r *rig) {
	for _, connect := range []func(*rig) (int, int){pair, tcpPair} {
		near, far := connect(r)
		recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
		if n := r.ok(driver.Op{Code: driver.Send, FD: near, Buf: []byte("bye")}); n != 3 {
			r.Fatalf("%d bytes sent", n)
		}
		if n := r.ok(driver.Op{Code: driver.Shutdown, FD: near}); n != 0 {
			r.Fatalf("shutdown: %d", n)
		}
		if got := r.read(far, -1, 100); string(got) != "bye" {
			r.Fatalf("the far end received %q before the end", got)
		}
		r.write(far, []byte("one more thing"))
		r.until("the other direction works", func() bool { return string(recv.data) == "one more thing" })
		r.drop(far)
		if c := r.finish(recv); c.Err != nil || c.Result != 0 {
			r.Fatalf("the end: %+v", c)
		}
		if c := r.do(driver.Op{Code: driver.Send, FD: near, Buf: []byte("x")}); c.Err == nil {
			r.Fatal("a send after shutdown succeeds")
		}
	}
}
