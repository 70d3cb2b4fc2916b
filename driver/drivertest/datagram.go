package drivertest

import (
	"fmt"
	"net/netip"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// datagrams echoes those of several peers, each to where it came from.
func datagrams(r *rig, socket func(*rig) (fd int, at netip.AddrPort)) {
	const peers, each = 7, 20
	fd, local := socket(r)
	id := r.adopt(fd)
	target, _ := sys.EncodeAddress(nil, local)
	far := map[netip.AddrPort]int{}
	for range peers {
		fd, addr := socket(r)
		far[addr] = r.mine(fd, nil)
	}
	for _, many := range []bool{true, false} {
		for range each {
			recv := r.start(driver.Op{Code: driver.RecvFrom, FD: id, Many: many})
			want := map[netip.AddrPort]string{}
			for addr, fd := range far {
				word := r.bytes(r.random.IntN(1400)) // sometimes none
				want[addr] = string(word)
				r.must(second(sys.SendTo(fd, word, target)))
			}
			flights := []*flight{recv}
			r.until("every datagram has come", func() bool {
				n := 0
				for _, f := range flights {
					n += len(f.peers)
				}
				if last := flights[len(flights)-1]; n < peers && last.over {
					if last.last.Err != nil {
						r.Fatalf("receive: %v", last.last.Err)
					}
					flights = append(flights, r.start(driver.Op{Code: driver.RecvFrom, FD: id, Many: many}))
				}
				return n == peers
			})
			for _, f := range flights {
				r.answer(id, f, want, far)
			}
			if len(want) > 0 {
				r.Fatalf("no datagram from %v", want)
			}
			if many {
				r.canceled(recv)
			}
		}
	}
}

// answer checks the datagrams of a flight and sends them back.
func (r *rig) answer(id int, f *flight, want map[netip.AddrPort]string, far map[netip.AddrPort]int) {
	r.Helper()
	at := 0
	for i, peer := range f.peers {
		word := f.data[at : at+f.sizes[i]]
		at += f.sizes[i]
		expected, ok := want[peer]
		if !ok {
			r.Fatalf("a datagram of %v, which sent none", peer)
		}
		r.same("datagram", word, []byte(expected))
		delete(want, peer)
		addr, _ := sys.EncodeAddress(nil, peer)
		if n := r.ok(driver.Op{Code: driver.SendTo, FD: id, Buf: word, Addr: addr}); n != len(word) {
			r.Fatalf("%d of %d bytes", n, len(word))
		}
		room := make([]byte, 2000)
		n, err := sys.Recv(far[peer], room, 0)
		r.must(err)
		r.same("answer", room[:n], word)
	}
}

func datagramsConnected(r *rig) {
	near, nearAddr := r.datagramSocket()
	far, farAddr := r.datagramSocket()
	r.mine(far, nil)
	raw, _ := sys.EncodeAddress(nil, farAddr)
	r.must(sys.Connect(near, raw))
	id := r.adopt(near)
	recv := r.start(driver.Op{Code: driver.RecvFrom, FD: id, Many: true})
	for range 10 {
		word := r.bytes(100)
		r.ok(driver.Op{Code: driver.SendTo, FD: id, Buf: word})
		room := make([]byte, 2000)
		n, err := sys.Recv(far, room, 0)
		r.must(err)
		r.same("the far end", room[:n], word)
		raw, _ := sys.EncodeAddress(nil, nearAddr)
		// Two at once: a datagram that does not fill its block is not the last one.
		r.must(second(sys.SendTo(far, word, raw)))
		r.must(second(sys.SendTo(far, word, raw)))
		recv.data = nil
		r.until("both have come", func() bool { return len(recv.data) == 2*len(word) })
	}
	// The same for an operation that does not know of datagrams.
	r.canceled(recv)
	plain := r.start(driver.Op{Code: driver.Recv, FD: id, Many: true})
	raw, _ = sys.EncodeAddress(nil, nearAddr)
	for range 3 {
		plain.data = nil
		for range 3 {
			r.must(second(sys.SendTo(far, []byte("12345"), raw)))
		}
		r.until("all three have come", func() bool { return len(plain.data) == 15 })
	}
}

// datagramsSlowly sends to a peer whose queue is full, or with a send buffer that
// is: the kernel must be asked again when the peer has read.
func datagramsSlowly(r *rig) {
	a, far, err := sys.SocketPair(sys.Datagram)
	r.must(err)
	near := r.adopt(a)
	r.small(near)
	r.slowDatagrams(near, r.mine(far, nil))
	// A socket that is not connected back has a short queue of its own.
	addr, err := sys.EncodeUnix(fmt.Sprintf("@myriad-drivertest-%d-%d", sys.Gettid(), r.random.Uint64()))
	r.must(err)
	far = r.mine(sys.Socket(sys.Unix, sys.Datagram, true))
	r.must(sys.Bind(far, addr))
	a, err = sys.Socket(sys.Unix, sys.Datagram, true)
	r.must(err)
	r.must(sys.Connect(a, addr))
	r.slowDatagrams(r.adopt(a), far)
}

func (r *rig) slowDatagrams(near, far int) {
	r.Helper()
	const count = 200
	room, word := make([]byte, 2000), r.bytes(1000)
	seen, parked := 0, 0
	read := func() bool {
		n, err := sys.Recv(far, room, 0)
		if err != nil {
			return false
		}
		r.same("datagram", room[1:n], word[1:])
		if room[0] != byte(seen) {
			r.Fatalf("datagram %d in the place of %d", room[0], seen)
		}
		seen++
		return true
	}
	for i := range count {
		word[0] = byte(i)
		send := r.start(driver.Op{Code: driver.SendTo, FD: near, Buf: word})
		for range 3 {
			r.turn(0)
		}
		if !send.over {
			parked++
			// One that is read makes room, but the kernel may want more of it
			// before it calls the socket writable.
			r.until("a datagram is sent", func() bool { return send.over || read() && send.over })
		}
		if c := r.finish(send); c.Err != nil || c.Result != len(word) {
			r.Fatalf("datagram %d: %+v", i, c)
		}
	}
	if parked == 0 {
		r.Error("no queue was ever full")
	}
	r.until("all datagrams are read", func() bool { return seen == count || read() && seen == count })
}
