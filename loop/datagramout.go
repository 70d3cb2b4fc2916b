package loop

import (
	"net/netip"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// queueDatagrams is how many outgoing datagrams one socket may have waiting.
const queueDatagrams = 1024

// datagram is one on its way out, with a hold of its block. Several lie in one block, each behind its address.
type datagram struct {
	block   *buf.Block
	payload []byte
	address []byte // empty: the peer of a connected socket
}

// SendTo queues one datagram. It leaves when the turn ends, with the others.
func (d *datagrams) SendTo(to netip.AddrPort, p []byte) bool {
	l := d.loop
	if d.closed || len(d.queue) >= queueDatagrams || len(p) > l.longestDatagram() {
		return false
	}
	if d.open != nil && d.open.Size()-d.filled < len(p)+sys.AddressBytes {
		d.open.Release()
		d.open = nil
	}
	if d.open == nil {
		if d.open = l.blocks.Take(); d.open == nil {
			return false
		}
		d.filled = 0
	}
	free := d.open.Bytes()[d.filled:]
	g := datagram{block: d.open}
	if to.IsValid() {
		if d.local.Addr().Is6() && to.Addr().Is4() {
			to = netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
		}
		g.address, _ = sys.EncodeAddress(free[:0], to)
		free = free[len(g.address):]
	}
	g.payload = free[:copy(free, p)]
	d.filled += len(g.address) + len(p)
	d.open.Hold()
	d.queue = append(d.queue, g)
	d.mark()
	return true
}

// mark has the queue looked at when the turn ends.
func (d *datagrams) mark() {
	if !d.marked && len(d.queue) > 0 {
		d.marked = true
		d.loop.talkers = append(d.loop.talkers, d)
	}
}

// sendDatagrams ends the turn for the sockets that have something to send.
func (l *Loop) sendDatagrams() {
	talkers := l.talkers
	l.talkers = l.talked[:0]
	for i, d := range talkers {
		d.marked = false
		d.transmit()
		talkers[i] = nil
	}
	l.talked = talkers
}

func (d *datagrams) transmit() {
	if d.send != 0 || len(d.queue) == 0 || d.closed || d.stalled {
		return
	}
	g := &d.queue[0]
	op := driver.Op{Code: driver.SendTo, FD: d.fd, User: uint64(d.index), Buf: g.payload, Addr: g.address}
	token, err := d.loop.driver.Submit(op)
	if err != nil { // full
		d.stall()
		return
	}
	d.send, d.flying = token, 1
}

// sent takes the completion of what transmit submitted.
func (d *datagrams) sent(done *driver.Completion) {
	l := d.loop
	d.send, d.flying = 0, 0
	if d.closed {
		d.empty()
		d.leave()
		return
	}
	switch {
	case done.Err == nil:
		l.meter.Add(meter.BytesOut, int64(done.Result))
		d.drop(1)
		d.again = false
	case undelivered(done.Err) && !d.again:
		d.again = true // the error may be that of an earlier one, and this one was not sent
		d.failed(done.Err)
	default:
		d.drop(1)
		d.again = false
	}
	d.rest()
}

// rest sends what has come meanwhile, or lets go of the memory.
func (d *datagrams) rest() {
	if len(d.queue) > 0 {
		d.mark()
	} else if d.open != nil {
		d.open.Release()
		d.open = nil
	}
}

// drop lets go of the first n datagrams of the queue.
func (d *datagrams) drop(n int) {
	for i := range n {
		d.queue[i].block.Release()
	}
	left := copy(d.queue, d.queue[n:])
	clear(d.queue[left:])
	d.queue = d.queue[:left]
}

// empty drops what is not in flight.
func (d *datagrams) empty() {
	for i := d.flying; i < len(d.queue); i++ {
		d.queue[i].block.Release()
	}
	d.queue = d.queue[:d.flying]
	if d.open != nil {
		d.open.Release()
		d.open = nil
	}
}
