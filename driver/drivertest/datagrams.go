package drivertest

import (
	"net/netip"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// many is a batch of datagrams in the form of SendMany, and what each receiver is to get.
type many struct {
	pairs [][]byte
	want  [][]string
}

// batchOf draws datagrams for several addresses: runs of one size, with shorter and empty ones between them.
func (r *rig) batchOf(n int, addresses [][]byte) *many {
	m := &many{want: make([][]string, len(addresses))}
	to, size := 0, 100
	for i := range n {
		switch r.random.IntN(4) {
		case 0:
			to = r.random.IntN(len(addresses))
		case 1:
			size = r.random.IntN(1200)
		}
		word := r.bytes(size)
		if len(word) > 0 {
			word[0] = byte(i)
		}
		m.pairs = append(m.pairs, word, addresses[to])
		m.want[to] = append(m.want[to], string(word))
	}
	return m
}

// datagramsAtOnce sends many with one operation, as UDP and as anything, and wants each where it belongs, in order.
func datagramsAtOnce(r *rig) {
	fd, _ := r.datagramSocket()
	id := r.adopt(fd)
	var far []int
	var addresses [][]byte
	for range 3 {
		fd, addr := r.datagramSocket()
		far = append(far, r.mine(fd, nil))
		raw, _ := sys.EncodeAddress(nil, addr)
		addresses = append(addresses, raw)
	}
	for round := range 60 {
		m := r.batchOf(1+r.random.IntN(sys.DatagramsMost), addresses)
		op := driver.Op{Code: driver.SendMany, FD: id, Rest: m.pairs, Len: round % 2}
		if n := r.ok(op); n != len(m.pairs)/2 {
			r.Fatalf("%d of %d datagrams were taken", n, len(m.pairs)/2)
		}
		for i, words := range m.want {
			r.expect(far[i], words)
		}
	}
}

// expect receives datagrams in their order.
func (r *rig) expect(fd int, words []string) {
	r.Helper()
	room := make([]byte, 4096)
	for _, word := range words {
		n, err := sys.Recv(fd, room, 0)
		r.must(err)
		r.same("a datagram of many", room[:n], []byte(word))
	}
	if n, err := sys.Recv(fd, room, 0); err == nil {
		r.Fatalf("one more datagram, of %d bytes", n)
	}
}

// datagramsAtOnceConnected sends to the peer of a connected socket, and then to a peer that is not there any more.
func datagramsAtOnceConnected(r *rig) {
	near, _ := r.datagramSocket()
	far, farAddr := r.datagramSocket()
	raw, _ := sys.EncodeAddress(nil, farAddr)
	r.must(sys.Connect(near, raw))
	id := r.adopt(near)
	m := r.batchOf(40, [][]byte{nil})
	r.ok(driver.Op{Code: driver.SendMany, FD: id, Rest: m.pairs, Len: 1})
	r.expect(far, m.want[0])
	r.must(sys.Close(far))
	// Nothing is taken behind the error of an earlier one, and nothing is lost of the count.
	taken := 0
	for range 4 * len(m.pairs) {
		c := r.do(driver.Op{Code: driver.SendMany, FD: id, Rest: m.pairs[2*taken:], Len: 1})
		if taken += c.Result; c.Err == nil {
			break
		}
	}
	if taken != len(m.pairs)/2 {
		r.Fatalf("%d of %d datagrams to nobody were taken", taken, len(m.pairs)/2)
	}
	// One that is too long for any datagram has the others before it sent.
	other, addr := r.datagramSocket()
	r.mine(other, nil)
	raw, _ = sys.EncodeAddress(nil, addr)
	fd, _ := r.datagramSocket()
	id = r.adopt(fd)
	pairs := [][]byte{[]byte("one"), raw, []byte("two"), raw, make([]byte, 70_000), raw, []byte("three"), raw}
	if c := r.do(driver.Op{Code: driver.SendMany, FD: id, Rest: pairs, Len: 1}); c.Err == nil || c.Result != 2 {
		r.Fatalf("behind two datagrams is one that is too long: %+v", c)
	}
	r.expect(other, []string{"one", "two"})
}

// datagramsAtOnceSlowly sends to a reader whose queue is full: no datagram is sent twice or left out, and one that
// waits can be cancelled.
func datagramsAtOnceSlowly(r *rig) {
	a, far, err := sys.SocketPair(sys.Datagram)
	r.must(err)
	near := r.adopt(a)
	r.small(near)
	r.mine(far, nil)
	for _, give := range []bool{false, true} {
		m := &many{}
		for i := range 500 {
			word := r.bytes(500)
			word[0], word[1] = byte(i), byte(i>>8)
			m.pairs = append(m.pairs, word, nil)
		}
		send := r.start(driver.Op{Code: driver.SendMany, FD: near, Rest: m.pairs})
		room, seen := make([]byte, 2000), 0
		read := func() bool {
			n, err := sys.Recv(far, room, 0)
			if err != nil {
				return false
			}
			r.same("a datagram of many", room[:n], m.pairs[2*seen])
			seen++
			return true
		}
		for range 3 {
			r.turn(0)
		}
		if send.over {
			r.Fatalf("no queue was ever full: %+v", send.last)
		}
		if give {
			read()
			if r.must(r.d.Cancel(send.token)); r.finish(send).Err != driver.ErrCanceled {
				r.Fatalf("cancelled: %+v", send.last)
			}
		}
		r.until("all datagrams are sent", func() bool { return send.over || read() && send.over })
		for read() {
			continue
		}
		if seen != send.last.Result || !give && seen != 500 {
			r.Fatalf("%d datagrams came, %d were taken", seen, send.last.Result)
		}
	}
}

// datagramsGathered receives what several peers send many of at once, which the kernel may pass on as one message: each
// comes alone, in order, with its source, and none is lost while there are blocks.
func datagramsGathered(r *rig) {
	fd, local := r.datagramSocket()
	id := r.adopt(fd)
	target, _ := sys.EncodeAddress(nil, local)
	var far []int
	number := map[netip.AddrPort]int{}
	for i := range 3 {
		fd, addr := r.datagramSocket()
		far = append(far, r.mine(fd, nil))
		number[addr] = i
	}
	batch := new(sys.DatagramBatch)
	recv := r.start(driver.Op{Code: driver.RecvFrom, FD: id, Many: true})
	for range 30 {
		want, total := make([][]string, len(far)), 0
		for i, fd := range far {
			m := r.batchOf(r.random.IntN(30), [][]byte{target})
			n, err := batch.Send(fd, m.pairs, r.random.IntN(2) == 0)
			r.must(err)
			want[i] = m.want[0]
			total += n
		}
		at, seen := len(recv.data), len(recv.sizes)
		r.until("all have come", func() bool {
			if recv.over {
				r.Fatalf("the receive has ended: %+v", recv.last)
			}
			return len(recv.sizes) == seen+total
		})
		for k := seen; k < len(recv.sizes); k++ {
			i, ok := number[recv.peers[k]]
			if !ok || len(want[i]) == 0 {
				r.Fatalf("a datagram of %v, which has sent no more", recv.peers[k])
			}
			r.same("a datagram of many", recv.data[at:at+recv.sizes[k]], []byte(want[i][0]))
			want[i], at = want[i][1:], at+recv.sizes[k]
		}
	}
}
