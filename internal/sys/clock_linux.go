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

// ThreadTime is the processor time that the calling thread has used so far.
func ThreadTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// Sleep is nanosleep(2) on the calling thread, more exact than the runtime's timers. A signal ends it early.
func Sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&t, nil)
}
