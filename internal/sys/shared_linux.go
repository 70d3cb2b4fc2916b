package sys

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SharedMemory is a file of n bytes in memory, zeroed, without a name and close-on-exec (memfd_create(2)). Its size is
// sealed: nobody who has it mapped can be made to fault by another who cuts it.
func SharedMemory(name string, n int) (fd int, err error) {
	fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, err
	}
	if err = unix.Ftruncate(fd, int64(n)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// SharedSize is the size of a file, and whether it is one of SharedMemory that nobody can cut.
func SharedSize(fd int) (n int64, sealed bool, err error) {
	var about unix.Stat_t
	if err := unix.Fstat(fd, &about); err != nil {
		return 0, false, err
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return about.Size, err == nil && seals&unix.F_SEAL_SHRINK != 0, nil
}

// MapWords maps n bytes of a file, a multiple of 8, for reading and writing together with whoever else maps it. The
// words are atomic between processes as between threads. The bytes are what Unmap takes, after the last use of a word.
func MapWords(fd, n int) (words []atomic.Uint64, memory []byte, err error) {
	memory, err = unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	// A mapping begins at a page, so every word is aligned.
	return unsafe.Slice((*atomic.Uint64)(first(memory)), n/8), memory, nil
}
