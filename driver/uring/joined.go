package uring

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// The kernel passes on as one message what came as several datagrams of one size and sender (UDP_GRO of udp(7)), which
// costs its way through the kernel and an outcome once and not for each. Such a message is longer than a block. It is
// received into one of some buffers beside the pool, and taken apart.

const (
	joinedGroup  = 1  // of the buffers; the pool's blocks are group 0
	joinedCount  = 16 // of the buffers
	joinedStride = (sys.RingMessageBytes + 4095) &^ 4095
	// joinedBlocks is the smallest pool for which the kernel is asked to join datagrams: a message may need 64 blocks.
	joinedBlocks = 128
)

// joins are the buffers of messages, and the descriptors whose datagrams come in them.
type joins struct {
	ring   *sys.BufferRing
	memory []byte
	on     map[int32]struct{}
}

func (j *joins) buffer(number uint16) []byte {
	return j.memory[int(number)*joinedStride:][:sys.RingMessageBytes]
}

// open makes the buffers; what is not used of them takes no memory.
func (j *joins) open(q *sys.Ring) error {
	memory, err := sys.Map(joinedCount * joinedStride)
	if err != nil {
		return err
	}
	ring, err := q.OpenBufferRing(joinedGroup, joinedCount)
	if err != nil {
		_ = sys.Unmap(memory)
		return err
	}
	*j = joins{ring: ring, memory: memory, on: map[int32]struct{}{}}
	for i := range uint16(joinedCount) {
		ring.Add(i, j.buffer(i))
	}
	ring.Publish()
	return nil
}

func (j *joins) close() {
	if j.ring != nil {
		j.ring.Close()
		_ = sys.Unmap(j.memory)
	}
}

// join asks the kernel to join the datagrams of a socket, if it is one of UDP.
func (d *uring) join(e *entry) {
	if d.pool.Limit() < joinedBlocks {
		return
	}
	if _, on := d.joins.on[e.fd]; !on {
		if sys.Gather(int(e.fd), true) != nil {
			return
		}
		if d.joins.ring == nil && d.joins.open(d.main.q) != nil {
			_ = sys.Gather(int(e.fd), false)
			return
		}
		d.joins.on[e.fd] = struct{}{}
	}
	e.marks |= joined
}

// separate ends that, before a socket is received from in another way, is parted with or closed.
func (d *uring) separate(fd int32) {
	if _, on := d.joins.on[fd]; on {
		delete(d.joins.on, fd)
		_ = sys.Gather(int(fd), false)
	}
}

// receivedJoined handles an outcome of a RecvFrom whose datagrams come joined. All its completions wait for their turn
// in one queue: they come in the order of the datagrams, and the last of them last.
func (d *uring) receivedJoined(r *ring, slot uint32, e *entry, o *sys.Outcome, c *driver.Completion) {
	if o.Flags&sys.OutcomeBuffer == 0 || o.Res < 0 {
		if errno := syscall.Errno(-o.Res); errno == syscall.ENOBUFS && e.marks&canceled == 0 {
			d.again(slot, e) // all buffers are on offer again by now
			return
		}
		if d.receivedNothing(r, slot, e, o, c) {
			d.ready = append(d.ready, *c)
		}
		return
	}
	number := uint16(o.Flags >> 16)
	p := d.joins.buffer(number)
	raw, home, size, payload := sys.ReadMessage(p, int(o.Res))
	from := d.peers.Decode(raw)
	c.Flags = driver.More
	for {
		one := payload[:min(size, len(payload))]
		payload = payload[len(one):]
		if b := d.pool.TakeInput(); b != nil { // otherwise it is lost, as where the kernel's queue is full
			b.Peer, b.Home = from, home
			c.Block, c.Result = b, copy(b.Bytes(), one)
			d.ready = append(d.ready, *c)
		}
		if len(payload) == 0 {
			break
		}
	}
	d.joins.ring.Add(number, p)
	d.joins.ring.Publish()
	if o.Flags&sys.OutcomeMore != 0 {
		return
	}
	if e.marks&canceled != 0 {
		c.Block, c.Result, c.Flags, c.Err = nil, 0, 0, driver.ErrCanceled
		d.ready = append(d.ready, *c)
		d.drop(slot, e)
		return
	}
	d.again(slot, e)
}
