package listen

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mostHolders bounds how many processes an error names.
const mostHolders = 4

// holders names the processes that listen on the port, as far as this one may know. It reads much of /proc and is only
// for the error path.
func holders(s Spec) string {
	if s.Network == "unix" {
		return ""
	}
	inodes := map[string]bool{}
	for _, name := range []string{"/proc/net/" + s.Network, "/proc/net/" + s.Network + "6"} {
		table, err := os.ReadFile(name)
		if err == nil {
			listening(string(table), s.Network == "tcp", s.Address.Port(), inodes)
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return ""
	}
	var found []string
	for _, process := range processes {
		if len(found) == mostHolders {
			break
		}
		if holds(process, inodes) {
			name, _ := os.ReadFile(process + "/comm") // a process that has just ended has no name
			found = append(found, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(process)))
		}
	}
	return strings.Join(found, ", ")
}

// listening collects the inodes of the sockets that a table of /proc/net shows on a port; of tcp only those in state
// LISTEN. proc_pid_net(5) has the columns.
func listening(table string, tcp bool, port uint16, inodes map[string]bool) {
	for line := range strings.Lines(table) {
		column := strings.Fields(line)
		if len(column) < 10 || tcp && column[3] != "0A" {
			continue
		}
		_, local, _ := strings.Cut(column[1], ":")
		if n, err := strconv.ParseUint(local, 16, 16); err == nil && uint16(n) == port {
			inodes["socket:["+column[9]+"]"] = true
		}
	}
}

func holds(process string, inodes map[string]bool) bool {
	descriptors, err := os.ReadDir(process + "/fd")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(descriptors, func(d os.DirEntry) bool {
		target, err := os.Readlink(process + "/fd/" + d.Name())
		return err == nil && inodes[target]
	})
}
