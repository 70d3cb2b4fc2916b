package sys

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of io_uring_register(2).
const (
	registerEventfd       = 4
	registerProbe         = 8
	registerFilesSized    = 13
	registerRingFDs       = 20
	unregisterRingFDs     = 21
	registerBufferRing    = 22
	unregisterBufferRing  = 23
	filesSparse           = 1
	opcodeSupported       = 1
	probeOpcodes          = 256
	bufferEntryBytes      = 16
	bufferTailWord        = 12 // the number of the first buffer and, in its upper half, the ring's tail
	maxBufferRingEntries  = 1 << 15
	maxRegisteredFileSlot = 1 << 20
)

func (r *Ring) register(op uintptr, arg unsafe.Pointer, n uintptr) (int, syscall.Errno) {
	v, _, e := syscall.RawSyscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), op, uintptr(arg), n, 0, 0)
	return int(v), e
}

// Opcodes asks the kernel which operations it knows; the result is indexed by opcode.
func (r *Ring) Opcodes() ([]bool, error) {
	var probe struct {
		last, count uint8
		_           uint16
		_           [3]uint32
		ops         [probeOpcodes]struct {
			op, _ uint8
			flags uint16
			_     uint32
		}
	}
	if _, e := r.register(registerProbe, unsafe.Pointer(&probe), probeOpcodes); e != 0 {
		return nil, e
	}
	known := make([]bool, probeOpcodes)
	for _, o := range probe.ops[:probe.count] {
		known[o.op] = o.flags&opcodeSupported != 0
	}
	return known, nil
}

// ReserveFiles gives the ring a table of n empty slots for direct descriptors, at most RLIMIT_NOFILE of them.
func (r *Ring) ReserveFiles(n int) error {
	if n > maxRegisteredFileSlot {
		return syscall.EMFILE
	}
	arg := struct {
		count, flags     uint32
		_                uint64
		files, tagValues uint64
	}{count: uint32(n), flags: filesSparse}
	_, e := r.register(registerFilesSized, unsafe.Pointer(&arg), unsafe.Sizeof(arg))
	return errno(e)
}

// NotifyBy makes the kernel add to an eventfd whenever the ring has outcomes to fetch.
func (r *Ring) NotifyBy(eventfd int) error {
	fd := int32(eventfd)
	_, e := r.register(registerEventfd, unsafe.Pointer(&fd), 1)
	return errno(e)
}

// BufferRing hands buffers to the kernel, which takes the oldest when bytes arrive (io_uring_register(2),
// IORING_REGISTER_PBUF_RING).
type BufferRing struct {
	ring    *Ring
	memory  []byte
	entries []bufferEntry
	number0 uint16 // of the buffer in entry 0, beside which the kernel keeps the tail
	tail    uint16
	group   uint16
}

// bufferEntry is struct io_uring_buf; the last two bytes of the first one are the ring's tail.
type bufferEntry struct {
	addr   uint64
	len    uint32
	number uint16
	_      uint16
}

var _ [bufferEntryBytes]byte = [unsafe.Sizeof(bufferEntry{})]byte{}

type bufferRegistration struct {
	addr    uint64
	entries uint32
	group   uint16
	flags   uint16
	_       [3]uint64
}

// OpenBufferRing registers an empty buffer ring as a group of r. The number of entries is a power of two, at most
// 32,768.
func (r *Ring) OpenBufferRing(group uint16, entries int) (*BufferRing, error) {
	if entries <= 0 || entries > maxBufferRingEntries || entries&(entries-1) != 0 {
		return nil, errors.New("sys: a buffer ring has a power of two of entries, at most 32768")
	}
	memory, err := Map(entries * bufferEntryBytes)
	if err != nil {
		return nil, err
	}
	arg := bufferRegistration{
		addr: uint64(uintptr(first(memory))), entries: uint32(entries), group: group,
	}
	if _, e := r.register(registerBufferRing, unsafe.Pointer(&arg), 1); e != 0 {
		_ = Unmap(memory)
		return nil, e
	}
	return &BufferRing{
		ring: r, memory: memory, group: group,
		entries: unsafe.Slice((*bufferEntry)(first(memory)), entries),
	}, nil
}

// Add offers p under a number; the kernel sees it after Publish. There must not be more on offer than entries.
func (b *BufferRing) Add(number uint16, p []byte) {
	at := b.tail & uint16(len(b.entries)-1)
	e := &b.entries[at]
	e.addr, e.len = uint64(uintptr(first(p))), uint32(len(p))
	if at == 0 {
		b.number0 = number // Publish writes it: a store of 16 bits there would not be atomic with the tail
	} else {
		e.number = number
	}
	b.tail++
}

// Publish shows the kernel what was added.
func (b *BufferRing) Publish() {
	word := (*uint32)(unsafe.Pointer(&b.memory[bufferTailWord]))
	if littleEndian {
		atomic.StoreUint32(word, uint32(b.number0)|uint32(b.tail)<<16)
	} else {
		atomic.StoreUint32(word, uint32(b.number0)<<16|uint32(b.tail))
	}
}

// Withdraw takes back the buffer that was added last and tells its number; Publish shows it. The kernel must not have
// used it: all outcomes have been seen, and the ring is one whose operations only run inside its own Enter.
func (b *BufferRing) Withdraw() (number uint16) {
	b.tail--
	at := b.tail & uint16(len(b.entries)-1)
	if at == 0 {
		return b.number0
	}
	return b.entries[at].number
}

// Close takes the ring of buffers back from the kernel. No operation may be in flight that selects from it.
func (b *BufferRing) Close() {
	arg := bufferRegistration{group: b.group}
	_, _ = b.ring.register(unregisterBufferRing, unsafe.Pointer(&arg), 1)
	_ = Unmap(b.memory)
	b.memory, b.entries = nil, nil
}

var littleEndian = func() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}()

// Counter makes a blocking eventfd(2), for NotifyBy and ReadCounter: a read of a non-blocking one would not wait.
func Counter() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC) }

// ReadAt is pread(2). EINTR is retried. Zero bytes without an error is the file's end.
func ReadAt(fd int, p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(fd, p, off)
		if err == syscall.EINTR {
			continue
		}
		return n, err
	}
}

// RingsDisabled is the sysctl kernel.io_uring_disabled: 0 allows rings, 1 only to the privileged, 2 to nobody. It is
// -1 where the kernel does not have it.
func RingsDisabled() int {
	text, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
	if err != nil {
		return -1
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return v
}
