package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProcessDescriptors: a child process with a small limit, which the fix raises while it runs.
func TestProcessDescriptors(t *testing.T) {
	h := This(idleChild(t))
	isWell(t, h, processDescriptors)
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.PID))
	if err != nil {
		t.Fatal(err)
	}
	shell(t, fmt.Sprintf("prlimit --pid %d --nofile=%d:", h.PID, len(open)))
	full := fmt.Sprintf("has %d of %[1]d descriptors open", len(open))
	f := onlyFinding(t, h, processDescriptors, Outage, full, "RLIMIT_NOFILE is low", "prlimit")
	shell(t, f.Fix)
	isWell(t, h, processDescriptors)
}

// TestProcessDescriptorsAtTheCeilingFakeProc: a hard limit that is used up is raised, and with it the ceiling above it.
func TestProcessDescriptorsAtTheCeilingFakeProc(t *testing.T) {
	root := t.TempDir()
	h := &Host{Proc: filepath.Join(root, "proc"), Now: time.Now, PID: 7}
	for i := range 99 {
		put(t, root, fmt.Sprintf("proc/7/fd/%d", i), "")
	}
	put(t, root, "proc/7/limits", "Max open files            100                  100                  files\n")
	for ceiling, fix := range map[string]string{
		"65535":   "sysctl -w fs.nr_open=65536 && prlimit --pid 7 --nofile=65536:65536",
		"1048576": "prlimit --pid 7 --nofile=65536:65536",
	} {
		put(t, root, "proc/sys/fs/nr_open", ceiling+"\n")
		if f := onlyFinding(t, h, processDescriptors, Outage, "99 of 100", "fs.nr_open: "+ceiling); f.Fix != fix {
			t.Errorf("under %s: %s", ceiling, f.Fix)
		}
	}
}

// TestSystemDescriptorsFakeProc: the limit is the whole host's, so it is made small in a /proc of the test's own.
func TestSystemDescriptorsFakeProc(t *testing.T) {
	root := t.TempDir()
	h := &Host{Proc: filepath.Join(root, "proc"), Now: time.Now}
	for _, test := range []struct {
		numbers string
		well    bool
		harm    Harm
	}{
		{"100 0 1000", true, Info},
		{"850 0 1000", false, Warning},
		{"960\t0\t1000\n", false, Outage},
		{"960 500 1000", true, Info}, // what is allocated and unused
		{"2464 0 9223372036854775807", true, Info},
		{"0 0 1", true, Info},
	} {
		put(t, root, "proc/sys/fs/file-nr", test.numbers)
		if test.well {
			isWell(t, h, systemDescriptors)
		} else {
			f := onlyFinding(t, h, systemDescriptors, test.harm, "fs.file-nr: ", "fs.file-max")
			fields := strings.Fields(test.numbers)
			put(t, root, "proc/sys/fs/file-nr", fields[0]+" "+fields[1]+" "+f.Settings[0].Want)
			isWell(t, h, systemDescriptors)
		}
	}
}
