package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// fullShare is the part of a limit from which on it is worth a warning, and nearlyFull the part from which on there is
// no time left, in percent.
const (
	fullShare  = 80
	nearlyFull = 95
)

// filling grades how full something is; ok is false below the first mark.
func filling(used, most int64) (harm Harm, ok bool) {
	// Rounded up, and without a product that could be too large: fs.file-max is the largest number there is on many hosts.
	mark := func(share int64) int64 { return most/100*share + (most%100*share+99)/100 }
	switch {
	case most <= 0 || used >= mark(nearlyFull):
		return Outage, true
	case used >= mark(fullShare):
		return Warning, true
	}
	return Info, false
}

var processDescriptors = Check{
	Name: "process-descriptors",
	About: "Each connection takes a descriptor of the process that holds it, a proxied one two. When RLIMIT_NOFILE is " +
		"used up accept(2) fails with EMFILE: new clients wait in the accept queue and are then dropped, and dialling " +
		"upstream fails as well. The soft limit is what counts; a process may raise it to the hard one by itself, as " +
		"Myriad does.",
	Needs: NeedsProcess,
	Run:   checkProcessDescriptors,
}

func checkProcessDescriptors(h *Host) ([]Finding, error) {
	limit, err := h.Limit("Max open files")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(h.Proc, strconv.Itoa(h.PID), "fd"))
	if err != nil {
		return nil, err
	}
	used := int64(len(entries))
	harm, ok := filling(used, limit.Soft)
	if !ok {
		return nil, nil
	}
	ceiling, err := h.SysctlNumber("fs.nr_open")
	if err != nil {
		return nil, err
	}
	want := limit.Hard
	if limit.Soft >= limit.Hard/2 {
		want = max(limit.Hard*4, 1<<16)
	}
	fix := fmt.Sprintf("prlimit --pid %d --nofile=%d:%[2]d", h.PID, want)
	if want > ceiling { // which no hard limit may pass
		fix = fmt.Sprintf("sysctl -w fs.nr_open=%d && %s", want, fix)
	}
	return []Finding{{
		Harm:  harm,
		Title: fmt.Sprintf("process %d has %d of %d descriptors open", h.PID, used, limit.Soft),
		Evidence: []string{
			fmt.Sprintf("/proc/%d/fd: %d entries", h.PID, used),
			fmt.Sprintf("/proc/%d/limits: Max open files %d, hard %d; fs.nr_open: %d", h.PID, limit.Soft, limit.Hard, ceiling),
		},
		Cause:    "RLIMIT_NOFILE is low for what the process holds open; at the limit accept and connect fail (EMFILE)",
		Fix:      fix,
		Better:   "set LimitNOFILE= of the service, which lasts",
		Recheck:  fmt.Sprintf("ls /proc/%d/fd | wc -l; grep 'open files' /proc/%d/limits", h.PID, h.PID),
		Settings: []Setting{{"LimitNOFILE", strconv.FormatInt(limit.Soft, 10), strconv.FormatInt(want, 10)}},
	}}, nil
}

var systemDescriptors = Check{
	Name: "system-descriptors",
	About: "All processes together may have fs.file-max files open. At that number every open, accept and connect on " +
		"the host fails with ENFILE, except for root's.",
	Run: checkSystemDescriptors,
}

func checkSystemDescriptors(h *Host) ([]Finding, error) {
	numbers, err := h.SysctlNumbers("fs.file-nr", 3)
	if err != nil {
		return nil, err
	}
	open, most := numbers[0]-numbers[1], numbers[2]
	harm, ok := filling(open, most)
	if !ok {
		return nil, nil
	}
	want := strconv.FormatInt(most*4, 10)
	return []Finding{{
		Harm:     harm,
		Title:    fmt.Sprintf("the host has %d of %d files open", open, most),
		Evidence: []string{"fs.file-nr: " + strings.Trim(fmt.Sprint(numbers), "[]")},
		Cause:    "fs.file-max is low for what runs here; at the limit accept fails for everybody (ENFILE)",
		Fix:      "sysctl -w fs.file-max=" + want,
		Recheck:  "sysctl fs.file-nr",
		Settings: []Setting{{"fs.file-max", strconv.FormatInt(most, 10), want}},
	}}, nil
}
