package loop

import (
	"net/netip"
	"syscall"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// queueDatagrams is how many outgoing datagrams one socket may have waiting.
const queueDatagrams = 1024

// batchDatagrams is how many of them leave at once.
const batchDatagrams = sys.DatagramsMost

// datagram is one on its way out, with a hold of its block. Several lie in one block, each behind its address.
type datagram struct {
	block   *buf.Block
	payload []byte
	address []byte // empty: the peer of a connected socket
	homed   bool   // behind the address is the one to leave from
}

// SendTo queues one datagram. It leaves when the turn ends, with the others. An answer to the datagram that the handler
// was just given leaves from where that was sent to.
func (d *datagrams) SendTo(to netip.AddrPort, p []byte) bool {
	if d.home.IsValid() && to == d.from {
		return d.SendFrom(d.home, to, p)
	}
	return d.SendFrom(netip.Addr{}, to, p)
}

// SendFrom is SendTo from an address that Home has told. The zero address leaves the choice to the kernel.
func (d *datagrams) SendFrom(home netip.Addr, to netip.AddrPort, p []byte) bool {
	l := d.loop
	if d.closed || len(d.queue) >= queueDatagrams || len(p) > l.longestDatagram() || !to.IsValid() && !d.opened {
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
		g.address, g.homed = sys.AppendHome(g.address, home), home.IsValid()
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

// transmit submits the first datagrams of the queue, if none are in flight.
func (d *datagrams) transmit() {
	n := min(len(d.queue), batchDatagrams)
	if d.send != 0 || n == 0 || d.closed || d.stalled || d.aside {
		return
	}
	l := d.loop
	g := &d.queue[0]
	op := driver.Op{Code: driver.SendTo, FD: d.fd, User: uint64(d.index), Buf: g.payload, Addr: g.address}
	if n > 1 || g.homed {
		op = driver.Op{Code: driver.SendMany, FD: d.fd, User: uint64(d.index), Rest: l.vector()}
		for i := range n {
			op.Rest = append(op.Rest, d.queue[i].payload, d.queue[i].address)
		}
		if d.local.IsValid() {
			op.Len = 1 // UDP
		}
	}
	token, err := l.driver.Submit(op)
	if err != nil { // full
		if op.Rest != nil {
			l.vectors = append(l.vectors, op.Rest)
		}
		d.stall()
		return
	}
	d.send, d.flying, d.pairs = token, n, op.Rest
}

// vector is memory for the pairs of a SendMany.
func (l *Loop) vector() [][]byte {
	n := len(l.vectors)
	if n == 0 {
		return make([][]byte, 0, 2*batchDatagrams)
	}
	v := l.vectors[n-1]
	l.vectors = l.vectors[:n-1]
	return v[:0]
}

// sent takes the completion of what transmit submitted.
func (d *datagrams) sent(done *driver.Completion) {
	l := d.loop
	taken, bytes := 0, done.Result
	if done.Code == driver.SendMany {
		taken, bytes = done.Result, 0
		for i := range taken {
			bytes += len(d.queue[i].payload)
		}
		clear(d.pairs)
		l.vectors = append(l.vectors, d.pairs)
		d.pairs = nil
	} else if done.Err == nil {
		taken = 1
	}
	l.meter.Add(meter.BytesOut, int64(bytes))
	d.send, d.flying = 0, 0
	d.drop(taken)
	switch {
	case d.closed:
		d.empty()
		d.leave()
		return
	case taken > 0:
		d.again = false
	}
	if done.Err != nil && undelivered(done.Err) && !d.again {
		d.again = true // the error may be that of an earlier one, and the next was not sent
		d.failed(done.Err)
	} else if done.Err != nil && len(d.queue) > 0 {
		d.refused(done.Err)
		d.again = false
	}
	d.rest()
}

// refused drops the first datagram of the queue, and the others to the same address if that has no room for one: who
// does not read holds nobody else up.
func (d *datagrams) refused(err error) {
	before := len(d.queue)
	if to := d.queue[0].address; err == syscall.ENOBUFS && len(to) > 0 {
		kept := d.queue[:0]
		for _, g := range d.queue {
			if string(g.address) == string(to) {
				g.block.Release()
			} else {
				kept = append(kept, g)
			}
		}
		clear(d.queue[len(kept):])
		d.queue = kept
	} else {
		d.drop(1)
	}
	if err != driver.ErrCanceled {
		d.loop.meter.Add(meter.DatagramErrors, int64(before-len(d.queue)))
	}
}

// rest sends what has come meanwhile, or lets go of the memory.
func (d *datagrams) rest() {
	if len(d.queue) > 0 {
		d.mark()
	} else if d.open != nil {
		d.open.Release()
		d.open = nil
	}
	d.goOnParting()
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
