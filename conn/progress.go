package conn

import "errors"

// ErrStalled ends a connection whose peer takes nothing of what is queued for it, while memory is short and others wait
// for what it holds.
var ErrStalled = errors.New("the peer took nothing while memory was short")

// Progress is how many bytes the peer's machine is known to have sent and acknowledged, which only grows, and whether
// it owes an acknowledgement. Whoever looks again passes what was returned before. That the kernel has taken bytes for
// the peer says nothing: behind a window that is open it takes megabytes for a machine that is not there any more. The
// kernel is asked only while there is something to acknowledge.
func Progress(c Conn, before uint64, owed bool) (done uint64, owes bool) {
	in, out := c.Traffic()
	done = in + out
	if !owed && done == before && c.Queued() == 0 {
		return done, false
	}
	behind := uint64(c.Unacknowledged())
	return max(before, done-min(done, behind)), behind > 0 || c.Queued() > 0
}
