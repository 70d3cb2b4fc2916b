package sys

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Submission is one entry of a submission queue (struct io_uring_sqe). Where the kernel gives a field several
// meanings it has the name of the most frequent one.
type Submission struct {
	Opcode      uint8
	Flags       uint8
	IOPrio      uint16 // also the flags of accept, send and receive
	FD          int32
	Off         uint64
	Addr        uint64
	Len         uint32
	OpFlags     uint32
	UserData    uint64
	Group       uint16
	Personality uint16
	FileIndex   uint32 // the slot of a direct descriptor, plus one
	Addr3       uint64
	_           uint64
}

// Outcome is one entry of a completion queue (struct io_uring_cqe).
type Outcome struct {
	UserData uint64
	Res      int32
	Flags    uint32
}

// The two structures are the kernel's; these lines do not compile when a size is wrong.
var (
	_ [64]byte = [unsafe.Sizeof(Submission{})]byte{}
	_ [16]byte = [unsafe.Sizeof(Outcome{})]byte{}
)

// The flags of every ring: CQSIZE, SUBMIT_ALL, TASKRUN_FLAG, SINGLE_ISSUER, DEFER_TASKRUN and NO_SQARRAY.
const ringSetup = 1<<3 | 1<<7 | 1<<9 | 1<<12 | 1<<13 | 1<<16

// What the kernel must say that it can: SINGLE_MMAP, NODROP, SUBMIT_STABLE, EXT_ARG and CQE_SKIP.
const ringFeatures = 1<<0 | 1<<1 | 1<<2 | 1<<8 | 1<<11

const (
	offsetRing        = 0
	offsetSubmissions = 0x10000000

	enterGetEvents  = 1 << 0
	enterExtent     = 1 << 3
	enterRegistered = 1 << 4

	queueOverflow = 1 << 1
	queueTaskWork = 1 << 2

	notificationsOff = 1 << 0

	// annexBytes is the room beside each submission for a message header, an address and a vector. The kernel
	// copies them when it takes the submission, so they live exactly as long as its entry in the queue.
	annexBytes = 512
)

// Ring is one io_uring of the calling thread (io_uring(7)). Its queues are shared with the kernel and lie outside
// the Go heap. Completions arise only inside its own Enter methods.
type Ring struct {
	submissions []Submission
	outcomes    []Outcome
	tail        uint32 // of the submission queue, ahead of what the kernel was shown
	head        uint32 // of the completion queue, ahead of what the kernel was shown
	sqHead      *uint32
	sqTail      *uint32
	sqFlags     *uint32
	cqHead      *uint32
	cqTail      *uint32
	cqFlags     *uint32
	enterFD     uintptr
	enterFlags  uintptr
	scratch     *ringScratch

	annexes    []byte
	fd         int
	ringMap    []byte
	sqMap      []byte
	scratchMap []byte
}

// ringScratch is memory that the kernel reads or writes by address on behalf of a ring.
type ringScratch struct {
	extent    ringExtent
	timeout   [2]int64 // struct timespec of an enter
	tick      [2]int64 // struct timespec of Tick
	counter   uint64   // where reads of the eventfd go
	peeked    uint64   // where peeks go
	datagrams ringMessage
	messages  ringMessage
}

// ringExtent is struct io_uring_getevents_arg.
type ringExtent struct {
	mask     uint64
	maskSize uint32
	_        uint32
	timeout  uint64
}

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, wqFD uint32
	_                                                                  [3]uint32
	sq                                                                 ringOffsets
	cq                                                                 ringOffsets
}

// ringOffsets is struct io_sqring_offsets or struct io_cqring_offsets; they differ in the last fields.
type ringOffsets struct {
	head, tail, mask, entries uint32
	flagsOrOverflow           uint32
	droppedOrOutcomes         uint32
	arrayOrFlags              uint32
	_                         uint32
	_                         uint64
}

// RingLacks is the error of OpenRing when the kernel knows io_uring, but not all that the Ring depends on.
type RingLacks struct{ What string }

// Error says what is missing.
func (e RingLacks) Error() string { return "io_uring lacks " + e.What }

// OpenRing makes a ring for the calling thread, which alone may use it (io_uring_setup(2)). Both numbers of entries
// must be powers of two.
func OpenRing(submissions, outcomes int) (*Ring, error) {
	p := ringParams{cqEntries: uint32(outcomes), flags: ringSetup}
	fd, _, e := syscall.RawSyscall(unix.SYS_IO_URING_SETUP, uintptr(submissions), uintptr(unsafe.Pointer(&p)), 0)
	if e != 0 {
		return nil, e
	}
	r := &Ring{fd: int(fd), enterFD: fd, enterFlags: enterGetEvents}
	if lack := ringFeatures &^ p.features; lack != 0 {
		r.Close()
		return nil, RingLacks{fmt.Sprintf("features %#x", lack)}
	}
	if err := r.mapQueues(&p); err != nil {
		r.Close()
		return nil, err
	}
	r.registerSelf()
	return r, nil
}

func (r *Ring) mapQueues(p *ringParams) (err error) {
	shared := func(at int64, size uint32) ([]byte, error) {
		return unix.Mmap(r.fd, at, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	outcomes := p.cq.droppedOrOutcomes
	if r.ringMap, err = shared(offsetRing, outcomes+p.cqEntries*uint32(unsafe.Sizeof(Outcome{}))); err != nil {
		return err
	}
	if r.sqMap, err = shared(offsetSubmissions, p.sqEntries*uint32(unsafe.Sizeof(Submission{}))); err != nil {
		return err
	}
	if r.scratchMap, err = Map(os.Getpagesize()); err != nil {
		return err
	}
	if r.annexes, err = Map(int(p.sqEntries) * annexBytes); err != nil {
		return err
	}
	word := func(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.ringMap[at])) }
	r.sqHead, r.sqTail, r.sqFlags = word(p.sq.head), word(p.sq.tail), word(p.sq.flagsOrOverflow)
	r.cqHead, r.cqTail, r.cqFlags = word(p.cq.head), word(p.cq.tail), word(p.cq.arrayOrFlags)
	r.submissions = unsafe.Slice((*Submission)(first(r.sqMap)), p.sqEntries)
	r.outcomes = unsafe.Slice((*Outcome)(unsafe.Pointer(&r.ringMap[outcomes])), p.cqEntries)
	r.tail, r.head = *r.sqTail, *r.cqHead
	r.scratch = (*ringScratch)(first(r.scratchMap))
	r.scratch.extent.timeout = uint64(uintptr(unsafe.Pointer(&r.scratch.timeout)))
	r.scratch.datagrams.nameLen, r.scratch.datagrams.controlSize = DatagramName, homeSpace
	r.scratch.messages.nameLen, r.scratch.messages.controlSize = DatagramName, receiveSpace
	return nil
}

// registerSelf saves the look-up of the descriptor in every enter. The kernel has room for 16 rings of a thread;
// later ones do without.
func (r *Ring) registerSelf() {
	update := struct {
		offset, _ uint32
		fd        uint64
	}{offset: ^uint32(0), fd: uint64(r.fd)}
	n, e := r.register(registerRingFDs, unsafe.Pointer(&update), 1)
	if e == 0 && n == 1 {
		r.enterFD = uintptr(update.offset)
		r.enterFlags |= enterRegistered
	}
}

// Close gives the ring back. Nothing may be in flight: the kernel would write into memory that is no longer mapped.
func (r *Ring) Close() {
	if r.enterFlags&enterRegistered != 0 {
		update := struct {
			offset, _ uint32
			fd        uint64
		}{offset: uint32(r.enterFD)}
		_, _ = r.register(unregisterRingFDs, unsafe.Pointer(&update), 1)
	}
	_ = Close(r.fd)
	for _, m := range [][]byte{r.ringMap, r.sqMap, r.scratchMap, r.annexes} {
		if m != nil {
			_ = Unmap(m)
		}
	}
	*r = Ring{fd: -1}
}

// Next returns the next free entry of the submission queue, holding old values, or nil when the queue is full.
func (r *Ring) Next() *Submission {
	if r.tail-*r.sqHead == uint32(len(r.submissions)) {
		return nil
	}
	s := &r.submissions[r.tail&uint32(len(r.submissions)-1)]
	r.tail++
	return s
}

// Position is the number of entries ever taken with Next, and Consumed how many of them the kernel has taken.
func (r *Ring) Position() uint32 { return r.tail }

// Consumed is the number of submissions that the kernel has taken, modulo 2^32 like Position.
func (r *Ring) Consumed() uint32 { return atomic.LoadUint32(r.sqHead) }

// Pending reports that there are submissions which the kernel has not taken.
func (r *Ring) Pending() bool { return r.tail != *r.sqHead }

// HasWork reports that an Enter would bring outcomes without waiting.
func (r *Ring) HasWork() bool { return atomic.LoadUint32(r.sqFlags)&(queueOverflow|queueTaskWork) != 0 }

// Overflowed reports that outcomes wait in the kernel for room in the queue; an Enter fetches them.
func (r *Ring) Overflowed() bool { return atomic.LoadUint32(r.sqFlags)&queueOverflow != 0 }

// Ready is the number of outcomes that can be read with Outcome, the oldest at 0.
func (r *Ring) Ready() uint32 { return atomic.LoadUint32(r.cqTail) - r.head }

// Outcome is the i-th of the Ready outcomes.
func (r *Ring) Outcome(i uint32) *Outcome {
	return &r.outcomes[(r.head+i)&uint32(len(r.outcomes)-1)]
}

// Seen gives the room of the n oldest outcomes back.
func (r *Ring) Seen(n uint32) {
	if n != 0 {
		r.head += n
		atomic.StoreUint32(r.cqHead, r.head)
	}
}

// Mute stops the notifications of NotifyBy, or starts them again; what HasWork reports afterwards may not have been
// notified of.
func (r *Ring) Mute(on bool) {
	if on {
		atomic.StoreUint32(r.cqFlags, notificationsOff)
	} else {
		atomic.StoreUint32(r.cqFlags, 0)
	}
}

// show makes the new submissions visible and returns their number.
func (r *Ring) show() uintptr {
	atomic.StoreUint32(r.sqTail, r.tail)
	return uintptr(r.tail - *r.sqHead)
}

// Enter submits and fetches outcomes without waiting (io_uring_enter(2)). After an error some may have been taken.
func (r *Ring) Enter() error {
	_, _, e := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, r.enterFD, r.show(), 0, r.enterFlags, 0, 0)
	return errno(e)
}

// EnterBriefly submits and waits for so many outcomes, without telling the scheduler: a Tick must bound the wait to a
// few milliseconds. It ends the wait also when there are fewer.
func (r *Ring) EnterBriefly(least uint32) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, r.enterFD, r.show(), uintptr(least), r.enterFlags, 0, 0)
	SafePoint()
	return errno(e)
}

// EnterBounded is EnterBriefly for one outcome with a bound of its own, ns nanoseconds, which costs a timer in the
// kernel.
func (r *Ring) EnterBounded(ns int64) error {
	r.scratch.timeout = [2]int64{ns / 1e9, ns % 1e9}
	_, _, e := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, r.enterFD, r.show(), 1, r.enterFlags|enterExtent,
		uintptr(unsafe.Pointer(&r.scratch.extent)), unsafe.Sizeof(ringExtent{}))
	SafePoint()
	return errno(e)
}

// EnterBlocking submits and waits for one outcome, for ns nanoseconds or, if negative, for ever.
func (r *Ring) EnterBlocking(ns int64) error {
	if ns < 0 {
		_, _, e := syscall.Syscall6(unix.SYS_IO_URING_ENTER, r.enterFD, r.show(), 1, r.enterFlags, 0, 0)
		return errno(e)
	}
	r.scratch.timeout = [2]int64{ns / 1e9, ns % 1e9}
	_, _, e := syscall.Syscall6(unix.SYS_IO_URING_ENTER, r.enterFD, r.show(), 1, r.enterFlags|enterExtent,
		uintptr(unsafe.Pointer(&r.scratch.extent)), unsafe.Sizeof(ringExtent{}))
	return errno(e)
}
