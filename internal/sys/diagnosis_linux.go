package sys

import (
	"encoding/binary"
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
	diagnosisRequest = 56 // struct inet_diag_req_v2
	localPortOffset  = 8  // struct inet_diag_sockid begins there
	remotePortOffset = 10
	diagnosisMessage = 72 // struct inet_diag_msg
	diagnosisInode   = 68
)

// Sockets calls visit with each socket of the network namespace that the query asks for; see Diagnose.
func Sockets(q SocketQuery, visit func(SocketEntry)) error {
	whole := true
	err := Diagnose(q.encode(), func(message []byte) {
		if len(message) < diagnosisMessage {
			whole = false
			return
		}
		visit(readSocket(message))
	})
	if err == nil && !whole {
		err = syscall.EBADMSG
	}
	return err
}

func (q SocketQuery) encode() []byte {
	request := make([]byte, diagnosisRequest)
	request[0], request[1] = byte(q.Family), byte(q.Protocol)
	binary.NativeEndian.PutUint32(request[4:], q.States)
	binary.BigEndian.PutUint16(request[localPortOffset:], q.LocalPort)
	binary.BigEndian.PutUint16(request[remotePortOffset:], q.RemotePort)
	return request
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
