package sys

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options that have the kernel tell to which address a datagram was sent, for sockets of every address: IP_PKTINFO of
// ip(7) and IPV6_RECVPKTINFO of ipv6(7).
var (
	TellHome4 = Option{Level: unix.SOL_IP, Name: unix.IP_PKTINFO, Value: 1}
	TellHome6 = Option{Level: unix.SOL_IPV6, Name: unix.IPV6_RECVPKTINFO, Value: 1}
)

const (
	controlHeader = unix.SizeofCmsghdr
	home4Bytes    = unix.SizeofInet4Pktinfo
	home6Bytes    = unix.SizeofInet6Pktinfo
	// homeSpace is CMSG_SPACE of the larger of the two.
	homeSpace = (controlHeader + home6Bytes + 7) &^ 7
)

// AppendHome appends the address that a datagram is to leave from to the raw socket address that it goes to, as
// DatagramBatch.Send wants it. Nothing is appended for an address that is not valid.
func AppendHome(address []byte, home netip.Addr) []byte { return append(address, home.AsSlice()...) }

// splitHome takes apart what AppendHome has put together.
func splitHome(address []byte) (to, home []byte) {
	size := len(address)
	if size >= 2 {
		switch int(binary.NativeEndian.Uint16(address)) {
		case Inet4:
			size = min(size, unix.SizeofSockaddrInet4)
		case Inet6:
			size = min(size, unix.SizeofSockaddrInet6)
		}
	}
	return address[:size], address[size:]
}

// controlled begins a control message of n bytes and returns their place, and the room behind the message.
func controlled(b []byte, level, kind, n int) (data, rest []byte) {
	clear(b[:controlHeader+n])
	binary.NativeEndian.PutUint64(b, uint64(controlHeader+n))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	return b[controlHeader:][:n], b[min(len(b), controlHeader+(n+7)&^7):]
}

// putHome has a datagram leave from an address, of 4 bytes or 16.
func putHome(b, home []byte) (rest []byte) {
	var data []byte
	if len(home) == 4 {
		data, rest = controlled(b, unix.SOL_IP, unix.IP_PKTINFO, home4Bytes)
		copy(data[4:], home) // ipi_spec_dst, behind the interface
	} else {
		data, rest = controlled(b, unix.SOL_IPV6, unix.IPV6_PKTINFO, home6Bytes)
		copy(data, home)
	}
	return rest
}

// control is what came beside a datagram: the address that it was sent to, which is zero if it cannot be answered from,
// and the size of each datagram in a message of several, or zero.
func control(b []byte) (home netip.Addr, size int) {
	for len(b) >= controlHeader {
		n := binary.NativeEndian.Uint64(b)
		if n < controlHeader || n > uint64(len(b)) {
			break
		}
		level, kind := int(binary.NativeEndian.Uint32(b[8:])), int(binary.NativeEndian.Uint32(b[12:]))
		data := b[controlHeader:n]
		switch {
		case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(data) >= 4:
			size = int(binary.NativeEndian.Uint32(data))
		case level == unix.SOL_IP && kind == unix.IP_PKTINFO && len(data) >= home4Bytes:
			home = netip.AddrFrom4([4]byte(data[4:8]))
		case level == unix.SOL_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= home6Bytes:
			home = netip.AddrFrom16([16]byte(data[:16]))
		}
		b = b[min(len(b), int(n+7)&^7):]
	}
	if home.IsMulticast() || home.IsUnspecified() {
		home = netip.Addr{}
	}
	return home, size
}

// RecvDatagram is recvmsg(2) on a non-blocking descriptor. The raw source address goes into addr, and its length is
// returned; home is the address that the datagram was sent to, if the socket was asked to tell (TellHome4, TellHome6).
// EINTR is retried.
func RecvDatagram(fd int, p, addr []byte) (n, addrLen int, home netip.Addr, err error) {
	var controls [homeSpace / 8]uint64
	vector := unix.Iovec{Base: unsafe.SliceData(p)}
	vector.SetLen(len(p))
	m := unix.Msghdr{Name: unsafe.SliceData(addr), Namelen: uint32(len(addr)), Iov: &vector}
	m.SetIovlen(1)
	m.Control = (*byte)(unsafe.Pointer(&controls))
	m.SetControllen(homeSpace)
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), 0, 0, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return 0, 0, home, e
		}
		home, _ = control(unsafe.Slice(m.Control, homeSpace)[:min(homeSpace, m.Controllen)])
		return int(r), int(m.Namelen), home, nil
	}
}
