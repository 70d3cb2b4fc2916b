package sys

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Protocols and states of a SocketQuery. The states are bits, numbered as in the kernel's tcp_states.h; a UDP socket is
// Established when it is connected and Unconnected when it is not.
const (
	ProtocolTCP = unix.IPPROTO_TCP
	ProtocolUDP = unix.IPPROTO_UDP

	StateEstablished = 1 << 1
	StateTimeWait    = 1 << 6
	StateUnconnected = 1 << 7
	StateListening   = 1 << 10
)

// SocketQuery says which sockets Sockets lists. A port of 0 stands for any.
type SocketQuery struct {
	Family, Protocol      int
	States                uint32
	LocalPort, RemotePort uint16
}

// SocketEntry is a socket as the kernel lists it. An IPv4-mapped address is told as IPv4.
type SocketEntry struct {
	Local, Remote netip.AddrPort
	State         uint8 // its number, not its bit
	Inode         uint32
}

const (
	diagnosisMessage = 72 // struct inet_diag_msg
	diagnosisInode   = 68
)

// Sockets calls visit with each socket of the network namespace that the query asks for (sock_diag(7)). A list that
// changed while it was read may miss or repeat some: then it is ErrSocketsChanged, after all have been visited.
func Sockets(q SocketQuery, visit func(SocketEntry)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request := make([]byte, netlinkHeader+diagnosisRequest)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], diagnoseByFamily)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[netlinkHeader] = byte(q.Family)
	request[netlinkHeader+1] = byte(q.Protocol)
	binary.NativeEndian.PutUint32(request[netlinkHeader+4:], q.States)
	binary.BigEndian.PutUint16(request[localPortOffset:], q.LocalPort)
	binary.BigEndian.PutUint16(request[remotePortOffset:], q.RemotePort)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, censusBuffer)
	changed := false
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		over, err := visitSockets(buffer[:n], &changed, visit)
		if over && err == nil && changed {
			err = ErrSocketsChanged
		}
		if over || err != nil {
			return err
		}
	}
}

// ErrSocketsChanged is the answer of Sockets for a list that cannot be trusted to the last socket.
var ErrSocketsChanged = errors.New("sys: sockets came and went while the kernel listed them")

// visitSockets reads one answer of the kernel; over says that it was the last.
func visitSockets(in []byte, changed *bool, visit func(SocketEntry)) (over bool, err error) {
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
			if len(body) < diagnosisMessage {
				return true, syscall.EBADMSG
			}
			visit(readSocket(body))
		}
		in = in[min(len(in), (size+netlinkAlignments)&^netlinkAlignments):]
	}
	return false, nil
}

func readSocket(m []byte) SocketEntry {
	address := func(at int) netip.Addr {
		if m[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(m[at : at+4]))
		}
		return netip.AddrFrom16([16]byte(m[at : at+16])).Unmap()
	}
	return SocketEntry{
		State:  m[1],
		Local:  netip.AddrPortFrom(address(8), binary.BigEndian.Uint16(m[4:])),
		Remote: netip.AddrPortFrom(address(24), binary.BigEndian.Uint16(m[6:])),
		Inode:  binary.NativeEndian.Uint32(m[diagnosisInode:]),
	}
}
