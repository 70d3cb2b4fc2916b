package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/myriad-server/myriad/internal/sockets"
	"github.com/myriad-server/myriad/internal/sys"
)

// fakeHost is a host whose /proc and /sys are folders of the test. Names begin with proc/ or sys/.
func fakeHost(t *testing.T, files map[string]string) *Host {
	t.Helper()
	root := t.TempDir()
	h := &Host{Proc: filepath.Join(root, "proc"), Sys: filepath.Join(root, "sys"), Now: time.Now}
	for name, text := range files {
		put(t, root, name, text)
	}
	return h
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestChecksAreNamedAndExplained(t *testing.T) {
	known := map[string]bool{}
	for _, c := range Checks() {
		if c.Name == "" || known[c.Name] || strings.ContainsAny(c.Name, " _ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			t.Errorf("%q is no name, or a second one", c.Name)
		}
		known[c.Name] = true
		if len(strings.Fields(c.About)) < 10 || c.Run == nil {
			t.Errorf("%s says too little of itself, or does nothing", c.Name)
		}
	}
}

func TestExamineSortsByHarmAndTellsWhatItCouldNotRead(t *testing.T) {
	finding := func(harm Harm) func(*Host) ([]Finding, error) {
		return func(*Host) ([]Finding, error) { return []Finding{{Harm: harm, Title: harm.String()}}, nil }
	}
	broken := errors.New("open /proc/nothing: no such file")
	checks := []Check{
		{Name: "a", Run: finding(Info)},
		{Name: "b", Run: finding(Outage)},
		{Name: "c", Run: func(*Host) ([]Finding, error) { return []Finding{{Harm: Hurting, Title: "half"}}, broken }},
		{Name: "d", Run: func(*Host) ([]Finding, error) { return nil, nil }},
		{Name: "e", Needs: NeedsProcess, Run: finding(Outage)},
	}
	r, err := Examine(context.Background(), This(0), checks, 0)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, f := range r.Findings {
		order = append(order, f.Check)
	}
	if diff := cmp.Diff([]string{"b", "c", "a"}, order); diff != "" {
		t.Error(diff)
	}
	want := []Note{{"c", broken.Error()}, {"e", "it looks at one process: name it with --pid"}}
	if diff := cmp.Diff(want, r.Notes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"d"}, r.Well); diff != "" || r.Worst != "outage" {
		t.Error(diff, r.Worst)
	}
}

// TestNothingCanBeRead: on a host whose /proc is empty each check has a note, and none is counted as well.
func TestNothingCanBeRead(t *testing.T) {
	h := fakeHost(t, nil)
	h.PID = 1
	r, err := Examine(context.Background(), h, Quick(Checks()), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Well) > 0 || len(r.Notes) == 0 {
		t.Errorf("well without facts: %v; notes %v", r.Well, r.Notes)
	}
}

func TestCounter(t *testing.T) {
	root := t.TempDir()
	now := time.Unix(1000, 0)
	h := &Host{Proc: filepath.Join(root, "proc"), Now: func() time.Time { return now }}
	put(t, root, "proc/net/snmp", "Tcp: RtoAlgorithm OutSegs\nTcp: 1 500\nUdp: NoPorts\nUdp: 3\n")
	put(t, root, "proc/net/netstat", "TcpExt: ListenOverflows\nTcpExt: 7\n")
	for _, test := range []struct {
		group, name string
		want        Count
	}{
		{"Tcp", "OutSegs", Count{500, 500, 0}},
		{"TcpExt", "ListenOverflows", Count{7, 7, 0}},
	} {
		if got, err := h.Counter(test.group, test.name); err != nil || got != test.want {
			t.Errorf("%s %s: %v, %v", test.group, test.name, got, err)
		}
	}
	if got, err := h.Counter("TcpExt", "Nothing"); err == nil {
		t.Errorf("a counter that is not there is %v", got)
	}
	h.Sample()
	now = now.Add(2 * time.Second)
	put(t, root, "proc/net/netstat", "TcpExt: ListenOverflows\nTcpExt: 9\n")
	h.Refresh()
	if got, err := h.Counter("TcpExt", "ListenOverflows"); err != nil || got != (Count{9, 2, 2 * time.Second}) {
		t.Errorf("after the sample: %v, %v", got, err)
	}
}

func TestTextKeepsItsWidth(t *testing.T) {
	r := &Report{
		Findings: []Finding{{
			Check: "accept-queue", Harm: Outage, Title: strings.Repeat("long title ", 12),
			Evidence: []string{strings.Repeat("ListenOverflows 12 ", 9)}, Cause: strings.Repeat("slow ", 40),
			Fix: "sysctl -w net.core.somaxconn=65535", Recheck: "ss -ltn",
		}},
		Notes: []Note{{"softnet", strings.Repeat("no such file ", 10)}},
		Well:  strings.Fields(strings.Repeat("some-check ", 20)),
	}
	var plain, coloured strings.Builder
	r.Text(&plain, false)
	r.Text(&coloured, true)
	for line := range strings.Lines(plain.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > Columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Error("colours nobody asked for")
	}
	uncoloured := strings.NewReplacer("\x1b[1;31m", "", "\x1b[0m", "").Replace(coloured.String())
	if diff := cmp.Diff(plain.String(), uncoloured); diff != "" {
		t.Errorf("colour changes more than colour:\n%s", diff)
	}
}

func TestJSONIsReadBack(t *testing.T) {
	r := &Report{
		Time: time.Unix(1000, 0).UTC(), PID: 7, Worst: "harm", Notes: []Note{{"a", "b"}}, Well: []string{"c"},
		Findings: []Finding{{Check: "x", Harm: Hurting, Title: "t", Settings: []Setting{{"net.core.somaxconn", "1", "2"}}}},
	}
	var b strings.Builder
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, &back); diff != "" {
		t.Error(diff)
	}
}

// TestApart: a child of apart has a namespace of its own.
func TestApart(t *testing.T) {
	if !apart(t) {
		return
	}
	setSysctl(t, "net.core.somaxconn", "17")
	if got, err := This(0).SysctlNumber("net.core.somaxconn"); got != 17 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if links, err := net.Interfaces(); err != nil || len(links) != 1 || links[0].Flags&net.FlagUp == 0 {
		t.Errorf("not a loopback alone, and up: %v, %v", links, err)
	}
}

func TestChangesTellWhatCameAndWent(t *testing.T) {
	finding := func(check, title string) Finding { return Finding{Check: check, Title: title, Harm: Warning} }
	before := &Report{Findings: []Finding{finding("ports", "80 of 100 ports"), finding("queue", "a full queue")}}
	now := &Report{Findings: []Finding{finding("ports", "81 of 100 ports"), finding("memory", "little memory")}}
	var first, b strings.Builder
	before.Changes(&first, nil, false)
	now.Changes(&b, before, false)
	if !strings.Contains(first.String(), "80 of 100") || strings.Contains(b.String(), "ports") {
		t.Errorf("first %q, then %q", first.String(), b.String())
	}
	for _, want := range []string{"new:\nWARNING  little memory", "gone: a full queue (queue)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("not told: %q\n%s", want, b.String())
		}
	}
}

// TestEnter: a process in another network namespace is asked about where it is, or not at all. The thread that goes
// there may be the first of its process, by which others know that, so it is a process of this test alone.
func TestEnter(t *testing.T) {
	if !apart(t) {
		return
	}
	child := exec.Command("cat")
	child.SysProcAttr = sys.OwnNetwork()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	done := make(chan struct{})
	go func() { // which takes its thread with it, as that is elsewhere then
		defer close(done)
		h := This(child.Process.Pid)
		if value, err := h.Sysctl("net.core.somaxconn"); err == nil {
			t.Errorf("another's somaxconn is %s", value)
		}
		if _, err := h.Census(); err == nil {
			t.Error("a census of others' sockets")
		}
		if err := h.Enter(); err != nil {
			t.Error(err)
			return
		}
		setSysctl(t, "net.core.somaxconn", "19")
		if value, err := h.Sysctl("net.core.somaxconn"); value != "19" || err != nil {
			t.Errorf("somaxconn is %s, %v", value, err)
		}
		if census, err := h.Census(); err != nil || len(census.Listeners) > 0 {
			t.Errorf("%+v, %v", census, err)
		}
	}()
	<-done
	if value, err := This(0).Sysctl("net.core.somaxconn"); value == "19" || err != nil {
		t.Errorf("here somaxconn is %s, %v", value, err)
	}
}

// TestStatesDocument: docs/states.md has a row for each state, and names checks that are there.
func TestStatesDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, c := range Checks() {
		names[c.Name] = true
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || cells[0] != "" || strings.HasPrefix(cells[1], "-") || strings.TrimSpace(cells[1]) == "state" {
			continue
		}
		rows[strings.TrimSpace(cells[1])] = true
		for name := range strings.SplitSeq(cells[5], ",") {
			if name = strings.Trim(strings.TrimSpace(name), "`"); !names[name] {
				t.Errorf("there is no check called %q", name)
			}
		}
	}
	for s := sockets.Established; s <= sockets.Closing; s++ {
		if !rows[s.String()] {
			t.Errorf("%v is not explained", s)
		}
		delete(rows, s.String())
	}
	if len(rows) > 0 {
		t.Errorf("these are no states: %v", rows)
	}
}
