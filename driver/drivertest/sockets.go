package drivertest

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// pair is a connected pair: one end is the driver's, the other the test's.
func pair(r *rig) (near, far int) {
	r.Helper()
	a, b, err := sys.SocketPair(sys.Stream)
	r.must(err)
	return r.adopt(a), r.mine(b, nil)
}

// pairs is n of them.
func pairs(r *rig, n int) (near, far []int) {
	r.Helper()
	for range n {
		a, b := pair(r)
		near, far = append(near, a), append(far, b)
	}
	return near, far
}

// tcpPair is a connected pair over TCP.
func tcpPair(r *rig) (near, far int) {
	r.Helper()
	n, f := accepted(tcpListener)(r, 1)
	return n[0], f[0]
}

// listener is a socket of the driver and how to reach it.
type listener struct {
	id     int
	addr   []byte
	family int
}

func tcpListener(r *rig) listener {
	r.Helper()
	addr, family := sys.EncodeAddress(nil, netip.AddrPortFrom(loopback, 0))
	fd := r.listening(family, addr, 512)
	local, err := sys.LocalAddress(fd)
	r.must(err)
	addr, _ = sys.EncodeAddress(nil, local)
	return listener{id: r.adopt(fd), addr: addr, family: family}
}

func unixListener(r *rig) listener {
	r.Helper()
	addr, err := sys.EncodeUnix(fmt.Sprintf("@myriad-drivertest-%d-%d", sys.Gettid(), r.random.Uint64()))
	r.must(err)
	return listener{id: r.adopt(r.listening(sys.Unix, addr, 512)), addr: addr, family: sys.Unix}
}

func (r *rig) listening(family int, addr []byte, backlog int) int {
	r.Helper()
	fd, err := sys.Socket(family, sys.Stream, true)
	r.must(err)
	r.must(sys.Bind(fd, addr))
	r.must(sys.Listen(fd, backlog))
	return fd
}

// dial begins a connection from the test to a listener. The kernel completes it
// without an accept as long as the backlog has room.
func (r *rig) dial(l listener) int {
	r.Helper()
	fd := r.mine(sys.Socket(l.family, sys.Stream, true))
	if err := sys.Connect(fd, l.addr); err != nil && err != syscall.EINPROGRESS {
		r.Fatalf("dial: %v", err)
	}
	return fd
}

// accepted makes pairs by way of a listener. Which connection is which is told by
// a number that each far end sends first.
func accepted(listen func(*rig) listener) func(*rig, int) (near, far []int) {
	return func(r *rig, n int) ([]int, []int) {
		r.Helper()
		l := listen(r)
		accept := r.start(driver.Op{Code: driver.Accept, FD: l.id, Many: true})
		near, far := make([]int, n), make([]int, n)
		for i := range far {
			far[i] = r.dial(l)
			r.write(far[i], []byte{byte(i)})
		}
		for range n {
			id := r.next(accept).Result
			hello := r.start(driver.Op{Code: driver.Recv, FD: id})
			if c := r.finish(hello); c.Result != 1 {
				r.Fatalf("the first byte: %+v", c)
			}
			near[hello.data[0]] = id
		}
		r.must(r.d.Cancel(accept.token))
		if c := r.finish(accept); c.Err != driver.ErrCanceled {
			r.Fatalf("a cancelled accept completes with %v", c.Err)
		}
		r.close(l.id)
		return near, far
	}
}

// small makes the send buffer of one of the driver's descriptors as small as the
// kernel allows.
func (r *rig) small(id int) {
	r.Helper()
	fd, done, err := r.d.Descriptor(id)
	r.must(err)
	defer done()
	r.must(sys.SetOption(fd, sys.Option{Level: sys.LevelSocket, Name: sys.SendBuffer, Value: 1}))
}

// datagramSocket is bound to the loopback.
func (r *rig) datagramSocket() (int, netip.AddrPort) {
	r.Helper()
	addr, family := sys.EncodeAddress(nil, netip.AddrPortFrom(loopback, 0))
	fd, err := sys.Socket(family, sys.Datagram, true)
	r.must(err)
	r.must(sys.Bind(fd, addr))
	local, err := sys.LocalAddress(fd)
	r.must(err)
	return fd, local
}
