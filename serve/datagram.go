package serve

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	// maxDatagram is more than the largest payload that UDP has.
	maxDatagram = 1 << 16
	// truncatedPause is the least time between two lines about datagrams that were dropped.
	truncatedPause = 10 * time.Second
)

// datagrams is a socket that datagrams arrive at. It belongs to one goroutine.
type datagrams struct {
	site    *Blocking
	fd      int
	local   netip.AddrPort
	now     int64
	dropped int64          // datagrams that did not fit
	logged  time.Time      // when that was said last
	from    netip.AddrPort // of the datagram that the handler has, and where it was sent to
	home    netip.Addr
	address [sys.AddressBytes]byte
	peers   sys.Peers
	batch   sys.DatagramBatch
	pair    [2][]byte
}

// Local is the socket's own address.
func (d *datagrams) Local() netip.AddrPort { return d.local }

// Now is the time of the datagram's arrival.
func (d *datagrams) Now() int64 { return d.now }

// SendTo sends at once; the queue is the socket's send buffer. An answer to the datagram that the handler has leaves
// from where that was sent to.
func (d *datagrams) SendTo(to netip.AddrPort, p []byte) bool {
	if !to.IsValid() {
		return false
	}
	if d.local.Addr().Is6() && to.Addr().Is4() {
		to = netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
	}
	address, _ := sys.EncodeAddress(d.address[:0], to)
	var err error
	if d.home.IsValid() && to == d.from {
		d.pair = [2][]byte{p, sys.AppendHome(address, d.home)}
		_, err = d.batch.Send(d.fd, d.pair[:], false)
	} else {
		_, err = sys.SendTo(d.fd, p, address)
	}
	if err == nil {
		d.site.meter.AddShared(meter.BytesOut, int64(len(p)))
	}
	return err == nil
}

// truncated drops a datagram that fills all the room there is, because the kernel may have cut it. Over UDP there is
// none so large; a Unix socket takes what its buffer takes.
func (d *datagrams) truncated(room int) {
	d.dropped++
	d.site.meter.AddShared(meter.Truncated, 1)
	if time.Since(d.logged) < truncatedPause {
		return
	}
	d.logged = time.Now()
	d.site.log.Warn("a datagram that is too large was dropped", "listener", d.local, "longest", room-1,
		"dropped", d.dropped, "mend", "have the sender send less at a time")
}

// receiveDatagrams gives what comes at a datagram socket to its handler until the site stops.
func (b *Blocking) receiveDatagrams(l *listening) {
	defer b.lockThread()()
	defer l.close()
	d := &datagrams{site: b, fd: l.post.fd}
	d.local, _ = sys.LocalAddress(d.fd) // zero for Unix sockets
	b.making.Lock()
	handler := l.Datagram()
	b.making.Unlock()
	payload := make([]byte, maxDatagram)
	var source [sys.AddressBytes]byte
	var n, length int
	var err error
	attempt := func(fd uintptr) bool {
		n, length, d.home, err = sys.RecvDatagram(int(fd), payload, source[:])
		return !errors.Is(err, syscall.EAGAIN)
	}
	for !l.stopping() {
		if !l.post.await(attempt) {
			continue
		}
		if err != nil { // such as ECONNREFUSED: what the peer's machine said about an earlier datagram
			if errors.Is(err, syscall.EBADF) || errors.Is(err, syscall.ENOTSOCK) {
				b.fail(err)
				return
			}
			continue
		}
		d.now = b.clock()
		if n == len(payload) {
			d.truncated(n)
			continue
		}
		b.meter.AddShared(meter.BytesIn, int64(n))
		d.from = d.peers.Decode(source[:length])
		handler.Datagram(d, d.from, payload[:n])
	}
}
