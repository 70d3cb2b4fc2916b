package doctor

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// apartName is the test that a child process was started for.
const apartName = "MYRIAD_DOCTOR_APART"

// apart gives a test a network namespace of its own, where limits can be made small and queues full without harm to the
// host: it runs this test alone once more in a child process, with its loopback up. The test goes on only in the child:
//
//	if !apart(t) {
//		return
//	}
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apartName) == t.Name() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: a network namespace of its own is made with unshare(2)")
	}
	// What is bound to a thread must be started by one that stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	// The race detector would let the child linger for a second.
	child.Env = append(os.Environ(), apartName+"="+t.Name(), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	child.SysProcAttr = sys.OwnNetwork()
	out, err := child.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("in a namespace of its own: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()+" "):
		t.Skipf("in a namespace of its own: %s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()+" "):
		t.Fatalf("in a namespace of its own the test did not run:\n%s", out)
	}
	return false
}

// TestMain brings the loopback up in a child of apart.
func TestMain(m *testing.M) {
	if os.Getenv(apartName) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			_, _ = os.Stderr.WriteString("ip link set lo up: " + err.Error() + "\n" + string(out))
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// setSysctl sets a value of the namespace; the old one goes with it.
func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	file := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

// runCheck is the findings of a check on a host as it is now. A check that cannot tell fails the test.
func runCheck(t *testing.T, h *Host, c Check) []Finding {
	t.Helper()
	h.Refresh()
	findings, err := c.Run(h)
	if err != nil {
		t.Fatalf("%s cannot tell: %v", c.Name, err)
	}
	return findings
}

// onlyFinding is the one finding that a check is to have, of that harm, with the words in its evidence or cause.
func onlyFinding(t *testing.T, h *Host, c Check, harm Harm, words ...string) Finding {
	t.Helper()
	findings := runCheck(t, h, c)
	if len(findings) != 1 {
		t.Fatalf("%s has %d findings, not one: %+v", c.Name, len(findings), findings)
	}
	f := findings[0]
	text := f.Title + "\n" + strings.Join(f.Evidence, "\n") + "\n" + f.Cause + "\n" + f.Fix
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", c.Name, w, text)
		}
	}
	if f.Harm != harm || f.Cause == "" || f.Fix == "" || f.Recheck == "" || len(f.Evidence) == 0 {
		t.Errorf("%s: %+v", c.Name, f)
	}
	return f
}

// await looks again and again until the first thing that a check finds is of that harm, or a worse one; of any, if none
// is said. Segments, queues and timers take a moment.
func await(t *testing.T, h *Host, c Check, least ...Harm) {
	t.Helper()
	harm := slices.Max(append(least, Info))
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(5 * time.Millisecond) {
		findings := runCheck(t, h, c)
		if len(findings) > 0 && findings[0].Harm >= harm {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s finds nothing of harm %v: %+v", c.Name, harm, findings)
		}
	}
}

// isWell wants a check to find nothing.
func isWell(t *testing.T, h *Host, c Check) {
	t.Helper()
	if findings := runCheck(t, h, c); len(findings) > 0 {
		t.Errorf("%s finds %+v", c.Name, findings)
	}
}

// applySettings does what a finding says, for sysctls.
func applySettings(t *testing.T, f Finding) {
	t.Helper()
	if len(f.Settings) == 0 {
		t.Fatalf("%s says what to set nowhere", f.Title)
	}
	for _, s := range f.Settings {
		setSysctl(t, s.Key, s.Want)
	}
}
