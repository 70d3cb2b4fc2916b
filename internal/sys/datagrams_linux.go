package sys

import (
	"encoding/binary"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DatagramsMost is how many datagrams one call of DatagramBatch.Send takes.
const DatagramsMost = 64

const (
	segmentsMost  = 64     // of one message; UDP_MAX_SEGMENTS of older kernels
	segmentsBytes = 65000  // of one message, so that headers fit too
	segmentSpace  = 16 + 8 // CMSG_SPACE of a uint16
	controlSpace  = segmentSpace + homeSpace
)

// DatagramBatch is room for the arguments of sendmmsg(2). Its zero value is ready; it belongs to one goroutine.
type DatagramBatch struct {
	messages [DatagramsMost]message
	vectors  [DatagramsMost]unix.Iovec
	controls [DatagramsMost][controlSpace / 8]uint64 // words, so that they are aligned
	counts   [DatagramsMost]int                      // datagrams of each message
	never    bool                                    // the kernel or a device cannot segment
}

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	bytes  uint32
	_      [4]byte
}

// Send sends datagrams on a non-blocking descriptor with as few calls as may be. They come in pairs: bytes, and a raw
// socket address that is empty for the peer of a connected socket, and may be followed by the address to leave from
// (AppendHome). It returns how many were taken, and the error of the one behind them. With segment, for UDP only,
// datagrams in a row to one address and of one size leave as one message that the kernel or the device takes apart
// (UDP_SEGMENT of udp(7)); where that cannot be, they leave one by one. The error is ENOBUFS where the Unix socket of a
// name would have to be waited for.
func (b *DatagramBatch) Send(fd int, pairs [][]byte, segment bool) (sent int, err error) {
	segment = segment && !b.never
	for sent < len(pairs)/2 {
		n := b.fill(pairs[2*sent:], segment)
		taken, err := b.call(fd, n)
		for i := range taken {
			sent += b.counts[i]
		}
		if err == nil {
			continue
		}
		err = unixFull(err, pairs[2*sent+1])
		if b.counts[0] == 1 || err == syscall.EAGAIN || err == syscall.ECONNREFUSED {
			return sent, err
		}
		segment = false // the route or the device does not take segments
		b.never = b.never || err == syscall.EIO
	}
	return sent, nil
}

// fill makes messages of the first datagrams.
func (b *DatagramBatch) fill(pairs [][]byte, segment bool) (messages int) {
	size, total := 0, 0 // of the message that is being made; size 0: it is complete
	for i := 0; i < min(len(pairs)/2, DatagramsMost); i++ {
		p, address := pairs[2*i], pairs[2*i+1]
		v := &b.vectors[i]
		*v = unix.Iovec{Base: unsafe.SliceData(p)}
		v.SetLen(len(p))
		if size > 0 && len(p) > 0 && len(p) <= size && total+len(p) <= segmentsBytes &&
			b.counts[messages-1] < segmentsMost && sameAddress(address, pairs[2*i-1]) {
			m := messages - 1
			if b.counts[m]++; b.counts[m] == 2 {
				b.control(m, size, address)
			}
			b.messages[m].header.SetIovlen(b.counts[m])
			if total += len(p); len(p) < size {
				size = 0 // a shorter one is the last
			}
			continue
		}
		h := &b.messages[messages].header
		to, home := splitHome(address)
		*h = unix.Msghdr{Name: unsafe.SliceData(to), Namelen: uint32(len(to)), Iov: v}
		if len(to) == 0 {
			h.Name = nil
		}
		if len(home) > 0 {
			b.control(messages, 0, address)
		}
		h.SetIovlen(1)
		b.counts[messages] = 1
		messages++
		if size, total = 0, len(p); segment {
			size = len(p)
		}
	}
	return messages
}

func sameAddress(a, b []byte) bool { return string(a) == string(b) }

// control has the kernel take a message apart into datagrams of a size, if that is not zero, and send it from the
// address that stands behind the one it goes to.
func (b *DatagramBatch) control(m, size int, address []byte) {
	all := unsafe.Slice((*byte)(unsafe.Pointer(&b.controls[m])), controlSpace)
	rest := all
	if size > 0 {
		data, behind := controlled(rest, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(data, uint16(size))
		rest = behind
	}
	if _, home := splitHome(address); len(home) > 0 {
		rest = putHome(rest, home)
	}
	h := &b.messages[m].header
	h.Control = &all[0]
	h.SetControllen(controlSpace - len(rest))
}

// call is sendmmsg(2). EINTR is retried.
func (b *DatagramBatch) call(fd, messages int) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages)),
			uintptr(messages), MsgNoSignal, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		runtime.KeepAlive(b)
		if e != 0 {
			return 0, e
		}
		return int(n), nil
	}
}
