package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestQuick makes a quick run of every experiment, as `make lab` does, and looks at what is there afterwards: results
// with tables, figures and checks that passed, and the page. How fast anything was is nobody's business here. In short
// mode it makes those that take the least time.
func TestQuick(t *testing.T) {
	var names []string
	for _, e := range All() {
		names = append(names, e.Name)
	}
	switch {
	case testing.Short():
		names = []string{"buffers", "zerocopy", "stale"}
	case !namespaced(t):
		t.Log("keepalive and pool need network namespaces, which cannot be made here, and are left out")
		names = slices.DeleteFunc(names, tiered)
	case !installed("redis-server"):
		t.Log("keepalive and pool need redis-server; scripts/needs names its package; they are left out")
		names = slices.DeleteFunc(names, tiered)
	}
	dir := t.TempDir()
	binary := program(t, dir)
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	out := filepath.Join(dir, "lab")
	run := exec.CommandContext(ctx, binary, append([]string{
		"lab", "run", "--quick", "--out", out, "--source", source,
	}, names...)...)
	run.Cancel, run.WaitDelay = func() error { return run.Process.Signal(os.Interrupt) }, 30*time.Second
	if said, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	results, err := Load(out)
	if err != nil || len(results) != len(names) {
		t.Fatalf("%d results of %d experiments: %v", len(results), len(names), err)
	}
	page, err := os.ReadFile(filepath.Join(out, ReportName))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.Passed() || !r.Quick || r.Verdict.Answer == "" || r.Verdict.Why == "" {
			t.Errorf("%s is incomplete: %+v", r.Name, r.Verdict)
		}
		if r.Name != "peers" && (len(r.Tables) == 0 || len(r.Figures) == 0 || len(r.Checks) < 3) {
			t.Errorf("%s has %d tables, %d figures and %d checks", r.Name, len(r.Tables), len(r.Figures), len(r.Checks))
		}
		if !bytes.Contains(page, []byte(`<section id="`+r.Name+`">`)) {
			t.Errorf("the page has no %s", r.Name)
		}
	}
	checkClaims(t, results)
	again, err := exec.Command(binary, append([]string{
		"lab", "run", "--quick", "--resume", "--out", out, "--source", source,
	}, names...)...).Output()
	if err != nil || bytes.Count(again, []byte(": there already\n")) != len(names) {
		t.Errorf("a run that is resumed makes something again: %v\n%s", err, again)
	}
}

// program builds the binary that has the lab.
func program(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(dir, "myriad")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/myriad")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestSignal ends a run while it has namespaces and processes in them, with each of the two signals and by killing it.
// The first two leave nothing behind; what the last one leaves the next run takes away, but no process.
func TestSignal(t *testing.T) {
	if !namespaced(t) || !installed("nft") {
		t.Skip("network namespaces cannot be made here, or nft is not installed; scripts/needs nftables installs it")
	}
	dir := t.TempDir()
	binary := program(t, dir)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, os.Kill} {
		run := exec.Command(binary, "lab", "run", "--quick", "--out", filepath.Join(dir, "lab"), "idle-timeout")
		said := &bytes.Buffer{}
		run.Stdout, run.Stderr = said, said
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		var pids []string
		if !settles(func() bool { pids = inside(run.Process.Pid); return len(pids) > 0 }) {
			t.Errorf("no process ran in a namespace:\n%s", said)
		}
		_ = run.Process.Signal(signal)
		if err := run.Wait(); err == nil {
			t.Errorf("%v: the run ended as if it were complete:\n%s", signal, said)
		}
		for _, pid := range pids {
			if !settles(func() bool { return !alive(pid) }) {
				t.Errorf("%v: process %s is still there", signal, pid)
			}
		}
		if signal == os.Kill {
			if err := sweepSpaces(); err != nil {
				t.Error(err)
			}
		}
		if left := spacesOf(run.Process.Pid); len(left) > 0 {
			t.Errorf("%v: these namespaces are still there: %v\n%s", signal, left, said)
		}
	}
}

// settles waits until something is so, which nobody would tell.
func settles(so func() bool) bool {
	again, over := time.NewTicker(tryEvery), time.NewTimer(30*time.Second)
	defer again.Stop()
	defer over.Stop()
	for !so() {
		select {
		case <-again.C:
		case <-over.C:
			return false
		}
	}
	return true
}

// spacesOf is the namespaces that a lab has made.
func spacesOf(pid int) []string {
	list, _ := filepath.Glob(fmt.Sprintf("%s/%s%d-*", spacesAt, spacePrefix, pid))
	return list
}

// inside is the processes in them.
func inside(pid int) (pids []string) {
	for _, name := range spacesOf(pid) {
		out, _ := exec.Command("ip", "netns", "pids", filepath.Base(name)).Output()
		pids = append(pids, strings.Fields(string(out))...)
	}
	return pids
}

func alive(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

// asked is where the template of the claims names an experiment, a table and a column.
var asked = regexp.MustCompile(`"([a-z-]+)" "([^"]+)" "([^"]+)" "([^"]+)"`)

// checkClaims looks that the template names what there is; the keys of its rows are those of full runs, so that only
// the number of their parts can be looked at.
func checkClaims(t *testing.T, results []*Result) {
	t.Helper()
	names := asked.FindAllStringSubmatch(claims, -1)
	if len(names) < 50 {
		t.Errorf("the template of the claims names %d figures", len(names))
	}
	for _, m := range names {
		i := slices.IndexFunc(results, func(r *Result) bool { return r.Name == m[1] })
		if i < 0 || strings.HasPrefix(m[2], "over a wire") {
			continue // not everybody can make everything
		}
		if !results[i].has(m[2]) {
			t.Errorf("%s has no table %q", m[1], m[2])
			continue
		}
		table := results[i].find(m[2])
		known := slices.ContainsFunc(table.Columns, func(c Column) bool { return c.Name == m[3] })
		if parts := len(strings.Split(m[4], "|")); !known || parts != len(table.Keys) {
			t.Errorf("the table %q of %s has no column %q for %q", m[2], m[1], m[3], m[4])
		}
	}
}

// TestClaims has the table complete: of every claim there is a verdict, and where nothing was measured it says so.
func TestClaims(t *testing.T) {
	full := sample()
	full.Quick = false
	if _, err := Claims([]*Result{sample()}); err == nil {
		t.Error("the figures of a quick run were taken")
	}
	text, err := Claims([]*Result{full})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| claim ") {
			continue
		}
		rows++
		cells := strings.Split(strings.TrimSpace(line), " |")
		if len(cells) != 5 || len(strings.TrimSpace(cells[3])) < 4 || strings.Contains(line, "NaN") {
			t.Errorf("%d cells: %s", len(cells), line)
		}
	}
	if rows < 90 || !strings.Contains(string(text), "| holds today |") || !strings.Contains(string(text), unmeasured) {
		t.Errorf("%d rows:\n%s", rows, text)
	}
}

// tiered tells the experiments with three tiers.
func tiered(name string) bool { return name == "keepalive" || name == "pool" }

// namespaced reports whether network namespaces can be made here, by making one.
func namespaced(t *testing.T) bool {
	name := fmt.Sprintf("%s%d-test", spacePrefix, os.Getpid())
	if err := invoke(t.Context(), "ip", "netns", "add", name); err != nil {
		return false
	}
	if err := removeSpace(space(name)); err != nil {
		t.Error(err)
	}
	return true
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func TestVersion(t *testing.T) {
	for line, want := range map[string]string{
		"nginx version: nginx/1.22.1":                  "p 1.22.1",
		"Redis server v=7.0.15 sha=00000000:0 bits=64": "p 7.0.15",
		"nothing of the kind":                          "nothing of the kind",
	} {
		if got := version(line, "p"); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
