package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// shell runs a command as an operator would, and fails the test with what it says.
func shell(t *testing.T, command string) {
	t.Helper()
	if text, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, text)
	}
}

// idleChild is a process that waits, and ends with the test. It is started by way of other commands, if there are any.
func idleChild(t *testing.T, by ...string) (pid int) {
	t.Helper()
	command := append(by, "cat")
	child := exec.Command(command[0], command[1:]...)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	// Who answers has been started, whatever it opened for that.
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return child.Process.Pid
}

// TestQueuedSignals: a child process that is stopped, with a small limit, and signals on their way to it. Its user has
// no other process, as signals are counted by user.
func TestQueuedSignals(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: a process of another user is started")
	}
	const user = "setpriv --reuid=64123 --clear-groups "
	pid := idleChild(t, strings.Fields("prlimit --sigpending=20: "+user)...)
	h := This(pid)
	few := onlyFinding(t, h, queuedSignals, Info, "may have 20 signals queued", "RLIMIT_SIGPENDING")
	// A signal of its own is taken before the process has stopped, and counts until then.
	shell(t, fmt.Sprintf("kill -STOP %d; until grep -q '^State:.T' /proc/%[1]d/status; do :; done", pid))
	shell(t, fmt.Sprintf("for i in $(seq 40); do kill -40 %d || true; done", pid))
	full := onlyFinding(t, h, queuedSignals, Hurting, "20 of 20 signals", "SigQ 20/20", "is stopped")
	for _, f := range []Finding{few, full} {
		shell(t, user+f.Fix)
	}
	isWell(t, h, queuedSignals)
}

// TestUringRefusedByAFilter: the process of the test itself gets a filter such as containers have, and is looked at
// from within and from outside. It is a child for that, as a filter stays.
func TestUringRefusedByAFilter(t *testing.T) {
	if !apart(t) {
		return
	}
	h := This(0)
	if findings := runCheck(t, h, uringAllowed); len(findings) > 0 {
		t.Skip("io_uring is refused on this host already: " + findings[0].Cause)
	}
	other := idleChild(t)
	if err := sys.RefuseUring(); err != nil {
		t.Fatal(err)
	}
	onlyFinding(t, h, uringAllowed, Info, "does not work where the doctor runs")
	h.PID = os.Getpid()
	onlyFinding(t, h, uringAllowed, Info, "seccomp filter", "Seccomp: 2")
	h.PID = other // began before
	isWell(t, h, uringAllowed)
}

// TestUringFakeProc: the sysctl is the whole host's, so it is set in a /proc of the test's own.
func TestUringFakeProc(t *testing.T) {
	root := t.TempDir()
	h := &Host{Proc: filepath.Join(root, "proc"), Now: time.Now, PID: 7}
	put(t, root, "proc/7/status", "Name:\tx\nSeccomp:\t0\n")
	isWell(t, h, uringAllowed) // a kernel without the sysctl
	for _, value := range []string{"1", "2"} {
		put(t, root, "proc/sys/kernel/io_uring_disabled", value+"\n")
		onlyFinding(t, h, uringAllowed, Info, "forbidden on this host", "kernel.io_uring_disabled: "+value)
	}
	put(t, root, "proc/sys/kernel/io_uring_disabled", "0\n")
	isWell(t, h, uringAllowed)
}
