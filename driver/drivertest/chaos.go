package drivertest

import (
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// stream is a direction of a connection. What is at each place follows from the
// place, so that a byte which is lost, doubled or moved shows.
type stream struct{ written, read int }

func streamByte(at int) byte { return byte(at ^ at>>8*31) }

func streamBytes(at, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = streamByte(at + i)
	}
	return p
}

// check passes over bytes that have come.
func (s *stream) check(r *rig, p []byte) {
	r.Helper()
	for i, b := range p {
		if b != streamByte(s.read+i) {
			r.Fatalf("wrong byte at %d", s.read+i)
		}
	}
	s.read += len(p)
}

// chaotic is one connection with at most one operation in each direction.
type chaotic struct {
	near, far  int
	recv, send *flight
	in, out    stream // to the driver, from the driver
}

// chaos starts, cancels, closes, writes and reads at random. Whatever a cancelled
// operation had done must be told, and nothing else may have been done.
func chaos(r *rig) {
	all := make([]*chaotic, 12)
	for i := range all {
		all[i] = r.chaotic()
	}
	room := make([]byte, 32<<10)
	for range 6000 {
		c := all[r.random.IntN(len(all))]
		switch r.random.IntN(12) {
		case 0, 1:
			r.chaosReceive(c)
		case 2, 3:
			r.chaosSend(c)
		case 4:
			if c.recv != nil {
				r.must(r.d.Cancel(c.recv.token))
			}
		case 5:
			if c.send != nil {
				r.must(r.d.Cancel(c.send.token))
			}
		case 6, 7:
			n, err := sys.Send(c.far, streamBytes(c.in.written, 1+r.random.IntN(6000)), 0)
			r.chaosFar(n, err, &c.in.written)
		case 8, 9:
			n, err := sys.Recv(c.far, room[:1+r.random.IntN(len(room))], 0)
			taken := 0
			r.chaosFar(n, err, &taken)
			c.out.check(r, room[:taken])
		case 10:
			r.turn(time.Duration(r.random.IntN(2)) * 100 * time.Microsecond)
		case 11:
			if r.random.IntN(10) == 0 {
				r.chaosEnd(c, room)
				*c = *r.chaotic()
			}
		}
		r.chaosCollect(c)
	}
	for _, c := range all {
		r.chaosEnd(c, room)
	}
}

func (r *rig) chaotic() *chaotic {
	connect := pair
	if r.random.IntN(4) == 0 {
		connect = tcpPair
	}
	near, far := connect(r)
	if r.random.IntN(2) == 0 {
		r.small(near)
	}
	return &chaotic{near: near, far: far}
}

// chaosFar adds up what a call of the far end did.
func (r *rig) chaosFar(n int, err error, sum *int) {
	r.Helper()
	if err == nil {
		*sum += n
	} else if err != syscall.EAGAIN {
		r.Fatalf("the far end: %v", err)
	}
}

func (r *rig) chaosReceive(c *chaotic) {
	if c.recv == nil {
		c.recv = r.start(driver.Op{Code: driver.Recv, FD: c.near, Many: r.random.IntN(2) == 0})
	}
}

// chaosSend counts what is sent when it is over, because only then it is known.
func (r *rig) chaosSend(c *chaotic) {
	if c.send != nil {
		return
	}
	p := streamBytes(c.out.written, r.random.IntN(40_000))
	op := driver.Op{Code: driver.Send, FD: c.near, Buf: p, Lazy: r.random.IntN(2) == 0}
	if r.random.IntN(2) == 0 {
		cut := r.random.IntN(len(p) + 1)
		op.Buf, op.Rest = p[:cut], [][]byte{p[cut : (cut+len(p))/2], nil, p[(cut+len(p))/2:]}
	}
	c.send = r.start(op)
}

// chaosCollect takes what has come.
func (r *rig) chaosCollect(c *chaotic) {
	if f := c.recv; f != nil {
		c.in.check(r, f.data)
		f.data = f.data[:0]
		if f.over {
			if err := f.last.Err; err != nil && err != driver.ErrCanceled && err != driver.ErrNoBlock {
				r.Fatalf("receive: %v", err)
			}
			c.recv = nil
		}
	}
	if f := c.send; f != nil && f.over {
		if err := f.last.Err; err != nil && err != driver.ErrCanceled {
			r.Fatalf("send: %v", err)
		}
		c.out.written += f.total
		c.send = nil
	}
}

// chaosEnd wants every byte of both directions at its other end, and closes.
func (r *rig) chaosEnd(c *chaotic, room []byte) {
	r.until("a chaotic connection is at rest", func() bool {
		r.chaosCollect(c)
		n, err := sys.Recv(c.far, room, 0)
		taken := 0
		r.chaosFar(n, err, &taken)
		c.out.check(r, room[:taken])
		if c.in.read < c.in.written {
			r.chaosReceive(c)
		}
		return c.send == nil && c.out.read == c.out.written && c.in.read == c.in.written
	})
	if c.recv != nil {
		r.must(r.d.Cancel(c.recv.token))
		r.finish(c.recv)
		r.chaosCollect(c)
	}
	r.close(c.near)
	r.drop(c.far)
}
