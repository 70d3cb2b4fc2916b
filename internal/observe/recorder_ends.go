package observe

import (
	"errors"
	"syscall"

	"github.com/myriad-server/myriad/conn"
)

// ends are the codes of the ends of connections by their errors; the first that fits.
var ends = []struct {
	why  error
	code string
}{
	{conn.ErrTimeout, "timeout"},
	{conn.ErrStopping, "stopping"},
	{conn.ErrOutputLimit, "output_limit"},
	{conn.ErrPressure, "pressure"},
	{conn.ErrOperator, "operator"},
	{conn.ErrStalled, "stalled"},
	{conn.ErrAborted, "aborted"},
	{syscall.ECONNRESET, "reset"},
	{syscall.EPIPE, "broken_pipe"},
	{syscall.EHOSTUNREACH, "unreachable"},
	{syscall.ENETUNREACH, "unreachable"},
	{syscall.ECONNREFUSED, "refused"},
	{syscall.ETIMEDOUT, "vanished"},
	{syscall.ENOBUFS, "no_memory"},
	{syscall.ENOMEM, "no_memory"},
	{syscall.EADDRNOTAVAIL, "no_ports"},
	{syscall.EMFILE, "no_descriptors"},
	{syscall.ENFILE, "no_descriptors"},
}

// EndCode is the code of the cause for which a connection has ended: "ended" if that was in order, and "error" for a
// reason that has no code of its own.
func EndCode(why error) string {
	if why == nil {
		return "ended"
	}
	for i := range ends {
		if errors.Is(why, ends[i].why) {
			return ends[i].code
		}
	}
	return "error"
}

// EndCodes are all codes that EndCode returns.
func EndCodes() []string {
	all := []string{EndCode(nil), EndCode(conn.ErrOther)}
	for i := range ends {
		all = append(all, ends[i].code)
	}
	return all
}
