package sys

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AddressBytes is room for any raw socket address (struct sockaddr_storage).
const AddressBytes = unix.SizeofSockaddrAny

// Option is one socket option with an integer value.
type Option struct {
	Level, Name, Value int
}

// The levels and names of options that listeners and connections use; see
// socket(7), tcp(7) and ipv6(7).
const (
	LevelSocket = unix.SOL_SOCKET
	LevelTCP    = unix.IPPROTO_TCP
	LevelIPv6   = unix.IPPROTO_IPV6
	LevelIP     = unix.IPPROTO_IP

	ReuseAddress      = unix.SO_REUSEADDR
	ReusePort         = unix.SO_REUSEPORT
	SendBuffer        = unix.SO_SNDBUF
	SendBufferForce   = unix.SO_SNDBUFFORCE
	ReceiveBuffer     = unix.SO_RCVBUF
	KeepAlive         = unix.SO_KEEPALIVE
	KeepAliveIdle     = unix.TCP_KEEPIDLE
	KeepAliveInterval = unix.TCP_KEEPINTVL
	KeepAliveCount    = unix.TCP_KEEPCNT
	NoDelay           = unix.TCP_NODELAY
	UserTimeout       = unix.TCP_USER_TIMEOUT
	DeferAccept       = unix.TCP_DEFER_ACCEPT
	FastOpen          = unix.TCP_FASTOPEN
	V6Only            = unix.IPV6_V6ONLY
	BindAddressNoPort = unix.IP_BIND_ADDRESS_NO_PORT
)

// Families and kinds of Socket.
const (
	Inet4    = unix.AF_INET
	Inet6    = unix.AF_INET6
	Unix     = unix.AF_UNIX
	Stream   = unix.SOCK_STREAM
	Datagram = unix.SOCK_DGRAM
)

// Socket is socket(2), close-on-exec, non-blocking if asked.
func Socket(family, kind int, nonblocking bool) (int, error) {
	kind |= unix.SOCK_CLOEXEC
	if nonblocking {
		kind |= unix.SOCK_NONBLOCK
	}
	return unix.Socket(family, kind, 0)
}

// SetOption is setsockopt(2) with an integer.
func SetOption(fd int, o Option) error { return unix.SetsockoptInt(fd, o.Level, o.Name, o.Value) }

// GetOption is getsockopt(2) with an integer; Value of o is ignored.
func GetOption(fd int, o Option) (int, error) { return unix.GetsockoptInt(fd, o.Level, o.Name) }

// Bind is bind(2) with a raw socket address.
func Bind(fd int, addr []byte) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_BIND, uintptr(fd), uintptr(first(addr)), uintptr(len(addr)), 0, 0, 0)
	return errno(e)
}

// Listen is listen(2). The kernel caps backlog at net.core.somaxconn.
func Listen(fd, backlog int) error { return unix.Listen(fd, backlog) }

// Connect is connect(2) with a raw socket address; EINPROGRESS is to be expected
// of a non-blocking socket. It may block on a blocking one.
func Connect(fd int, addr []byte) error {
	_, _, e := syscall.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(first(addr)), uintptr(len(addr)))
	return errno(e)
}

// Accept is accept4(2) on a non-blocking listener; the new descriptor is
// close-on-exec and non-blocking. EINTR is retried.
func Accept(fd int) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		return int(n), errno(e)
	}
}

// SetBlocking makes a descriptor block, or not.
func SetBlocking(fd int, blocking bool) error { return unix.SetNonblock(fd, !blocking) }

// LocalAddress is getsockname(2); zero for Unix sockets.
func LocalAddress(fd int) (netip.AddrPort, error) { return nameOf(unix.SYS_GETSOCKNAME, fd) }

// RemoteAddress is getpeername(2); zero for Unix sockets.
func RemoteAddress(fd int) (netip.AddrPort, error) { return nameOf(unix.SYS_GETPEERNAME, fd) }

func nameOf(trap uintptr, fd int) (netip.AddrPort, error) {
	var addr [AddressBytes]byte
	size := uint32(len(addr))
	_, _, e := syscall.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&addr)), uintptr(unsafe.Pointer(&size)),
		0, 0, 0)
	if e != 0 {
		return netip.AddrPort{}, e
	}
	return DecodeAddress(addr[:size]), nil
}

// EncodeAddress appends the raw socket address of a, which may stand for a Unix
// socket (UnixPeer), and tells its family. An IPv4-mapped IPv6 address stays IPv6.
func EncodeAddress(dst []byte, a netip.AddrPort) ([]byte, int) {
	ip := a.Addr()
	if ip.Is4() {
		dst = binary.NativeEndian.AppendUint16(dst, Inet4)
		dst = binary.BigEndian.AppendUint16(dst, a.Port())
		four := ip.As4()
		dst = append(dst, four[:]...)
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0), Inet4
	}
	if name := UnixName(a); name != "" {
		return appendUnix(dst, name), Unix
	}
	dst = binary.NativeEndian.AppendUint16(dst, Inet6)
	dst = binary.BigEndian.AppendUint16(dst, a.Port())
	dst = append(dst, 0, 0, 0, 0) // flow information
	sixteen := ip.As16()
	dst = append(dst, sixteen[:]...)
	var scope uint32
	if z := ip.Zone(); z != "" {
		_, _ = fmt.Sscan(z, &scope)
	}
	return binary.NativeEndian.AppendUint32(dst, scope), Inet6
}

// EncodeUnix is the raw address of a Unix socket: a path, or an abstract name
// that begins with "@". unix(7) limits it to 107 bytes.
func EncodeUnix(name string) ([]byte, error) {
	if name == "" || len(name) > 107 {
		return nil, fmt.Errorf("unix socket name %q: must have 1 to 107 bytes", name)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return nil, fmt.Errorf("unix socket name %q: must not contain a zero byte", name)
	}
	dst := binary.NativeEndian.AppendUint16(nil, Unix)
	if name[0] == '@' {
		return append(append(dst, 0), name[1:]...), nil
	}
	return append(append(dst, name...), 0), nil
}

// DecodeAddress reads a raw socket address; zero if it is not IPv4 or IPv6.
func DecodeAddress(raw []byte) netip.AddrPort {
	if len(raw) < 8 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(raw[2:])
	switch int(binary.NativeEndian.Uint16(raw)) {
	case Inet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), port)
	case Inet6:
		if len(raw) < 24 {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(raw[8:24])), port)
	}
	return netip.AddrPort{}
}
