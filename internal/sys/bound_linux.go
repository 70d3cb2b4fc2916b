package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bound is what a socket is bound to: Inet4, Inet6 or Unix, and Stream or Datagram, and for a Unix socket its name as
// EncodeUnix takes it. An internet socket's address is LocalAddress. Listens says that a Stream takes connections.
type Bound struct {
	Family, Kind int
	Name         string
	Listens      bool
}

// BoundOf looks a socket up by getsockname(2) and socket(7). What is no socket is an error.
func BoundOf(fd int) (b Bound, err error) {
	for _, o := range []struct {
		name int
		to   *int
	}{{unix.SO_DOMAIN, &b.Family}, {unix.SO_TYPE, &b.Kind}} {
		if *o.to, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.name); err != nil {
			return b, os.NewSyscallError("getsockopt", err)
		}
	}
	if b.Kind == Stream {
		listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil {
			return b, os.NewSyscallError("getsockopt", err)
		}
		b.Listens = listens != 0
	}
	if b.Family != Unix {
		return b, nil
	}
	var raw [AddressBytes]byte
	size := uint32(len(raw))
	_, _, e := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&raw)),
		uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return b, os.NewSyscallError("getsockname", e)
	}
	b.Name = UnixName(decodeUnix(raw[2:max(size, 2)]))
	return b, nil
}
