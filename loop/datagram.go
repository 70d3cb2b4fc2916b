package loop

import (
	"errors"
	"net/netip"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// queueDatagrams is how many outgoing datagrams one socket may have waiting.
const queueDatagrams = 1024

// datagrams is one datagram socket of the loop.
type datagrams struct {
	loop    *Loop
	handler conn.DatagramHandler
	recv    driver.Token
	send    driver.Token
	queue   []datagram // queue[0] is in flight if send is set
	local   netip.AddrPort
	fd      int
	index   int
	dropped int64 // datagrams that did not fit
	logged  int64 // when that was said last; 0: never
	closed  bool
	opened  bool // by OpenDatagrams
}

// datagram is one on its way out. The address lies at the end of the block.
type datagram struct {
	block   *buf.Block
	payload []byte
	address []byte
}

// ListenDatagrams makes the loop serve an ordinary non-blocking datagram socket with h. It comes before Run.
func (l *Loop) ListenDatagrams(fd int, h conn.DatagramHandler) error {
	local, err := sys.LocalAddress(fd)
	if err != nil {
		return err
	}
	adopted, err := l.driver.Adopt(fd)
	if err != nil {
		return err
	}
	l.sockets = append(l.sockets, &datagrams{loop: l, handler: h, local: local, fd: adopted, index: len(l.sockets)})
	return nil
}

func (d *datagrams) arm() {
	if d.recv != 0 || d.closed {
		return
	}
	op := driver.Op{Code: driver.RecvFrom, FD: d.fd, User: uint64(d.index), Many: true}
	token, err := d.loop.driver.Submit(op)
	if err != nil {
		d.loop.press(err) // relieve arms again
		return
	}
	d.recv = token
}

func (d *datagrams) received(done *driver.Completion) {
	if done.Flags&driver.More == 0 {
		d.recv = 0
	}
	l := d.loop
	if b := done.Block; b != nil {
		switch {
		case done.Err != nil || d.closed:
		case done.Result > l.longestDatagram():
			d.truncated(b.Peer)
		default:
			l.meter.Add(meter.BytesIn, int64(done.Result))
			d.handler.Datagram(d, b.Peer, b.Bytes()[:done.Result])
		}
		b.Release()
	}
	switch {
	case d.recv != 0 || d.closed:
	case done.Err == nil || errors.Is(done.Err, driver.ErrNoBlock) && l.blocks.Lent() < l.blocks.Limit():
		d.arm()
	default:
		l.press(done.Err)
	}
}

// longestDatagram is how many bytes a datagram may have, both ways: a block is for those and an address. That is less
// than any driver has room for, so a datagram of which the kernel cut something off is always longer.
func (l *Loop) longestDatagram() int { return l.blocks.BlockSize() - sys.AddressBytes }

// truncated drops a datagram that is too long. The kernel cuts what does not fit without a word, and half a message is
// worse than none, which users of datagrams are prepared for.
func (d *datagrams) truncated(from netip.AddrPort) {
	l := d.loop
	d.dropped++
	l.meter.Add(meter.Truncated, 1)
	if d.logged != 0 && l.now-d.logged < int64(logPause) {
		return
	}
	d.logged = max(l.now, 1)
	l.log.Warn("a datagram was dropped: it is longer than a block has room for", "listener", d.local, "from", from,
		"longest", l.longestDatagram(), "dropped", d.dropped, "mend", "raise engine.block")
}

// Local is the socket's address.
func (d *datagrams) Local() netip.AddrPort { return d.local }

// Now is the time of the turn.
func (d *datagrams) Now() int64 { return d.loop.now }

// SendTo queues one datagram.
func (d *datagrams) SendTo(to netip.AddrPort, p []byte) bool {
	l := d.loop
	if d.closed || len(d.queue) >= queueDatagrams || len(p) > l.longestDatagram() {
		return false
	}
	b := l.blocks.Take()
	if b == nil {
		return false
	}
	if d.local.Addr().Is6() && to.Addr().Is4() {
		to = netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
	}
	tail := b.Size() - sys.AddressBytes
	address, _ := sys.EncodeAddress(b.Bytes()[tail:tail], to)
	d.queue = append(d.queue, datagram{block: b, payload: b.Bytes()[:copy(b.Bytes(), p)], address: address})
	d.transmit()
	return true
}

func (d *datagrams) transmit() {
	for d.send == 0 && len(d.queue) > 0 && !d.closed {
		g := &d.queue[0]
		op := driver.Op{Code: driver.SendTo, FD: d.fd, User: uint64(d.index), Buf: g.payload, Addr: g.address}
		token, err := d.loop.driver.Submit(op)
		if err != nil { // full: datagrams may be lost, and the next one tries again
			d.drop()
			return
		}
		d.send = token
	}
}

func (d *datagrams) sent(done *driver.Completion) {
	d.send = 0
	if done.Err == nil {
		d.loop.meter.Add(meter.BytesOut, int64(done.Result))
	}
	d.drop()
	d.transmit()
}

// drop lets go of the first datagram of the queue.
func (d *datagrams) drop() {
	d.queue[0].block.Release()
	d.queue = d.queue[:copy(d.queue, d.queue[1:])]
}

// close ends the socket: nothing more is received, and what is queued behind the datagram in flight is dropped.
func (d *datagrams) close() {
	if d.closed {
		return
	}
	d.closed = true
	if d.recv != 0 {
		_ = d.loop.driver.Cancel(d.recv)
	}
	if d.send != 0 {
		_ = d.loop.driver.Cancel(d.send)
	}
	keep := 0
	if d.send != 0 {
		keep = 1
	}
	for len(d.queue) > keep {
		last := len(d.queue) - 1
		d.queue[last].block.Release()
		d.queue = d.queue[:last]
	}
	d.loop.discard(d.fd)
}

// Close closes a socket that was opened for its handler; those of listeners are closed when the loop stops.
func (d *datagrams) Close() {
	if d.opened {
		d.close()
	}
}

func (d *datagrams) done() bool { return d.closed && d.recv == 0 && d.send == 0 }
