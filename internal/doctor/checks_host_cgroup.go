package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// A controlGroup is one of those that a process is in, cgroups(7): the folder under /sys, and whether the controller
// is of version 2.
type controlGroup struct {
	folder  string
	unified bool
}

// controlGroups gives the groups of the process that is asked about, or of this one, for a controller, the innermost
// first: the limits of all of them hold.
func (h *Host) controlGroups(controller string) ([]controlGroup, error) {
	who := "self"
	if h.PID != 0 {
		who = strconv.Itoa(h.PID)
	}
	text, err := h.ProcFile(who + "/cgroup")
	if err != nil {
		return nil, err
	}
	base, name, unified := "", "", false
	for line := range strings.Lines(text) {
		words := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(words) < 3 {
			return nil, fmt.Errorf("/proc/%s/cgroup has a line %q", who, line)
		}
		if words[1] == "" && base == "" {
			base, name, unified = h.unifiedRoot(), words[2], true
		}
		for word := range strings.SplitSeq(words[1], ",") {
			if word == controller {
				base, name, unified = "fs/cgroup/"+words[1], words[2], false
			}
		}
	}
	if base == "" {
		return nil, fmt.Errorf("process %s is in no control group with %s", who, controller)
	}
	var groups []controlGroup
	for {
		// In a container the name may be that of the host, whose folders are not to be seen: the root is its own.
		if folder := path.Join(base, name); exists(filepath.Join(h.Sys, folder)) {
			groups = append(groups, controlGroup{folder, unified})
		}
		if name == "/" || name == "." || name == "" {
			break
		}
		name = path.Dir(name)
	}
	if groups == nil {
		return nil, fmt.Errorf("/sys/%s is not there: control groups are not mounted", base)
	}
	return groups, nil
}

// unifiedRoot is where version 2 is mounted: beside version 1 it has a folder of its own.
func (h *Host) unifiedRoot() string {
	if exists(h.Sys + "/fs/cgroup/unified") {
		return "fs/cgroup/unified"
	}
	return "fs/cgroup"
}

// number reads a file of a group; a group that has not got it, as the outermost, has no limit.
func (h *Host) groupNumber(g controlGroup, file string) (int64, error) {
	text, err := h.SysFile(g.folder + "/" + file)
	if errors.Is(err, fs.ErrNotExist) {
		return Unlimited, nil
	}
	if err != nil {
		return 0, err
	}
	return limitOf(strings.TrimSpace(text))
}

// limitOf reads a limit. "max" and -1 are none, and so is what version 1 writes for it, the largest number of pages.
func limitOf(text string) (int64, error) {
	if text == "max" || text == "-1" {
		return Unlimited, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if n >= math.MaxInt64&^0xfffff {
		n = Unlimited
	}
	return n, err
}

// groupEvents reads a file with a name and a number in each line; none is an empty one.
func (h *Host) groupEvents(g controlGroup, file string) (map[string]int64, error) {
	text, err := h.SysFile(g.folder + "/" + file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parseEvents(text), nil
}

func parseEvents(text string) map[string]int64 {
	events := map[string]int64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseInt(rest, 10, 64); err == nil {
			events[name] = n
		}
	}
	return events
}

// eachGroup asks a question of all groups of a controller.
func (h *Host) eachGroup(controller string, question func(controlGroup) ([]Finding, error)) ([]Finding, error) {
	groups, err := h.controlGroups(controller)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, g := range groups {
		findings, err := question(g)
		if found = append(found, findings...); err != nil {
			return found, err
		}
	}
	return found, nil
}

var groupMemory = Check{
	Name: "cgroup-memory",
	About: "A control group's memory.max counts the kernel's memory for sockets and their buffers too, some 4.5 KiB " +
		"for an idle connection. At the limit the kernel first takes back cached files, then kills (OOM) a process of the " +
		"group; at memory.high it slows every allocation down instead. Container memory limits are these. Version 1 calls " +
		"it memory.limit_in_bytes.",
	Run: checkGroupMemory,
}

func checkGroupMemory(h *Host) ([]Finding, error) {
	return h.eachGroup("memory", func(g controlGroup) ([]Finding, error) {
		m, err := h.memoryOf(g)
		if err != nil {
			return nil, err
		}
		f := Finding{
			Evidence: []string{
				fmt.Sprintf("/sys/%s/%s: %s", g.folder, m.limitFile, sizeOrNone(m.limit)),
				fmt.Sprintf("/sys/%s/%s: %s, of it %s cached files", g.folder, m.usedFile, byteSize(m.used), byteSize(m.cached)),
			},
			Recheck: fmt.Sprintf("cat /sys/%s/%s /sys/%s/%s", g.folder, m.limitFile, g.folder, m.usedFile),
			Fix: fmt.Sprintf("echo %d > /sys/%s/%s; for good: MemoryMax= of the service, or the container's limit",
				doubled(m.limit), g.folder, m.limitFile),
		}
		harm, full := filling(m.used-m.cached, m.limit)
		switch {
		case m.limit != Unlimited && full:
			f.Harm = harm
			f.Title = fmt.Sprintf("the control group has %s of %s of memory", byteSize(m.used-m.cached), byteSize(m.limit))
			f.Cause = "the limit counts sockets and their buffers too; at it the kernel kills a process of the group"
		case m.high != Unlimited && m.used-m.cached >= m.high/percentsWhole*nearlyFull:
			f.Harm = Hurting
			f.Title = fmt.Sprintf("the control group is slowed down at memory.high, %s", byteSize(m.high))
			f.Cause = "beyond memory.high each allocation waits while the kernel takes memory back"
			f.Fix = fmt.Sprintf("echo %d > /sys/%s/memory.high; for good: MemoryHigh= of the service", doubled(m.high), g.folder)
			f.Recheck = fmt.Sprintf("cat /sys/%s/memory.high /sys/%s/memory.current", g.folder, g.folder)
		case m.kills > 0:
			f.Harm = Info
			f.Title = fmt.Sprintf("the kernel has killed %d processes of the control group for want of memory", m.kills)
			f.Cause = "the group was at its limit some time ago"
		default:
			return nil, nil
		}
		if m.kills > 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("killed for memory: %d", m.kills))
		}
		return []Finding{f}, nil
	})
}

func doubled(n int64) int64 {
	if n > Unlimited/2 {
		return n
	}
	return n * 2
}

func sizeOrNone(n int64) string {
	if n == Unlimited {
		return "no limit"
	}
	return byteSize(n)
}

// groupUse is the memory of a group, in bytes.
type groupUse struct {
	limitFile, usedFile       string
	limit, high, used, cached int64
	kills                     int64
}

func (h *Host) memoryOf(g controlGroup) (groupUse, error) {
	u := groupUse{limitFile: "memory.max", usedFile: "memory.current", high: Unlimited}
	events, inactive := "memory.events", "inactive_file"
	if !g.unified {
		u.limitFile, u.usedFile = "memory.limit_in_bytes", "memory.usage_in_bytes"
		events, inactive = "memory.oom_control", "total_inactive_file"
	}
	var err error
	if u.limit, err = h.groupNumber(g, u.limitFile); err != nil {
		return u, err
	}
	if u.used, err = h.groupNumber(g, u.usedFile); err != nil {
		return u, err
	}
	if u.used == Unlimited { // the outermost group does not count
		u.used = 0
	}
	if g.unified {
		if u.high, err = h.groupNumber(g, "memory.high"); err != nil {
			return u, err
		}
	}
	statistics, err := h.groupEvents(g, "memory.stat")
	if err != nil {
		return u, err
	}
	u.cached = min(statistics[inactive], u.used)
	counted, err := h.groupEvents(g, events)
	u.kills = counted["oom_kill"]
	return u, err
}

var groupTasks = Check{
	Name: "cgroup-tasks",
	About: "pids.max of a control group counts threads. A server with a thread for each connection, or a Go program " +
		"whose threads block in files, meets it long before the host's limits; clone(2) then fails with EAGAIN, which a " +
		"Go program does not survive.",
	Run: checkGroupTasks,
}

func checkGroupTasks(h *Host) ([]Finding, error) {
	return h.eachGroup("pids", func(g controlGroup) ([]Finding, error) {
		most, err := h.groupNumber(g, "pids.max")
		if err != nil || most == Unlimited {
			return nil, err
		}
		used, err := h.groupNumber(g, "pids.current")
		if err != nil {
			return nil, err
		}
		events, err := h.groupEvents(g, "pids.events")
		if err != nil {
			return nil, err
		}
		harm, full := filling(used, most)
		if !full {
			return nil, nil
		}
		return []Finding{{
			Harm:  harm,
			Title: fmt.Sprintf("the control group has %d of %d threads", used, most),
			Evidence: []string{
				fmt.Sprintf("/sys/%s/pids.max: %d", g.folder, most), fmt.Sprintf("/sys/%s/pids.current: %d", g.folder, used),
				fmt.Sprintf("/sys/%s/pids.events: refused %d times", g.folder, events["max"]),
			},
			Cause:   "pids.max counts threads; at the limit a new thread or process fails with EAGAIN",
			Fix:     fmt.Sprintf("echo %d > /sys/%s/pids.max; for good: TasksMax= of the service", doubled(most), g.folder),
			Recheck: fmt.Sprintf("cat /sys/%s/pids.max /sys/%s/pids.current", g.folder, g.folder),
		}}, nil
	})
}

var groupProcessor = Check{
	Name: "cgroup-cpu",
	About: "A control group with a quota (cpu.max) that has used it up stands still until the next period, 100 ms by " +
		"default: a server answers at once, or after up to 100 ms. It shows as nr_throttled in cpu.stat and nowhere else; " +
		"the processors look idle. Container CPU limits are such quotas.",
	Needs: NeedsRates,
	Run:   checkGroupProcessor,
}

// Shares of the periods in which a group stood still, in percent.
const (
	someThrottled = 1
	muchThrottled = 10
)

func checkGroupProcessor(h *Host) ([]Finding, error) {
	return h.eachGroup("cpu", func(g controlGroup) ([]Finding, error) {
		quota, period, err := h.quotaOf(g)
		if err != nil || quota == Unlimited {
			return nil, err
		}
		name := g.folder + "/cpu.stat"
		text, err := h.SysFile(name)
		if err != nil {
			return nil, err
		}
		now, over := parseEvents(text), "since the group was made"
		periods, throttled := now["nr_periods"], now["nr_throttled"]
		if h.sampled() {
			if text, err := h.Earlier(name); err == nil { // else it was not there yet
				before := parseEvents(text)
				periods, throttled = periods-before["nr_periods"], throttled-before["nr_throttled"]
				over = fmt.Sprintf("in %.3g s", h.Elapsed().Seconds())
			}
		}
		if throttled == 0 || throttled*percentsWhole < periods*someThrottled {
			return nil, nil
		}
		harm := Warning
		if throttled*percentsWhole >= periods*muchThrottled {
			harm = Hurting
		}
		fix := fmt.Sprintf("echo '%d %d' > /sys/%s/cpu.max", quota*2, period, g.folder)
		if !g.unified {
			fix = fmt.Sprintf("echo %d > /sys/%s/cpu.cfs_quota_us", quota*2, g.folder)
		}
		return []Finding{{
			Harm:  harm,
			Title: fmt.Sprintf("the control group stood still in %d of %d periods", throttled, periods),
			Evidence: []string{
				fmt.Sprintf("/sys/%s: %d us of processor time in each %d us", g.folder, quota, period),
				fmt.Sprintf("cpu.stat: nr_throttled %d, nr_periods %d %s", throttled, periods, over),
			},
			Cause:   "it used up its quota and waited for the next period with work to do",
			Fix:     fix + "; for good: CPUQuota= of the service, or the container's limit",
			Recheck: fmt.Sprintf("grep throttled /sys/%s", name),
		}}, nil
	})
}

// quotaOf is the processor time of a group in each period, in microseconds.
func (h *Host) quotaOf(g controlGroup) (quota, period int64, err error) {
	if !g.unified {
		if quota, err = h.groupNumber(g, "cpu.cfs_quota_us"); err != nil {
			return 0, 0, err
		}
		period, err = h.groupNumber(g, "cpu.cfs_period_us")
		return quota, period, err
	}
	text, err := h.SysFile(g.folder + "/cpu.max")
	if errors.Is(err, fs.ErrNotExist) {
		return Unlimited, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	words := strings.Fields(text)
	if len(words) != 2 {
		return 0, 0, fmt.Errorf("/sys/%s/cpu.max is %q", g.folder, text)
	}
	if quota, err = limitOf(words[0]); err != nil {
		return 0, 0, err
	}
	period, err = strconv.ParseInt(words[1], 10, 64)
	return quota, period, err
}

// sampleGroups keeps the counters of processor time with the sample.
func (h *Host) sampleGroups() {
	groups, err := h.controlGroups("cpu")
	if err != nil {
		return // the check says so
	}
	for _, g := range groups {
		name := g.folder + "/cpu.stat"
		text, err := h.SysFile(name)
		h.earlier[name] = fact{text, err}
	}
}
