package listen

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	mostHolders  = 4                      // processes that an error names
	searchBudget = 300 * time.Millisecond // for finding them; a machine with a million descriptors takes much longer
)

// holders names the processes that listen on the port, as far as this one may know and soon finds out. It reads much of
// /proc and is only for the error path.
func holders(s Spec) string {
	if s.unix() {
		return ""
	}
	deadline := time.Now().Add(searchBudget)
	inodes := map[string]bool{}
	tables := []string{"/proc/net/" + s.Network, "/proc/net/" + s.Network + "6"}
	if s.Address.Addr().Is6() {
		slices.Reverse(tables)
	}
	for _, name := range tables {
		if len(inodes) > 0 {
			break // the kernel walks past every socket of the other family to write the second
		}
		table, err := os.Open(name)
		if err != nil {
			continue
		}
		listening(table, s.Network == "tcp", s.Address.Port(), inodes, deadline)
		_ = table.Close()
	}
	if len(inodes) == 0 {
		return ""
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return ""
	}
	// The same address twice in one configuration is the likeliest cause.
	own := fmt.Sprintf("/proc/%d", os.Getpid())
	processes = slices.DeleteFunc(processes, func(process string) bool { return process == own })
	var found []string
	for _, process := range append([]string{own}, processes...) {
		if len(found) == mostHolders || time.Now().After(deadline) {
			break
		}
		if holds(process, inodes, deadline) {
			name, _ := os.ReadFile(process + "/comm") // a process that has just ended has no name
			found = append(found, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(process)))
		}
	}
	return strings.Join(found, ", ")
}

// listening collects the inodes of the sockets that a table of /proc/net shows on a port; proc_pid_net(5) has the
// columns. That of tcp begins with the sockets in state LISTEN, and the others, which may be a million, are not read.
func listening(table io.Reader, tcp bool, port uint16, inodes map[string]bool, deadline time.Time) {
	lines := bufio.NewScanner(table)
	lines.Scan() // the names of the columns
	for lines.Scan() && time.Now().Before(deadline) {
		column := strings.Fields(lines.Text())
		if len(column) < 10 || tcp && column[3] != "0A" {
			return
		}
		_, local, _ := strings.Cut(column[1], ":")
		if n, err := strconv.ParseUint(local, 16, 16); err == nil && uint16(n) == port {
			inodes["socket:["+column[9]+"]"] = true
		}
	}
}

func holds(process string, inodes map[string]bool, deadline time.Time) bool {
	folder, err := os.Open(process + "/fd")
	if err != nil {
		return false
	}
	defer func() { _ = folder.Close() }()
	for time.Now().Before(deadline) {
		const some = 256
		names, err := folder.Readdirnames(some)
		if err != nil {
			return false // io.EOF when all were looked at
		}
		if slices.ContainsFunc(names, func(name string) bool {
			target, err := os.Readlink(process + "/fd/" + name)
			return err == nil && inodes[target]
		}) {
			return true
		}
	}
	return false
}
