package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/standard"
)

var queuedSignals = Check{
	Name: "queued-signals",
	About: "The driver rtsig is told of readiness by queued real-time signals, of which a user may have " +
		"RLIMIT_SIGPENDING waiting. Beyond that the kernel drops them and sends SIGIO: everything has to be looked at, " +
		"which is correct and slow. POSIX timers take of the same number, and fail with EAGAIN (timer_create(2)).",
	Needs: NeedsProcess,
	Run:   checkQueuedSignals,
}

// fewSignals is a limit that a busy server of rtsig meets in one turn.
const fewSignals = 1024

func checkQueuedSignals(h *Host) ([]Finding, error) {
	limit, err := h.Limit("Max pending signals")
	if err != nil {
		return nil, err
	}
	text, err := h.status("SigQ")
	if err != nil {
		return nil, err
	}
	var queued, most int64
	if _, err := fmt.Sscanf(text, "%d/%d", &queued, &most); err != nil {
		return nil, fmt.Errorf("/proc/%d/status: SigQ is %q", h.PID, text)
	}
	f := Finding{
		Evidence: []string{
			fmt.Sprintf("/proc/%d/status: SigQ %s", h.PID, text),
			fmt.Sprintf("/proc/%d/limits: Max pending signals %d, hard %d", h.PID, limit.Soft, limit.Hard),
		},
		Recheck: fmt.Sprintf("grep SigQ /proc/%d/status", h.PID),
	}
	harm, ok := filling(queued, most)
	switch {
	case ok && queued > 0:
		f.Harm = min(harm, Hurting)
		f.Title = fmt.Sprintf("%d of %d signals that the user of process %d may have are queued", queued, most, h.PID)
		f.Cause = "a process of this user takes its signals too slowly, or is stopped; what comes beyond the limit is " +
			"dropped"
	case most < fewSignals:
		f.Harm = Info
		f.Title = fmt.Sprintf("process %d may have %d signals queued", h.PID, most)
		f.Cause = "RLIMIT_SIGPENDING is low; the driver rtsig would have to look at every connection again and again"
	default:
		return nil, nil
	}
	want := max(most*4, 1<<16)
	f.Fix = fmt.Sprintf("prlimit --pid %d --sigpending=%d:%d", h.PID, want, max(want, limit.Hard))
	f.Better = "set LimitSIGPENDING= of the service, which lasts"
	f.Settings = []Setting{{"LimitSIGPENDING", strconv.FormatInt(most, 10), strconv.FormatInt(want, 10)}}
	return []Finding{f}, nil
}

// status is a line of the status of the process that is asked about.
func (h *Host) status(name string) (string, error) {
	if h.PID == 0 {
		return "", ErrNoProcess
	}
	text, err := h.ProcFile(fmt.Sprintf("%d/status", h.PID))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest), nil
		}
	}
	return "", fmt.Errorf("/proc/%d/status has no line %s", h.PID, name)
}

var uringAllowed = Check{
	Name: "io-uring",
	About: "The driver uring takes a system call for a whole turn and holds connections without descriptors. " +
		"kernel.io_uring_disabled (0, 1: only for CAP_SYS_ADMIN and kernel.io_uring_group, 2) may forbid it, and the " +
		"seccomp filters of container runtimes do (Docker and containerd since 2023). The server then takes epoll and " +
		"says so. The check looks at the sysctl, tries it where the doctor runs, and looks for a filter on the process " +
		"that is named.",
	Run: checkUring,
}

func checkUring(h *Host) ([]Finding, error) {
	const key = "kernel.io_uring_disabled"
	// Kernels before 6.6 have not got the sysctl, and then nothing is forbidden by it.
	disabled, err := h.Sysctl(key)
	if err == nil && disabled != "0" {
		return []Finding{{
			Harm:     Info,
			Title:    "io_uring is forbidden on this host",
			Evidence: []string{key + ": " + disabled},
			Cause:    "the sysctl denies it, to everybody (2) or to all but a group and CAP_SYS_ADMIN (1)",
			Fix:      "sysctl -w " + key + "=0",
			Better:   "leave it so if the host runs code of strangers: epoll serves as well, at more processor time a request",
			Recheck:  "sysctl " + key + "; myriad drivers",
		}}, nil
	}
	if h.PID != 0 {
		return h.filtered()
	}
	support := probeUring()
	if support.OK {
		return nil, nil
	}
	return []Finding{{
		Harm:     Info,
		Title:    "io_uring does not work where the doctor runs",
		Evidence: []string{"io_uring_setup(2): " + support.Why},
		Cause:    support.Why,
		Fix:      support.Fix,
		Recheck:  "myriad drivers",
	}}, nil
}

// filtered tells of a seccomp filter on the process; what it denies cannot be seen from outside.
func (h *Host) filtered() ([]Finding, error) {
	mode, err := h.status("Seccomp")
	if err != nil || mode != "2" {
		return nil, err
	}
	return []Finding{{
		Harm:     Info,
		Title:    fmt.Sprintf("process %d runs under a seccomp filter, which may deny io_uring", h.PID),
		Evidence: []string{fmt.Sprintf("/proc/%d/status: Seccomp: %s", h.PID, mode)},
		Cause:    "container runtimes filter system calls, and their filters leave io_uring out",
		Fix:      "run the container with a profile that has io_uring_setup, io_uring_enter and io_uring_register",
		Recheck:  "myriad drivers, run in the container",
	}}, nil
}

func probeUring() driver.Support {
	for _, f := range standard.Drivers() {
		if f.Name == "uring" {
			return f.Probe()
		}
	}
	return driver.Support{Why: "this program was built without it", Fix: "build it with the driver uring"}
}
