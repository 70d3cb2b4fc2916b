package sys

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of a Ring, by their numbers in the kernel's interface.
const (
	RingPoll     = 6
	RingSendMsg  = 9
	RingRecvMsg  = 10
	RingTimeout  = 11
	RingAccept   = 13
	RingCancel   = 14
	RingConnect  = 16
	RingClose    = 19
	RingRead     = 22
	RingSend     = 26
	RingRecv     = 27
	RingShutdown = 34
	RingInstall  = 54
)

// Flags of any Submission.
const (
	FixedFile    = 1 << 0 // FD is a slot of the ring's table
	selectBuffer = 1 << 5
	// SkipSuccess posts no outcome unless the operation fails or falls short.
	SkipSuccess = 1 << 6
)

// Flags of an Outcome.
const (
	OutcomeBuffer = 1 << 0 // a buffer was used; its number is in the upper half of Flags
	OutcomeMore   = 1 << 1 // the operation goes on
	OutcomeRest   = 1 << 2 // the socket has more (IORING_CQE_F_SOCK_NONEMPTY)
)

const (
	acceptMany     = 1 << 0
	recvMany       = 1 << 1
	recvPollFirst  = 1 << 0
	pollMany       = 1 << 0
	cancelAll      = 1 << 0
	cancelAny      = 1 << 2
	allocateSlot   = ^uint32(0)
	datagramHeader = 16

	// DatagramName is the room for a source address before each received datagram.
	DatagramName = AddressBytes
	// DatagramOffset is where the bytes of a received datagram begin in their buffer.
	DatagramOffset = datagramHeader + DatagramName + homeSpace
)

// PollOut and PollIn are events of poll(2).
const (
	PollIn  = unix.POLLIN
	PollOut = unix.POLLOUT
)

// Accept takes connections from a listener, into new non-blocking descriptors.
func (s *Submission) Accept(fd int, many bool, user uint64) {
	*s = Submission{
		Opcode: RingAccept, FD: int32(fd), OpFlags: unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC, UserData: user,
	}
	if many {
		s.IOPrio = acceptMany
	}
}

// AcceptDirect takes connections from an ordinary listener into free slots of the ring's table. When there is none
// the kernel drops the connection.
func (s *Submission) AcceptDirect(fd int, many bool, user uint64) {
	*s = Submission{
		Opcode: RingAccept, FD: int32(fd), OpFlags: unix.SOCK_NONBLOCK, UserData: user, FileIndex: allocateSlot,
	}
	if many {
		s.IOPrio = acceptMany
	}
}

// Recv receives into buffers of a group. With wait it does not try before the descriptor has become readable.
func (s *Submission) Recv(fd int, group uint16, many, wait bool, limit uint32, user uint64) {
	*s = Submission{Opcode: RingRecv, Flags: selectBuffer, FD: int32(fd), UserData: user, Group: group}
	if many {
		s.IOPrio, s.FileIndex = recvMany, limit
	}
	if wait {
		s.IOPrio |= recvPollFirst
	}
}

// Peek looks whether a receive would bring something, without waiting and without taking it: the outcome is 1 if so,
// 0 at the end, EAGAIN if there is nothing.
func (r *Ring) Peek(s *Submission, fd int, user uint64) {
	*s = Submission{
		Opcode: RingRecv, FD: int32(fd), Addr: uint64(uintptr(unsafe.Pointer(&r.scratch.peeked))), Len: 1,
		OpFlags: MsgPeek | MsgDontWait, UserData: user,
	}
}

// Send sends p, which must stay where it is until the outcome.
func (s *Submission) Send(fd int, p []byte, flags int, user uint64) {
	*s = Submission{
		Opcode: RingSend, FD: int32(fd), Addr: uint64(uintptr(first(p))), Len: uint32(len(p)),
		OpFlags: uint32(flags) | MsgNoSignal, UserData: user,
	}
}

// Close closes an ordinary descriptor.
func (s *Submission) Close(fd int, user uint64) {
	*s = Submission{Opcode: RingClose, FD: int32(fd), UserData: user}
}

// CloseDirect empties a slot of the ring's table.
func (s *Submission) CloseDirect(slot int, user uint64) {
	*s = Submission{Opcode: RingClose, FileIndex: uint32(slot) + 1, UserData: user}
}

// Poll waits for events of poll(2), once or, edge-triggered, until cancelled.
func (s *Submission) Poll(fd int, events uint32, many bool, user uint64) {
	if !littleEndian {
		events = events<<16 | events>>16
	}
	*s = Submission{Opcode: RingPoll, FD: int32(fd), OpFlags: events, UserData: user}
	if many {
		s.Len = pollMany
	}
}

// Cancel ends the operations submitted with the user data target. Its own outcome is only posted if it found none.
func (s *Submission) Cancel(target, user uint64) {
	*s = Submission{
		Opcode: RingCancel, Flags: SkipSuccess, FD: -1, Addr: target, OpFlags: cancelAll, UserData: user,
	}
}

// CancelEverything ends every operation of the ring.
func (s *Submission) CancelEverything(user uint64) {
	*s = Submission{Opcode: RingCancel, FD: -1, OpFlags: cancelAll | cancelAny, UserData: user}
}

// Shutdown ends the write half. The kernel always does it on a helper thread.
func (s *Submission) Shutdown(fd, how int, user uint64) {
	*s = Submission{Opcode: RingShutdown, FD: int32(fd), Len: uint32(how), UserData: user}
}

// Install makes an ordinary close-on-exec descriptor of a slot; the outcome is its number.
func (s *Submission) Install(slot int, user uint64) {
	*s = Submission{Opcode: RingInstall, Flags: FixedFile, FD: int32(slot), UserData: user}
}

// Tick completes with ETIME after ns nanoseconds. One may be in flight per ring.
func (r *Ring) Tick(s *Submission, ns int64, user uint64) {
	r.scratch.tick = [2]int64{ns / 1e9, ns % 1e9}
	*s = Submission{
		Opcode: RingTimeout, FD: -1, Addr: uint64(uintptr(unsafe.Pointer(&r.scratch.tick))), Len: 1, UserData: user,
	}
}

// ReadCounter reads and so resets a blocking eventfd. One may be in flight per ring.
func (r *Ring) ReadCounter(s *Submission, fd int, user uint64) {
	*s = Submission{
		Opcode: RingRead, FD: int32(fd), Addr: uint64(uintptr(unsafe.Pointer(&r.scratch.counter))), Len: 8,
		Off: ^uint64(0), UserData: user,
	}
}

// annex is the memory that belongs to the entry taken last with Next.
func (r *Ring) annex() *ringAnnex {
	at := int((r.tail-1)&uint32(len(r.submissions)-1)) * annexBytes
	return (*ringAnnex)(unsafe.Pointer(&r.annexes[at]))
}

// ringAnnex holds addresses as numbers: were they pointers, the collector's write barrier would look at stale ones.
type ringAnnex struct {
	message ringMessage
	address [AddressBytes]byte
	vector  [16]ringPiece
}

// ringMessage is struct msghdr.
type ringMessage struct {
	name        uint64
	nameLen     uint32
	_           uint32
	vector      uint64
	vectorLen   uint64
	control     uint64
	controlSize uint64
	_           uint64
}

// ringPiece is struct iovec.
type ringPiece struct{ base, len uint64 }

var _ [annexBytes - unsafe.Sizeof(ringAnnex{})]byte

// Connect connects to a raw socket address, which is copied. s must be the entry taken last with Next.
func (r *Ring) Connect(s *Submission, fd int, addr []byte, user uint64) {
	a := r.annex()
	n := copy(a.address[:], addr)
	*s = Submission{
		Opcode: RingConnect, FD: int32(fd), Addr: uint64(uintptr(unsafe.Pointer(&a.address))), Off: uint64(n),
		UserData: user,
	}
}

// SendVector sends head and then rest, at most 15 pieces of it, to a raw socket address, or where the socket is
// connected to if that is empty. The pieces must stay where they are until the outcome; the address is copied. s
// must be the entry taken last with Next.
func (r *Ring) SendVector(s *Submission, fd int, head []byte, rest [][]byte, addr []byte, flags int, user uint64) {
	a := r.annex()
	a.vector[0] = ringPiece{uint64(uintptr(first(head))), uint64(len(head))}
	k := 1
	for _, p := range rest[:min(len(rest), len(a.vector)-1)] {
		a.vector[k] = ringPiece{uint64(uintptr(first(p))), uint64(len(p))}
		k++
	}
	a.message = ringMessage{vector: uint64(uintptr(unsafe.Pointer(&a.vector))), vectorLen: uint64(k)}
	if len(addr) != 0 {
		a.message.nameLen = uint32(copy(a.address[:], addr))
		a.message.name = uint64(uintptr(unsafe.Pointer(&a.address)))
	}
	*s = Submission{
		Opcode: RingSendMsg, FD: int32(fd), Addr: uint64(uintptr(unsafe.Pointer(&a.message))), Len: 1,
		OpFlags: uint32(flags) | MsgNoSignal, UserData: user,
	}
}

// RecvDatagrams receives datagrams into buffers of a group until cancelled. Each buffer is to be read with
// ReadDatagram. Joined is for a socket that gathers (Gather): the buffers have RingMessageBytes, and are to be read
// with ReadMessage.
func (r *Ring) RecvDatagrams(s *Submission, fd int, group uint16, joined bool, user uint64) {
	header := &r.scratch.datagrams
	if joined {
		header = &r.scratch.messages
	}
	*s = Submission{
		Opcode: RingRecvMsg, Flags: selectBuffer, IOPrio: recvMany, FD: int32(fd),
		Addr: uint64(uintptr(unsafe.Pointer(header))), Len: 1, UserData: user, Group: group,
	}
}

// RingMessageBytes is room for any message of several datagrams, and what stands before it.
const RingMessageBytes = datagramHeader + DatagramName + receiveSpace + messageBytes

// ReadDatagram reads a buffer that RecvDatagrams filled with n bytes in all: the raw
// source address, the address it was sent to as RecvDatagram tells it, and the bytes, which begin at DatagramOffset.
func ReadDatagram(p []byte, n int) (source []byte, home netip.Addr, payload []byte) {
	source, home, _, payload = readMessage(p, n, homeSpace)
	return source, home, payload
}

// ReadMessage is ReadDatagram for a message of several datagrams of a size, of which the last may be shorter.
func ReadMessage(p []byte, n int) (source []byte, home netip.Addr, size int, payload []byte) {
	source, home, size, payload = readMessage(p, n, receiveSpace)
	if size <= 0 {
		size = max(len(payload), 1)
	}
	return source, home, size, payload
}

func readMessage(p []byte, n, space int) (source []byte, home netip.Addr, size int, payload []byte) {
	const name, beside = datagramHeader, datagramHeader + DatagramName
	if n < beside+space {
		return nil, netip.Addr{}, 0, nil
	}
	nameLen, controlLen := *(*uint32)(first(p)), *(*uint32)(first(p[4:]))
	if controlLen > 0 {
		home, size = control(p[beside:][:min(int(controlLen), space)])
	}
	return p[name:][:min(nameLen, DatagramName)], home, size, p[beside+space : n]
}

// Cells returns n zero values of T outside the Go heap, where the collector neither looks at nor counts them. T must
// hold no pointers.
func Cells[T any](n int) ([]T, []byte, error) {
	var t T
	memory, err := Map(n * int(unsafe.Sizeof(t)))
	if err != nil {
		return nil, nil, err
	}
	return unsafe.Slice((*T)(first(memory)), n), memory, nil
}
