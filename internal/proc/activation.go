package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// unnamed is what sd_listen_fds(3) calls descriptors that the manager has no name for.
const unnamed = "unknown"

// Activated takes over the descriptors that a service manager has given this process (sd_listen_fds(3)): the sockets of
// its unit, and what a predecessor has stored. They become close-on-exec, the variables leave the environment, and
// several may have one name. What was meant for another process is left alone and nothing is returned.
func Activated() ([]Named, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	if pid == "" || count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	for _, variable := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		if err := os.Unsetenv(variable); err != nil {
			return nil, err
		}
	}
	const most = 1 << 16
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > most {
		return nil, fmt.Errorf("LISTEN_FDS=%q is not the number of descriptors", count)
	}
	called := strings.Split(names, ":")
	if names == "" {
		called = nil
	}
	if called != nil && len(called) != n {
		return nil, fmt.Errorf("LISTEN_FDNAMES=%q does not name %d descriptors", names, n)
	}
	given := make([]Named, n)
	for i := range given {
		given[i] = Named{Name: unnamed, FD: firstInherited + i}
		if called != nil && called[i] != "" {
			given[i].Name = called[i]
		}
		if err := sys.SetCloseOnExec(given[i].FD); err != nil {
			return nil, fmt.Errorf("descriptor %d of LISTEN_FDS=%d is not open: %w", given[i].FD, n, err)
		}
	}
	return given, nil
}

// WatchdogInterval is how often the service manager wants to hear from this process at least, as sd_watchdog_enabled(3)
// has it; 0: it does not. Whoever is asked every n tells of itself every n/2. The variables leave the environment.
func WatchdogInterval() (time.Duration, error) {
	interval, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	if interval == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	for _, variable := range []string{"WATCHDOG_USEC", "WATCHDOG_PID"} {
		if err := os.Unsetenv(variable); err != nil {
			return 0, err
		}
	}
	const most = 1 << 53 // microseconds: 285 years, and no overflow as nanoseconds
	n, err := strconv.ParseUint(interval, 10, 64)
	if err != nil || n == 0 || n > most {
		return 0, fmt.Errorf("WATCHDOG_USEC=%q is not a number of microseconds", interval)
	}
	return time.Duration(n) * time.Microsecond, nil
}
