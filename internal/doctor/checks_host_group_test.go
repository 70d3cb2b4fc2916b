package doctor

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// inGroup starts a shell in a control group of its own and gives the group's folder. The group is made below that of
// the test, in whichever version the controller is mounted. The shell's line runs once it is in the group.
func inGroup(t *testing.T, controller, line string) (h *Host, folder string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: a control group of its own is made in /sys/fs/cgroup")
	}
	groups, err := This(0).controlGroups(controller)
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	parent := groups[0]
	if parent.unified {
		text, err := os.ReadFile(filepath.Join("/sys", parent.folder, "cgroup.subtree_control"))
		if err != nil || !strings.Contains(string(text), controller) {
			t.Skipf("the group of the test gives no %s to groups below it: %q, %v", controller, text, err)
		}
	}
	folder = fmt.Sprintf("/sys/%s/myriad-doctor-%d-%s", parent.folder, os.Getpid(), strings.ToLower(t.Name()))
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Skipf("no group can be made here: %v", err)
	}
	shell := exec.Command("sh", "-c", "read go; "+line)
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		waitFor(t, "a control group without processes", func() bool {
			_ = shell.Process.Kill() // and with it the pipes of what it started
			return killGroup(folder) && os.Remove(folder) == nil
		})
		_ = shell.Wait()
	})
	write(t, folder, "cgroup.procs", strconv.Itoa(shell.Process.Pid))
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	return This(shell.Process.Pid), folder
}

// killGroup ends what is in a group that a test has made, and tells whether it is empty.
func killGroup(folder string) bool {
	text, err := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
	if err != nil {
		return false
	}
	for word := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
	}
	return len(strings.TrimSpace(string(text))) == 0
}

func write(t *testing.T, folder, file, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, file), []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

// onlyOwn is a check of the innermost group alone: those around it are the machine's.
func onlyOwn(c Check, folder string) Check {
	all := c.Run
	c.Run = func(h *Host) ([]Finding, error) {
		var own []Finding
		findings, err := all(h)
		for _, f := range findings {
			if strings.Contains(strings.Join(f.Evidence, "\n")+f.Recheck, folder) {
				own = append(own, f)
			}
		}
		return own, err
	}
	return c
}

// Version 1 has another file for each limit than version 2; the test takes what is mounted.
func limitFile(folder string, one, two string) string {
	if exists(filepath.Join(folder, one)) {
		return one
	}
	return two
}

func TestGroupMemory(t *testing.T) {
	// tail keeps a line without an end.
	h, folder := inGroup(t, "memory", "{ head -c 40000000 /dev/zero; read end; } | tail -c 40000000")
	check := onlyOwn(groupMemory, folder)
	file := limitFile(folder, "memory.limit_in_bytes", "memory.max")
	write(t, folder, file, strconv.Itoa(46<<20))
	await(t, h, check)
	f := onlyFinding(t, h, check, Warning, "of 46 MiB", file, "kills a process")
	line, _, _ := strings.Cut(f.Fix, ";")
	shell(t, line)
	isWell(t, h, check)
}

func TestGroupTasks(t *testing.T) {
	h, folder := inGroup(t, "pids", "sleep 60 & sleep 60 & sleep 60 & wait")
	check := onlyOwn(groupTasks, folder)
	isWell(t, h, check)
	write(t, folder, "pids.max", "4")
	waitFor(t, "a group with four processes", func() bool {
		found := runCheck(t, h, check)
		return len(found) == 1 && found[0].Harm == Outage
	})
	f := onlyFinding(t, h, check, Outage, "4 of 4 threads", "EAGAIN")
	line, _, _ := strings.Cut(f.Fix, ";")
	shell(t, line)
	isWell(t, h, check)
}

func TestGroupProcessor(t *testing.T) {
	h, folder := inGroup(t, "cpu", "while :; do :; done")
	check := onlyOwn(groupProcessor, folder)
	isWell(t, h, check)
	write(t, folder, limitFile(folder, "cpu.cfs_quota_us", "cpu.max"), "2000")
	await(t, h, check)
	f := onlyFinding(t, h, check, Hurting, "stood still in", "2000 us of processor time")
	// Twice a quota of a fiftieth is not enough for a loop, so the fix is taken as far as it goes.
	line, _, _ := strings.Cut(f.Fix, ";")
	shell(t, strings.ReplaceAll(strings.ReplaceAll(line, "echo 4000", "echo -1"), "'4000 100000'", "max"))
	isWell(t, h, check)
}

// A program with mappings that cannot be joined, up to four fifths of what it may have. It gives them back when asked.
const mapper = `
import mmap, sys
kept = [mmap.mmap(-1, 4096, prot=mmap.PROT_READ | (mmap.PROT_WRITE if n % 2 else 0)) for n in range(int(sys.argv[1]))]
print("mapped", flush=True)
sys.stdin.readline()
kept.clear()
print("gone", flush=True)
sys.stdin.readline()
`

// The limit is the host's and is left alone, so the fix is a program that maps less; the fake host memory-maps has the
// other one.
func TestMemoryMaps(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3, as a program that maps much")
	}
	most, err := This(0).SysctlNumber("vm.max_map_count")
	if err != nil {
		t.Fatal(err)
	}
	if most > 1<<18 {
		t.Skipf("a process may have %d mappings: too many to make in a test", most)
	}
	program := exec.Command(python, "-c", mapper, strconv.FormatInt(most*85/100, 10))
	in, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = program.Wait()
	}()
	read := func(want string) {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(out, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	read("mapped\n")
	h := This(program.Process.Pid)
	onlyFinding(t, h, memoryMaps, Warning, "vm.max_map_count", "mmap fails")
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	read("gone\n")
	isWell(t, h, memoryMaps)
}
