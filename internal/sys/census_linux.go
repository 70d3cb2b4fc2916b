package sys

import (
	"encoding/binary"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	censusBuffer      = 256 << 10
	netlinkHeader     = 16
	diagnosisRequest  = 56 // struct inet_diag_req_v2
	establishedState  = 1 << 1
	diagnoseByFamily  = 20
	interruptedDump   = 0x10
	censusAttempts    = 3
	localPortOffset   = netlinkHeader + 8 // struct inet_diag_sockid begins there
	remotePortOffset  = netlinkHeader + 10
	netlinkAlignments = 3
)

var errCensus = errors.New("sys: the kernel's list of sockets changed while it was read")

// Established counts the established TCP connections over IPv4 of the whole network namespace with a local port, or
// with a remote one; 0 stands for any. The kernel lists its sockets for it (sock_diag(7)), so both ends of a
// connection within the machine count, each for its own ports.
func Established(localPort, remotePort uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	for range censusAttempts {
		count, err := census(fd, localPort, remotePort)
		if !errors.Is(err, errCensus) {
			return count, err
		}
	}
	return 0, errCensus
}

// census asks once and counts the answers.
func census(fd int, localPort, remotePort uint16) (count int, err error) {
	request := make([]byte, netlinkHeader+diagnosisRequest)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], diagnoseByFamily)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[netlinkHeader] = unix.AF_INET
	request[netlinkHeader+1] = unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[netlinkHeader+4:], establishedState)
	binary.BigEndian.PutUint16(request[localPortOffset:], localPort)
	binary.BigEndian.PutUint16(request[remotePortOffset:], remotePort)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	buffer := make([]byte, censusBuffer)
	changed := false
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		for in := buffer[:n]; len(in) >= netlinkHeader; {
			size := int(binary.NativeEndian.Uint32(in))
			if size < netlinkHeader || size > len(in) {
				return 0, syscall.EBADMSG
			}
			changed = changed || binary.NativeEndian.Uint16(in[6:])&interruptedDump != 0
			switch binary.NativeEndian.Uint16(in[4:]) {
			case unix.NLMSG_DONE:
				if changed {
					return count, errCensus
				}
				return count, nil
			case unix.NLMSG_ERROR:
				if size < netlinkHeader+4 {
					return 0, syscall.EBADMSG
				}
				return 0, errno(syscall.Errno(-int32(binary.NativeEndian.Uint32(in[netlinkHeader:]))))
			default:
				count++
			}
			in = in[min(len(in), (size+netlinkAlignments)&^netlinkAlignments):]
		}
	}
}
