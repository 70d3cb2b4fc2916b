package drivertest

import (
	"errors"
	"net/netip"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// part takes a descriptor out of the driver and brings it back, time and again. What comes while it is out is left
// alone, and found when it is back.
func part(r *rig) {
	addr, family := sys.EncodeAddress(nil, netip.AddrPortFrom(loopback, 0))
	listening := r.mine(r.listening(family, addr, 1), nil)
	local, err := sys.LocalAddress(listening)
	r.must(err)
	addr, _ = sys.EncodeAddress(nil, local)
	fd, err := sys.Socket(family, sys.Stream, true)
	r.must(err)
	near := r.adopt(fd) // made here, so that it is an ordinary one under every driver
	r.ok(driver.Op{Code: driver.Connect, FD: near, Addr: addr})
	far := r.mine(sys.Accept(listening))
	for range 5 {
		recv := r.start(driver.Op{Code: driver.Recv, FD: near, Many: true})
		word := r.bytes(100)
		r.write(far, word)
		r.until("the bytes have come", func() bool {
			if recv.over {
				r.Fatalf("the receive has ended: %+v", recv.last)
			}
			return len(recv.data) == len(word)
		})
		r.same("in the driver", recv.data, word)
		r.canceled(recv)
		fd, err := r.d.Part(near)
		r.must(err)
		delete(r.owned, near)
		r.write(far, word)
		for range 3 {
			if n := r.turn(1e6); n > 0 {
				r.Fatalf("%d completions, and nothing is in flight", n)
			}
		}
		r.same("out of the driver", r.read(fd, 10, 10), word[:10])
		r.must(second(sys.Send(fd, word, 0)))
		r.same("the far end", r.read(far, len(word), 100), word)
		near = r.adopt(fd)
		recv = r.start(driver.Op{Code: driver.Recv, FD: near})
		r.finish(recv)
		r.same("back in the driver", recv.data, word[10:])
	}
	r.close(near)
	if _, err := r.d.Part(near); r.d.Features()&driver.Completes == 0 && !errors.Is(err, syscall.EBADF) {
		r.Errorf("a descriptor that is closed was parted with: %v", err)
	}
}

// partAccepted takes what was accepted out of the driver, be it a descriptor of the process or not, and brings it back.
func partAccepted(r *rig) {
	l := tcpListener(r)
	for range 5 {
		far := r.dial(l)
		c := r.do(driver.Op{Code: driver.Accept, FD: l.id})
		r.must(c.Err)
		delete(r.owned, c.Result)
		fd, err := r.d.Part(c.Result)
		r.must(err)
		if n := r.turn(1e6); n > 0 {
			r.Fatalf("%d completions, and nothing is in flight", n)
		}
		r.must(second(sys.Send(fd, []byte("out"), 0)))
		r.same("the far end", r.read(far, 3, 10), []byte("out"))
		back := r.adopt(fd)
		r.greet(back, far)
		r.close(back)
	}
}
