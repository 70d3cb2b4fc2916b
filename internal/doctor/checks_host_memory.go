package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// memoryFact is a number of /proc/meminfo or of a process's status, in bytes.
func (h *Host) memoryFact(file, name string) (int64, error) {
	text, err := h.ProcFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%s has no %s", file, name)
}

// byteSize writes a size for people.
func byteSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.4g %s", value, units[unit])
}

var swapInUse = Check{
	Name: "swap",
	About: "A server whose memory is on a disk answers after milliseconds, and a collector of garbage that walks " +
		"through it stalls everything. Swap that is filled once and left alone is harmless; pages that come back (pswpin " +
		"of /proc/vmstat) are not. vm.swappiness says how readily the kernel swaps rather than dropping cached files.",
	Needs: NeedsRates,
	Run:   checkSwap,
}

// readySwappiness is where the kernel swaps programs to keep files; 60 is the default.
const readySwappiness = 10

func checkSwap(h *Host) ([]Finding, error) {
	total, err := h.memoryFact("meminfo", "SwapTotal")
	if err != nil || total == 0 {
		return nil, err
	}
	free, err := h.memoryFact("meminfo", "SwapFree")
	if err != nil {
		return nil, err
	}
	swappiness, err := h.SysctlNumber("vm.swappiness")
	if err != nil {
		return nil, err
	}
	back, err := h.swappedIn()
	if err != nil {
		return nil, err
	}
	own := int64(0)
	if h.PID != 0 {
		if own, err = h.memoryFact(fmt.Sprintf("%d/status", h.PID), "VmSwap"); err != nil {
			return nil, err
		}
	}
	f := Finding{
		Evidence: []string{
			fmt.Sprintf("/proc/meminfo: %s of %s swap in use", byteSize(total-free), byteSize(total)),
			fmt.Sprintf("/proc/vmstat, pswpin: %s", back), fmt.Sprintf("vm.swappiness: %d", swappiness),
		},
		Cause:   "programs want more memory than the host has, or the kernel prefers files in its cache",
		Fix:     fmt.Sprintf("sysctl -w vm.swappiness=%d; more memory, or MemorySwapMax=0 for the service", readySwappiness),
		Recheck: "vmstat 1 3   # column si",
	}
	if own > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("/proc/%d/status: VmSwap %s", h.PID, byteSize(own)))
	}
	switch {
	case back.Over > 0 && back.Grown > 0:
		f.Harm, f.Title = Hurting, "memory is being read back from swap"
	case own > 0:
		f.Harm, f.Title = Warning, fmt.Sprintf("process %d has %s in swap", h.PID, byteSize(own))
	case swappiness > readySwappiness:
		f.Harm, f.Title = Info, "the kernel may swap the server out to keep files in its cache"
		f.Cause = fmt.Sprintf("there is swap, and vm.swappiness is %d", swappiness)
	default:
		return nil, nil
	}
	return []Finding{f}, nil
}

func (h *Host) swappedIn() (Count, error) {
	text, err := h.ProcFile("vmstat")
	if err != nil {
		return Count{}, err
	}
	total, err := swapColumn(text)
	c := Count{Total: total, Grown: total}
	if err != nil || !h.sampled() {
		return c, err
	}
	if text, err = h.Earlier("vmstat"); err != nil {
		return c, err
	}
	before, err := swapColumn(text)
	c.Grown, c.Over = total-before, h.Elapsed()
	return c, err
}

func swapColumn(text string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "pswpin "); ok {
			return strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/vmstat has no pswpin")
}

var hugePages = Check{
	Name: "huge-pages",
	About: "With transparent huge pages on \"always\" the kernel backs any memory with pages of 2 MiB. A program that " +
		"holds many small things apart, as one with a million connections may, then has more memory than it uses, and " +
		"freed memory comes back in 2 MiB only. \"madvise\" leaves the choice to programs; Go chooses by itself.",
	Run: checkHugePages,
}

func checkHugePages(h *Host) ([]Finding, error) {
	const name = "kernel/mm/transparent_hugepage/enabled"
	text, err := h.SysFile(name)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(text, "[always]") {
		return nil, nil
	}
	return []Finding{{
		Harm:     Info,
		Title:    "transparent huge pages are on for all memory",
		Evidence: []string{"/sys/" + name + ": " + strings.TrimSpace(text)},
		Cause:    "sparse memory is rounded up to 2 MiB, and the kernel's thread that joins pages takes processor time",
		Fix:      "echo madvise > /sys/" + name + "; for good: the kernel's parameter transparent_hugepage=madvise",
		Recheck:  "cat /sys/" + name,
	}}, nil
}

var overcommit = Check{
	Name: "overcommit",
	About: "With vm.overcommit_memory at 2 the kernel grants no more memory than CommitLimit, whether it is used or " +
		"not. Programs that reserve much and use little (Go's heap, thread stacks, rings) fail there with memory to " +
		"spare, when they start a thread, fork or map.",
	Run: checkOvercommit,
}

func checkOvercommit(h *Host) ([]Finding, error) {
	mode, err := h.SysctlNumber("vm.overcommit_memory")
	if err != nil || mode != 2 {
		return nil, err
	}
	limit, err := h.memoryFact("meminfo", "CommitLimit")
	if err != nil {
		return nil, err
	}
	committed, err := h.memoryFact("meminfo", "Committed_AS")
	if err != nil {
		return nil, err
	}
	harm, ok := filling(committed, limit)
	if !ok {
		harm = Info
	}
	return []Finding{{
		Harm: harm,
		Title: fmt.Sprintf("%s of %s of memory are promised, and the kernel promises no more", byteSize(committed),
			byteSize(limit)),
		Evidence: []string{
			"vm.overcommit_memory: 2", fmt.Sprintf("/proc/meminfo: CommitLimit %s, Committed_AS %s", byteSize(limit),
				byteSize(committed)),
		},
		Cause:   "strict accounting counts what is reserved, not what is used; at the limit threads and mappings fail",
		Fix:     "sysctl -w vm.overcommit_memory=0, or raise vm.overcommit_ratio",
		Recheck: "sysctl vm.overcommit_memory; grep Commit /proc/meminfo",
	}}, nil
}

var memoryMaps = Check{
	Name: "memory-maps",
	About: "A process may have vm.max_map_count mappings, 65,530 by default. Each thread stack and each ring is one or " +
		"two; past the limit mmap(2) fails with memory to spare, and with it whatever needed a thread or a heap.",
	Needs: NeedsProcess,
	Run:   checkMemoryMaps,
}

func checkMemoryMaps(h *Host) ([]Finding, error) {
	text, err := h.ProcFile(fmt.Sprintf("%d/maps", h.PID))
	if err != nil {
		return nil, err
	}
	most, err := h.SysctlNumber("vm.max_map_count")
	if err != nil {
		return nil, err
	}
	used := int64(strings.Count(text, "\n"))
	harm, ok := filling(used, most)
	if !ok {
		return nil, nil
	}
	want := strconv.FormatInt(most*4, 10)
	return []Finding{{
		Harm:     harm,
		Title:    fmt.Sprintf("process %d has %d of %d mappings", h.PID, used, most),
		Evidence: []string{fmt.Sprintf("/proc/%d/maps: %d lines", h.PID, used), fmt.Sprintf("vm.max_map_count: %d", most)},
		Cause:    "thread stacks, mapped files and rings are mappings; at the limit mmap fails with memory to spare",
		Fix:      "sysctl -w vm.max_map_count=" + want,
		Recheck:  fmt.Sprintf("wc -l /proc/%d/maps; sysctl vm.max_map_count", h.PID),
		Settings: []Setting{{"vm.max_map_count", strconv.FormatInt(most, 10), want}},
	}}, nil
}

var descriptorCeiling = Check{
	Name: "descriptor-ceiling",
	About: "fs.nr_open is the most that any RLIMIT_NOFILE can be, whoever asks, and fs.file-max is for all processes " +
		"together. A host that was set below the kernel's defaults refuses LimitNOFILE= of a service, which then does not " +
		"start or starts with less.",
	Run: checkDescriptorCeiling,
}

// The kernel's default of fs.nr_open, and a number of files that a server of today can reach.
const (
	defaultCeiling = 1 << 20
	leastFiles     = 1 << 18
)

func checkDescriptorCeiling(h *Host) ([]Finding, error) {
	var found []Finding
	for _, c := range []struct {
		name        string
		least, want int64
		harm        Harm
		cause       string
	}{
		{"fs.nr_open", defaultCeiling, defaultCeiling, Warning, "no process can be given more descriptors, root's neither"},
		{"fs.file-max", leastFiles, defaultCeiling, Warning, "all processes together can have no more files open"},
	} {
		have, err := h.SysctlNumber(c.name)
		if err != nil {
			return found, err
		}
		if have >= c.least {
			continue
		}
		want := strconv.FormatInt(c.want, 10)
		found = append(found, Finding{
			Harm:     c.harm,
			Title:    fmt.Sprintf("%s is %d", c.name, have),
			Evidence: []string{fmt.Sprintf("%s: %d", c.name, have)},
			Cause:    c.cause,
			Fix:      "sysctl -w " + c.name + "=" + want,
			Recheck:  "sysctl " + c.name,
			Settings: []Setting{{c.name, strconv.FormatInt(have, 10), want}},
		})
	}
	return found, nil
}
