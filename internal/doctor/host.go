package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Host is where checks get their facts. Each file is read once between two calls of Refresh, so that all checks judge
// the same moment. A Host belongs to one goroutine.
type Host struct {
	// Proc and Sys are the roots of proc(5) and sysfs(5); tests put other trees there.
	Proc, Sys string
	// PID is the process that is asked about; 0 for the host alone.
	PID int
	// Now is the clock.
	Now func() time.Time
	// Network answers for links; nil asks the kernel.
	Network Network

	links   string // the folder of links, once cards has found it
	files   map[string]fact
	earlier map[string]fact
	sampleT time.Time
	freshT  time.Time

	census    *Census
	censusErr error
}

// A fact is a file as it was read.
type fact struct {
	text string
	err  error
}

// sampledFiles are the files of /proc with counters that checks compare over time.
var sampledFiles = []string{
	"net/snmp", "net/netstat", "net/softnet_stat", "net/sockstat", "net/dev", conntrackStatistics,
	"stat", "interrupts", "vmstat",
}

// ErrNoProcess is the answer to questions about a process when none was named.
var ErrNoProcess = errors.New("no process was named")

// This is the host that the program runs on, and a process of it, or 0.
func This(pid int) *Host { return &Host{Proc: "/proc", Sys: "/sys", PID: pid, Now: time.Now} }

// Refresh forgets what was read, so that the next questions are about now. The sample stays.
func (h *Host) Refresh() {
	h.files, h.census, h.censusErr, h.freshT = nil, nil, nil, h.Now()
}

// Sample keeps the counters as they are now, for Earlier and Counter to compare with.
func (h *Host) Sample() {
	h.Refresh()
	h.earlier, h.sampleT = map[string]fact{}, h.freshT
	for _, name := range sampledFiles {
		text, err := h.ProcFile(name)
		h.earlier[name] = fact{text, err}
	}
	h.sampleGroups()
}

func (h *Host) sampled() bool { return h.earlier != nil }

// Elapsed is the time between the sample and the facts; 0 without a sample.
func (h *Host) Elapsed() time.Duration {
	if !h.sampled() {
		return 0
	}
	return h.freshT.Sub(h.sampleT)
}

// Earlier is a file of counters as it was in the sample; it is an error to ask without one.
func (h *Host) Earlier(name string) (string, error) {
	f, known := h.earlier[name]
	if !known {
		return "", fmt.Errorf("%s was not sampled", name)
	}
	return f.text, f.err
}

// ProcFile is the text of a file under /proc. A name that begins with net/ is taken from the network namespace of the
// process that is asked about.
func (h *Host) ProcFile(name string) (string, error) {
	if rest, ok := strings.CutPrefix(name, "net/"); ok && h.PID != 0 {
		name = fmt.Sprintf("%d/net/%s", h.PID, rest)
	}
	return h.read(filepath.Join(h.Proc, name))
}

// SysFile is the text of a file under /sys.
func (h *Host) SysFile(name string) (string, error) { return h.read(filepath.Join(h.Sys, name)) }

func (h *Host) read(name string) (string, error) {
	if f, known := h.files[name]; known {
		return f.text, f.err
	}
	text, err := os.ReadFile(name)
	if h.files == nil {
		h.files = map[string]fact{}
	}
	h.files[name] = fact{string(text), err}
	return string(text), err
}

// Sysctl is a value of /proc/sys by its name with dots, without white space at its ends. In a name that has dots of its
// own (a VLAN's) these are written as slashes, as for sysctl(8).
func (h *Host) Sysctl(name string) (string, error) {
	if strings.HasPrefix(name, "net.") {
		if err := h.entered(); err != nil {
			return "", err
		}
	}
	text, err := h.ProcFile(sysctlPath(name))
	return strings.Join(strings.Fields(text), " "), err
}

// Enter moves the calling goroutine into the network namespace of the process that is asked about, if that has one of
// its own (a container's), and locks it to its thread for good. Until then the sysctls of net and the sockets that can
// be seen are others', and asking for them is an error. It needs root.
func (h *Host) Enter() error {
	if h.entered() == nil {
		return nil
	}
	runtime.LockOSThread()
	if err := sys.EnterNetwork(filepath.Join(h.Proc, strconv.Itoa(h.PID), "ns", "net")); err != nil {
		return fmt.Errorf("the network namespace of process %d cannot be entered: %w", h.PID, err)
	}
	h.Refresh()
	return nil
}

// entered says no if this thread is in another network namespace than the process that is asked about. A /proc of a
// test has none.
func (h *Host) entered() error {
	if h.PID == 0 {
		return nil
	}
	own, err := os.Readlink(filepath.Join(h.Proc, "thread-self", "ns", "net"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	its, err := os.Readlink(filepath.Join(h.Proc, strconv.Itoa(h.PID), "ns", "net"))
	if err != nil {
		return err
	}
	if own != its {
		return fmt.Errorf("process %d is in another network namespace, which only root can enter", h.PID)
	}
	return nil
}

// sysctlPath is where a value is under /proc.
func sysctlPath(name string) string {
	return "sys/" + strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}

// SysctlNumber is a sysctl with one number.
func (h *Host) SysctlNumber(name string) (int64, error) {
	numbers, err := h.SysctlNumbers(name, 1)
	if err != nil {
		return 0, err
	}
	return numbers[0], nil
}

// SysctlNumbers is a sysctl with so many numbers.
func (h *Host) SysctlNumbers(name string, count int) ([]int64, error) {
	text, err := h.Sysctl(name)
	if err != nil {
		return nil, err
	}
	var numbers []int64
	for word := range strings.FieldsSeq(text) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is %q, not a number", name, text)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) != count {
		return nil, fmt.Errorf("%s is %q, not %d numbers", name, text, count)
	}
	return numbers, nil
}

// Count is a counter of the kernel. Without a sample Grown is Total, and Over is 0: since the host was started.
type Count struct {
	Total, Grown int64
	Over         time.Duration
}

// String is the counter as evidence: how much in what time.
func (c Count) String() string {
	if c.Over == 0 {
		return fmt.Sprintf("%d since the start of the host", c.Total)
	}
	return fmt.Sprintf("%d more in %.3g s, %d since the start of the host", c.Grown, c.Over.Seconds(), c.Total)
}

// Counter is a counter of net/snmp or net/netstat by its group and name: "TcpExt", "ListenOverflows".
func (h *Host) Counter(group, name string) (Count, error) {
	for _, file := range []string{"net/netstat", "net/snmp"} {
		text, err := h.ProcFile(file)
		if err != nil {
			return Count{}, err
		}
		total, known := column(text, group, name)
		if !known {
			continue
		}
		c := Count{Total: total, Grown: total}
		if h.sampled() {
			text, err := h.Earlier(file)
			if err != nil {
				return Count{}, err
			}
			before, _ := column(text, group, name)
			c.Grown, c.Over = total-before, h.Elapsed()
		}
		return c, nil
	}
	return Count{}, fmt.Errorf("this kernel has no counter %s %s", group, name)
}

// column finds a number in the format of net/snmp, where a line of names goes before one of values.
func column(text, group, name string) (value int64, known bool) {
	var names []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != group+":" {
			continue
		}
		if names == nil {
			names = words
			continue
		}
		for i, n := range names {
			if n == name && i < len(words) {
				value, err := strconv.ParseInt(words[i], 10, 64)
				return value, err == nil
			}
		}
		names = nil
	}
	return 0, false
}

// Sockstat is a number of net/sockstat: "TCP", "mem" is how many pages TCP has for buffers.
func (h *Host) Sockstat(group, name string) (int64, error) {
	text, err := h.ProcFile("net/sockstat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != group+":" {
			continue
		}
		for i := 1; i+1 < len(words); i += 2 {
			if words[i] == name {
				return strconv.ParseInt(words[i+1], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("net/sockstat has no %s %s", group, name)
}

// Unlimited is a resource limit that is none.
const Unlimited = math.MaxInt64

// Limit is a resource limit of a process, see getrlimit(2).
type Limit struct{ Soft, Hard int64 }

// Limit is a limit of the process that is asked about, by its name in /proc/PID/limits: "Max open files".
func (h *Host) Limit(name string) (Limit, error) {
	if h.PID == 0 {
		return Limit{}, ErrNoProcess
	}
	text, err := h.ProcFile(fmt.Sprintf("%d/limits", h.PID))
	if err != nil {
		return Limit{}, err
	}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name+" ")
		words := strings.Fields(rest)
		if !ok || len(words) < 2 {
			continue
		}
		var l Limit
		for i, to := range []*int64{&l.Soft, &l.Hard} {
			if *to = Unlimited; words[i] != "unlimited" {
				if *to, err = strconv.ParseInt(words[i], 10, 64); err != nil {
					return Limit{}, fmt.Errorf("the limit %s is %q, not a number", name, words[i])
				}
			}
		}
		return l, nil
	}
	return Limit{}, fmt.Errorf("process %d has no limit called %s", h.PID, name)
}
