package listen

import (
	"errors"
	"syscall"
)

// ErrLimit is why accepting pauses at the configured number of connections.
var ErrLimit = errors.New("the limit of open connections is reached")

// AcceptMend tells the operator what to do about a reason for which accepting paused.
func AcceptMend(why error) string {
	switch {
	case errors.Is(why, syscall.EMFILE):
		return "raise RLIMIT_NOFILE (ulimit -n), or lower limits.connections"
	case errors.Is(why, syscall.ENFILE):
		return "raise fs.file-max"
	case errors.Is(why, syscall.ENOBUFS), errors.Is(why, syscall.ENOMEM):
		return "the kernel is short of socket memory; see net.ipv4.tcp_mem"
	case errors.Is(why, ErrLimit):
		return "raise limits.connections"
	}
	return "see accept(2)"
}
