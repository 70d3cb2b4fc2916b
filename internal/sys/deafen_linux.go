package sys

import "golang.org/x/sys/unix"

// Deafen has a socket hear nothing more: the kernel throws away whatever arrives for it, acknowledgements included
// (SO_ATTACH_FILTER of socket(7)). Its peer sees a machine that has vanished. It is for experiments and tests.
func Deafen(fd int) error {
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
}
