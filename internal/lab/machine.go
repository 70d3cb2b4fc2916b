package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Machine is what was measured on, and with which programs.
type Machine struct {
	Processor  string            `json:"processor"`
	Processors int               `json:"processors"`
	Memory     int64             `json:"memory_bytes"`
	Kernel     string            `json:"kernel"`
	Servers    []int             `json:"processors_of_servers"`
	Load       []int             `json:"processors_of_load"`
	Versions   map[string]string `json:"versions"`
}

// name is the machine in a few words.
func (m *Machine) name() string {
	return fmt.Sprintf("%d × %s, %s", m.Processors, m.Processor, m.Kernel)
}

func describe(s *Stand) Machine {
	m := Machine{
		Processor: "unknown", Processors: runtime.NumCPU(), Servers: s.servers, Load: s.load,
		Versions: map[string]string{"go": runtime.Version()},
	}
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	if _, rest, ok := strings.Cut(string(cpu), "model name"); ok {
		line, _, _ := strings.Cut(rest, "\n")
		_, name, _ := strings.Cut(line, ":")
		m.Processor = strings.TrimSpace(name)
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = "Linux " + strings.TrimSpace(string(release))
	memory, _ := os.ReadFile("/proc/meminfo")
	m.Memory = number(string(memory), "MemTotal:") << 10
	if out, err := exec.Command(s.Program, "version").Output(); err == nil {
		m.Versions["myriad"] = strings.TrimSpace(string(out))
	}
	for _, tool := range [][]string{
		{"nginx", "-v"},
		{"redis-server", "--version"},
		{"strace", "--version"},
		{"nft", "--version"},
		{"wrk", "-v"},
		{"ab", "-V"},
		{"siege", "-V"},
	} {
		if out, _ := exec.Command(tool[0], tool[1:]...).CombinedOutput(); len(out) > 0 { // wrk shows it as a mistake
			line, _, _ := strings.Cut(string(out), "\n")
			m.Versions[tool[0]] = version(line, tool[0])
		}
	}
	return m
}

// version is a program's name and its number, of the line in which it tells them among other things.
func version(line, name string) string {
	start := strings.IndexAny(line, "0123456789")
	if start < 0 {
		return strings.TrimSpace(line)
	}
	number, _, _ := strings.Cut(line[start:], " ")
	return name + " " + number
}

// number is the integer behind a word, 0 if there is none.
func number(text, word string) int64 {
	_, rest, found := strings.Cut(text, word)
	fields := strings.Fields(rest[:min(len(rest), 64)])
	if !found || len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n
}

// usage is what a process has used so far and has now.
type usage struct {
	time     time.Duration // of processors
	threads  int64
	resident int64 // bytes
	switches int64 // of context, given up and taken away, by the threads that live
	reads    int64 // system calls read(2) and its kin
	writes   int64
}

// used reads it from the kernel.
func used(pid int) (u usage, err error) {
	if u.time, err = sys.ProcessTime(pid); err != nil {
		return u, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	u.threads, u.resident = number(string(status), "Threads:"), number(string(status), "VmRSS:")<<10
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return u, err
	}
	for _, t := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, t.Name()))
		if err != nil {
			continue // it has ended meanwhile
		}
		u.switches += number(string(text), "\nvoluntary_ctxt_switches:") + number(string(text), "nonvoluntary_ctxt_switches:")
	}
	if calls, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid)); err == nil {
		u.reads, u.writes = number(string(calls), "syscr:"), number(string(calls), "syscw:")
	}
	return u, nil
}

// add makes one usage of that of two processes.
func (u *usage) add(v usage) {
	u.time, u.threads, u.resident = u.time+v.time, u.threads+v.threads, u.resident+v.resident
	u.switches, u.reads, u.writes = u.switches+v.switches, u.reads+v.reads, u.writes+v.writes
}

// usedByAll is the sum over processes.
func usedByAll(pids []int) (sum usage, err error) {
	for _, pid := range pids {
		u, err := used(pid)
		if err != nil {
			return sum, err
		}
		sum.add(u)
	}
	return sum, nil
}

// proportional is the memory of processes in bytes, a page that several processes of the machine share divided by their
// number: the sum of PSS in proc_pid_smaps_rollup(5).
func proportional(pids []int) (bytes int64, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		bytes += number(string(text), "\nPss:") << 10
	}
	return bytes, nil
}
