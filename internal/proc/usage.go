package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Usage is what a process takes. Memory is its resident set (RSS), because the kernel has that at hand; it counts pages
// that several workers share once for each, above all the binary and the board. AnonymousBytes is the part that is
// shared with nobody in a process that does not fork, and so what adds up. See [Proportional] for the exact share.
type Usage struct {
	CPU            time.Duration // of all threads, to the nanosecond, those that ended included
	ResidentBytes  int64         // VmRSS of proc_pid_status(5)
	AnonymousBytes int64         // RssAnon
	SwappedBytes   int64         // VmSwap
	Threads        int
}

// Usage is what the child takes now. ErrGone when it has ended.
func (c *Child) Usage() (Usage, error) {
	u, err := UsageOf(c.pid)
	// The number was the child's all the time, if it is at the end.
	if gone := c.Signal(0); gone != nil {
		return Usage{}, gone
	}
	return u, err
}

// UsageOf is the usage of a process that is known not to end, such as this one.
func UsageOf(pid int) (u Usage, err error) {
	if u.CPU, err = sys.ProcessTime(pid); err != nil {
		return u, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	fields, err := kilobytes(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	u.ResidentBytes, u.AnonymousBytes = fields["VmRSS"]<<10, fields["RssAnon"]<<10
	u.SwappedBytes, u.Threads = fields["VmSwap"]<<10, int(fields["Threads"])
	return u, nil
}

// Proportional is the memory of the child with every shared page divided by the number of its users (PSS of
// proc_pid_smaps_rollup(5)), so the sum over all workers is what they take together. The kernel walks the whole address
// space for it, so it is for people who ask and not for every second. It needs the right to trace the process.
func (c *Child) Proportional() (bytes int64, err error) {
	fields, err := kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", c.pid))
	if gone := c.Signal(0); gone != nil {
		return 0, gone
	}
	return fields["Pss"] << 10, err
}

// kilobytes reads a file of lines as "Name: 12 kB", of which it takes the numbers.
func kilobytes(name string) (map[string]int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	fields := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		words := bytes.Fields(value)
		if len(words) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(string(words[0]), 10, 64); err == nil {
			fields[string(key)] = n
		}
	}
	return fields, nil
}
