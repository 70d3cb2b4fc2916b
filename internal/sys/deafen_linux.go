package sys

import "golang.org/x/sys/unix"

// Deafen lets a socket drop whatever arrives from now on, acknowledgements as well, as if the network lost it: a filter
// that passes nothing, SO_ATTACH_FILTER of socket(7). The experiments and tests of lost segments begin with it.
func Deafen(fd int) error {
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
}
