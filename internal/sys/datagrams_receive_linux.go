package sys

import (
	"net/netip"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MessagesMost is how many messages one call of ReceiveBatch.Receive brings.
const MessagesMost = 8

const (
	messageBytes = 64 << 10 // more than any message has
	gatherSpace  = 16 + 8   // CMSG_SPACE of an int
	receiveSpace = gatherSpace + homeSpace
)

// ReceiveBatch is room for what recvmmsg(2) brings. It belongs to one goroutine.
type ReceiveBatch struct {
	messages [MessagesMost]message
	vectors  [MessagesMost]unix.Iovec
	names    [MessagesMost][AddressBytes]byte
	controls [MessagesMost][receiveSpace / 8]uint64
	memory   []byte
}

// NewReceiveBatch makes room: 512 KiB, of which only what is used takes memory.
func NewReceiveBatch() (*ReceiveBatch, error) {
	memory, err := Map(MessagesMost * messageBytes)
	if err != nil {
		return nil, err
	}
	b := &ReceiveBatch{memory: memory}
	for i := range b.messages {
		b.vectors[i].Base = &memory[i*messageBytes]
		b.vectors[i].SetLen(messageBytes)
	}
	return b, nil
}

// Close gives the memory back.
func (b *ReceiveBatch) Close() error { return Unmap(b.memory) }

// Gather has the kernel pass on as one message what came as several datagrams of one size and sender (UDP_GRO of
// udp(7)), or not any more. It fails for what is not UDP.
func Gather(fd int, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, value)
}

// Receive receives at most so many messages from a non-blocking descriptor, and returns how many came. EINTR is
// retried.
func (b *ReceiveBatch) Receive(fd, most int) (int, error) {
	most = min(most, MessagesMost)
	for i := range most {
		h := &b.messages[i].header
		h.Name, h.Namelen = &b.names[i][0], AddressBytes
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
		h.SetControllen(receiveSpace)
	}
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages)),
			uintptr(most), MsgDontWait, 0, 0)
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

// Message is the one of a number: its bytes, where it came from and which address it was sent to, as RecvDatagram tells
// it, and the size of each datagram in it, of which the last may be shorter.
func (b *ReceiveBatch) Message(i int) (p []byte, from netip.AddrPort, home netip.Addr, size int) {
	m := &b.messages[i]
	p = b.memory[i*messageBytes:][:m.bytes]
	from = DecodeAddress(b.names[i][:min(m.header.Namelen, AddressBytes)])
	c := unsafe.Slice((*byte)(unsafe.Pointer(&b.controls[i])), receiveSpace)
	home, size = control(c[:min(receiveSpace, m.header.Controllen)])
	if size <= 0 {
		size = max(len(p), 1)
	}
	return p, from, home, size
}
