package sys

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// MapFile is mmap(2) of the first n bytes of a file, shared and for reading. Unmap undoes it.
func MapFile(fd, n int) ([]byte, error) { return unix.Mmap(fd, 0, n, unix.PROT_READ, unix.MAP_SHARED) }

// SpliceWait is splice(2) of at most n bytes between a pipe and a descriptor that is not one, of which either may make
// it wait. EINTR is retried. Zero is the end of the source.
func SpliceWait(to, from, n int) (int, error) {
	for {
		moved, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_MOVE)
		if err != syscall.EINTR {
			return int(moved), err
		}
	}
}

// ZeroCopy allows SendZeroCopy on a socket (SO_ZEROCOPY).
func ZeroCopy(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1) }

// SendZeroCopy is send(2) with MSG_ZEROCOPY: the kernel may read p until a notice of the call has come. EINTR is
// retried. ENOBUFS says that notices must be taken first.
func SendZeroCopy(fd int, p []byte) (int, error) {
	for {
		n, err := unix.SendmsgN(fd, p, nil, nil, unix.MSG_ZEROCOPY)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

const (
	extendedError    = 16 // struct sock_extended_err
	originOffset     = 4
	codeOffset       = 6
	firstOffset      = 8
	lastOffset       = 12
	originZeroCopy   = 5
	codeCopied       = 1
	noticeSpace      = 128
	noticesRetryMost = 1 << 16
)

// ZeroCopyNotices takes the notices of a socket that are there, without waiting. It returns of how many calls they
// tell, and of how many of those the kernel had copied the bytes after all.
func ZeroCopyNotices(fd int) (calls, copied int, err error) {
	space := make([]byte, noticeSpace)
	for range noticesRetryMost {
		_, n, _, _, err := unix.Recvmsg(fd, nil, space, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return calls, copied, nil
		default:
			return calls, copied, err
		}
		messages, err := unix.ParseSocketControlMessage(space[:n])
		if err != nil {
			return calls, copied, err
		}
		for _, m := range messages {
			if len(m.Data) < extendedError || m.Data[originOffset] != originZeroCopy {
				continue
			}
			first, last := binary.NativeEndian.Uint32(m.Data[firstOffset:]), binary.NativeEndian.Uint32(m.Data[lastOffset:])
			calls += int(last-first) + 1
			if m.Data[codeOffset]&codeCopied != 0 {
				copied += int(last-first) + 1
			}
		}
	}
	return calls, copied, nil
}
