package sys

import (
	"encoding/binary"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	diagnosisBuffer   = 256 << 10
	netlinkHeader     = 16
	diagnoseByFamily  = 20
	interruptedDump   = 0x10
	netlinkAlignments = 3
)

// ErrSocketsChanged is the answer of Sockets and Diagnose for a list that cannot be trusted to the last socket.
var ErrSocketsChanged = errors.New("sys: sockets came and went while the kernel listed them")

// Diagnose asks the kernel for a list of the sockets of this thread's network namespace, sock_diag(7), and calls visit
// with each message of the answer, which is lent until visit returns. The request is one of the structures whose names
// end in diag_req. A list that changed while it was read may miss or repeat some: then it is ErrSocketsChanged, after
// all have been visited. A family or protocol that the kernel has no list for is ENOENT or EINVAL.
func Diagnose(request []byte, visit func(message []byte)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	message := make([]byte, netlinkHeader, netlinkHeader+len(request))
	binary.NativeEndian.PutUint32(message, uint32(cap(message)))
	binary.NativeEndian.PutUint16(message[4:], diagnoseByFamily)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	message = append(message, request...)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, diagnosisBuffer)
	changed := false
	for {
		n, err := unix.Read(fd, buffer)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		over, err := visitMessages(buffer[:n], &changed, visit)
		if over && err == nil && changed {
			err = ErrSocketsChanged
		}
		if over || err != nil {
			return err
		}
	}
}

// visitMessages reads one answer of the kernel; over says that it was the last.
func visitMessages(in []byte, changed *bool, visit func([]byte)) (over bool, err error) {
	for len(in) >= netlinkHeader {
		size := int(binary.NativeEndian.Uint32(in))
		if size < netlinkHeader || size > len(in) {
			return true, syscall.EBADMSG
		}
		*changed = *changed || binary.NativeEndian.Uint16(in[6:])&interruptedDump != 0
		body := in[netlinkHeader:size]
		switch binary.NativeEndian.Uint16(in[4:]) {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return true, syscall.EBADMSG
			}
			return true, errno(syscall.Errno(-int32(binary.NativeEndian.Uint32(body))))
		default:
			visit(body)
		}
		in = in[min(len(in), (size+netlinkAlignments)&^netlinkAlignments):]
	}
	return false, nil
}
