package sys

import (
	"time"

	"golang.org/x/sys/unix"
)

// ProcessTime is the processor time that all threads of a process have used so far, those that ended included; see
// clock_getcpuclockid(3).
func ProcessTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}
