package app

import (
	"fmt"
	"math"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"github.com/myriad-server/myriad/internal/sys"
)

// Host is what this machine lets the process have. What could not be found out is math.MaxInt64: it is no wall.
type Host struct {
	// Processors that the process may use: its affinity counts, and its control group's share of them.
	Processors int
	// Descriptors is the limit on open descriptors of the process.
	Descriptors int64
	// Files is how many more files the whole system may open.
	Files int64
	// MemoryBytes is how much memory there is to take.
	MemoryBytes int64
	// Threads is how many threads the process may have.
	Threads int64
	// Signals is how many signals may be queued for the user.
	Signals int64
	// Backlog is the longest queue that a listening socket may have.
	Backlog int64
}

// Examine raises the soft limit on descriptors to the hard one and looks at the machine.
func Examine() (Host, error) {
	soft, _, err := sys.RaiseDescriptors()
	if err != nil {
		return Host{}, fmt.Errorf("the limit on descriptors cannot be raised: %w", err)
	}
	h := Host{
		Processors:  min(runtime.NumCPU(), runtime.GOMAXPROCS(0)),
		Descriptors: bounded(soft),
		Files:       math.MaxInt64,
		MemoryBytes: memory(),
		Threads:     threads(),
		Signals:     math.MaxInt64,
		Backlog:     number("/proc/sys/net/core/somaxconn"),
	}
	if soft, _, err := sys.Limit(sys.LimitSignals); err == nil {
		h.Signals = bounded(soft)
	}
	if text, err := os.ReadFile("/proc/sys/fs/file-nr"); err == nil {
		var open, unused, most int64
		if _, err := fmt.Sscan(string(text), &open, &unused, &most); err == nil {
			h.Files = max(most-open, 0)
		}
	}
	return h, nil
}

// Keep counts as free what connections take that are open already and go on in this process: their files and the
// kernel's memory for them are not taken a second time.
func (h *Host) Keep(connections int64) {
	if h.Files < math.MaxInt64 {
		h.Files += connections
	}
	h.MemoryBytes += connections * kernelBytes
}

// threads is how many threads there may be; the pids of a control group are threads.
func threads() int64 {
	return min(number("/proc/sys/kernel/threads-max"), number("/proc/sys/kernel/pid_max"), number(group("pids.max")))
}

// bounded is a resource limit, whose "unlimited" is the largest unsigned number.
func bounded(limit uint64) int64 { return int64(min(limit, math.MaxInt64)) }

// number reads a file that holds one; a file without one ("max", or none at all) is no limit.
func number(name string) int64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

// group is the file of a control group's controller, cgroups(7) version 2; empty where there is none.
func group(file string) string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Join("/sys/fs/cgroup", name, file)
		}
	}
	return ""
}

// memory is what the kernel thinks can be taken without swapping, or less where a control group allows less.
func memory() int64 {
	available := meminfo("MemAvailable:")
	if most := number(group("memory.max")); most < math.MaxInt64 {
		if used := number(group("memory.current")); used < math.MaxInt64 {
			available = min(available, max(most-used, 0))
		}
	}
	return available
}

func meminfo(key string) int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return math.MaxInt64
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			if n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
				return n << 10
			}
		}
	}
	return math.MaxInt64
}
