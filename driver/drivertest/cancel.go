package drivertest

import (
	"net/netip"
	"slices"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// canceled cancels a flight, twice, and wants it to end once.
func (r *rig) canceled(f *flight) driver.Completion {
	r.Helper()
	r.must(r.d.Cancel(f.token))
	r.must(r.d.Cancel(f.token))
	c := r.finish(f)
	if c.Err != driver.ErrCanceled {
		r.Fatalf("cancelled: %+v", c)
	}
	return c
}

func cancelReads(r *rig) {
	l := tcpListener(r)
	near, far := pair(r)
	socket, _ := r.datagramSocket()
	datagram := r.adopt(socket)
	for _, many := range []bool{true, false} {
		for _, op := range []driver.Op{
			{Code: driver.Accept, FD: l.id, Many: many},
			{Code: driver.Recv, FD: near, Many: many},
			{Code: driver.RecvFrom, FD: datagram, Many: many},
		} {
			for _, parked := range []bool{true, false} {
				f := r.start(op)
				if parked {
					r.silent(f)
				}
				if c := r.canceled(f); c.Result != 0 || c.Block != nil {
					r.Fatalf("nothing was there to be read: %+v", c)
				}
			}
		}
	}
	r.greet(near, far)
	f := r.start(driver.Op{Code: driver.Accept, FD: l.id})
	r.greetAccepted(f, r.dial(l))
}

func (r *rig) greetAccepted(accept *flight, far int) {
	r.Helper()
	c := r.finish(accept)
	if c.Err != nil {
		r.Fatalf("accept: %v", c.Err)
	}
	r.greet(c.Result, far)
}

// cancelConnect needs a connect that takes for ever: to a listener whose queue is full.
func cancelConnect(r *rig) {
	addr, family := sys.EncodeAddress(nil, netip.AddrPortFrom(loopback, 0))
	listening := r.mine(r.listening(family, addr, 0), nil)
	local, err := sys.LocalAddress(listening)
	r.must(err)
	addr, _ = sys.EncodeAddress(nil, local)
	var waiting []*flight
	for range 4 {
		fd, err := sys.Socket(family, sys.Stream, true)
		r.must(err)
		waiting = append(waiting, r.start(driver.Op{Code: driver.Connect, FD: r.adopt(fd), Addr: addr}))
	}
	for range 5 {
		r.turn(2e6)
	}
	waiting = slices.DeleteFunc(waiting, func(f *flight) bool { return f.over })
	if len(waiting) == 0 {
		r.Fatal("every connect succeeds at once")
	}
	for _, f := range waiting {
		r.canceled(f)
	}
}

func cancelSend(r *rig) {
	near, far := pair(r)
	r.small(near)
	want := r.bytes(1 << 20)
	send := r.start(driver.Op{Code: driver.Send, FD: near, Buf: want})
	r.silent(send)
	c := r.canceled(send)
	if c.Result <= 0 || c.Result >= len(want) {
		r.Fatalf("a cancelled send that was partly done: %+v", c)
	}
	r.same("the far end", r.read(far, c.Result, 64<<10), want[:c.Result])
	r.greet(near, far)
	fd := r.file(want)
	file := r.start(driver.Op{Code: driver.SendFile, FD: near, From: fd, Len: len(want)})
	for range 5 {
		r.turn(2e6)
	}
	r.must(r.d.Cancel(file.token))
	r.finish(file)
	r.same("the far end", r.read(far, file.total, 64<<10), want[:file.total])
	r.greet(near, far)
}

// cancelRace cancels a receive whose bytes are on their way: they come with it, or
// with the next one.
func cancelRace(r *rig) {
	near, far := pair(r)
	for round := range 200 {
		recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: round%2 == 0})
		if r.random.IntN(2) == 0 {
			r.turn(0)
		}
		word := r.bytes(1 + r.random.IntN(2000))
		r.must(second(sys.Send(far, word, 0)))
		if r.random.IntN(2) == 0 {
			r.turn(0)
		}
		r.must(r.d.Cancel(recv.token))
		r.finish(recv)
		got := recv.data
		for len(got) < len(word) {
			rest := r.start(driver.Op{Code: driver.Recv, FD: near})
			if c := r.finish(rest); c.Err != nil {
				r.Fatalf("round %d: %v", round, c.Err)
			}
			got = append(got, rest.data...)
		}
		r.same("received", got, word)
	}
}

func cancelOver(r *rig) {
	near, far := pair(r)
	recv := r.start(driver.Op{Code: driver.Recv, FD: near})
	r.write(far, []byte("x"))
	r.finish(recv)
	r.must(r.d.Cancel(recv.token))
	r.must(r.d.Cancel(0))
	next := r.start(driver.Op{Code: driver.Recv, FD: near}) // perhaps in the same slot
	r.must(r.d.Cancel(recv.token))
	r.silent(next)
	r.write(far, []byte("y"))
	if c := r.finish(next); c.Err != nil || string(next.data) != "y" {
		r.Fatalf("a cancelled predecessor takes its successor along: %+v", c)
	}
}

// closeAfterCancel wants what was cancelled to be over no later than Close is.
func closeAfterCancel(r *rig) {
	for round := range 50 {
		near, far := pair(r)
		r.small(near)
		recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
		send := r.start(driver.Op{Code: driver.Send, FD: near, Buf: r.bytes(300_000)})
		if round%2 == 0 {
			r.turn(0)
		}
		if round%3 == 0 {
			r.must(second(sys.Send(far, []byte("late"), 0)))
		}
		r.must(r.d.Cancel(recv.token))
		r.must(r.d.Cancel(send.token))
		closing := r.start(driver.Op{Code: driver.Close, FD: near})
		if c := r.finish(closing); c.Err != nil || c.Result != 0 {
			r.Fatalf("close: %+v", c)
		}
		if !recv.over || !send.over || recv.order > closing.order || send.order > closing.order {
			r.Fatalf("close is over before what was cancelled: %v %v", recv.over, send.over)
		}
		r.drop(far)
	}
}
