package doctor

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// changeable is a host of files that settings can be applied to, and its root.
func changeable(t *testing.T) (*Host, *Installation) {
	t.Helper()
	h := fakeHost(t, map[string]string{
		"proc/sys/net/core/somaxconn":              "128\n",
		"proc/sys/net/ipv4/ip_local_port_range":    "32768 60999\n",
		"proc/sys/net/ipv4/tcp_mem":                "100 200 300\n",
		"proc/sys/net/ipv4/tcp_tw_reuse":           "2\n",
		"proc/sys/net/core/default_qdisc":          "pfifo_fast\n",
		"proc/sys/fs/file-max":                     "1000\n",
		"root/run/systemd/system/proc-sys.service": "",
		"root/etc/sysctl.d/10-network.conf":        "net.ipv4.ip_forward = 0\n",
	})
	root := filepath.Join(filepath.Dir(h.Proc), "root")
	return h, &Installation{Root: root, User: func() int { return 0 }}
}

// wishes are what checks and plans may want of that host.
var wishes = []Setting{
	{"net.core.somaxconn", "128", "4096"},
	{"net.core.somaxconn", "128", "1024"},
	{portRange, "32768 60999", "10000 65535"},
	{"net.ipv4.tcp_mem", "100 200 300", "50 400 600"},
	{"net.ipv4.tcp_tw_reuse", "2", "1"},
	{"net.core.default_qdisc", "pfifo_fast", "fq"},
	{"fs.file-max", "1000", "500"},
	{"net.core.not_there", "1", "2"},
	{"LimitNOFILE", "1024", "200000"},
}

// snapshot is every file of a host, by name.
func snapshot(t *testing.T, h *Host) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := filepath.Dir(h.Proc)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, root+"/")] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func prepare(t *testing.T, in *Installation, h *Host, settings []Setting) *Change {
	t.Helper()
	c, err := in.Prepare(h, settings)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestApplyAndUndo(t *testing.T) {
	h, in := changeable(t)
	before := snapshot(t, h)
	c := prepare(t, in, h, wishes)
	if diff := cmp.Diff(before, snapshot(t, h)); diff != "" {
		t.Errorf("a look changes the host:\n%s", diff)
	}
	for _, want := range []string{
		"+++ /etc/sysctl.d/90-myriad.conf", "+net.core.somaxconn = 4096", "+LimitNOFILE=200000",
		"now  net.core.somaxconn: 128 -> 4096", "now  net.ipv4.ip_local_port_range: 32768 60999 -> 10000 65535",
		"left fs.file-max: it is 1000, and 500 would lower it", "left net.core.not_there: ",
	} {
		if !strings.Contains(c.Diff(), want) {
			t.Errorf("the diff does not say %q:\n%s", want, c.Diff())
		}
	}
	if err := c.Apply(); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, h)
	for name, want := range map[string]string{
		"proc/sys/net/core/somaxconn":           "4096\n",
		"proc/sys/net/ipv4/ip_local_port_range": "10000 65535\n",
		"proc/sys/net/ipv4/tcp_mem":             "100 400 600\n",
		"proc/sys/net/ipv4/tcp_tw_reuse":        "1\n",
		"proc/sys/net/core/default_qdisc":       "fq\n",
		"proc/sys/fs/file-max":                  "1000\n",
		"root/etc/sysctl.d/90-myriad.conf": "# Written by myriad doctor --apply; --undo takes it back.\n" +
			"net.core.default_qdisc = fq\nnet.core.somaxconn = 4096\nnet.ipv4.ip_local_port_range = 10000 65535\n" +
			"net.ipv4.tcp_mem = 100 400 600\nnet.ipv4.tcp_tw_reuse = 1\n",
		"root/etc/systemd/system/myriad.service.d/90-myriad.conf": "# Written by myriad doctor --apply; --undo takes " +
			"it back.\n[Service]\nLimitNOFILE=200000\n",
	} {
		if after[name] != want {
			t.Errorf("%s is %q", name, after[name])
		}
	}
	again := prepare(t, in, h, wishes)
	if !again.Nothing() || !prepare(t, in, h, nil).Nothing() {
		t.Errorf("there is still something to do:\n%s", again.Diff())
	}
	if err := again.Apply(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(after, snapshot(t, h)); diff != "" {
		t.Errorf("applied again:\n%s", diff)
	}
	if _, err := in.Undo(h); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, snapshot(t, h)); diff != "" {
		t.Errorf("not as it was (-before +after):\n%s", diff)
	}
	if done, err := in.Undo(h); err != nil || len(done) > 0 {
		t.Errorf("undone twice: %v, %v", done, err)
	}
}

// Two plans, the second for more: one undo goes back to before the first. A smaller one changes nothing.
func TestApplyTwiceUndoOnce(t *testing.T) {
	h, in := changeable(t)
	before := snapshot(t, h)
	for _, want := range []string{"1024", "8192", "2048"} {
		c := prepare(t, in, h, []Setting{{"net.core.somaxconn", "", want}, {"LimitNOFILE", "", want}})
		if err := c.Apply(); err != nil {
			t.Fatal(err)
		}
	}
	after := snapshot(t, h)
	if got := after["proc/sys/net/core/somaxconn"]; got != "8192\n" {
		t.Errorf("somaxconn is %q", got)
	}
	got := after["root/etc/systemd/system/myriad.service.d/90-myriad.conf"]
	if !strings.Contains(got, "LimitNOFILE=8192") {
		t.Errorf("the limit: %q", got)
	}
	if _, err := in.Undo(h); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, snapshot(t, h)); diff != "" {
		t.Error(diff)
	}
}

// crashAfter lets so many steps happen and none after them.
func crashAfter(steps int) func(string) error {
	return func(name string) error {
		if steps--; steps < 0 {
			return errors.New("crashed before: " + name)
		}
		return nil
	}
}

// TestCrashBetweenSteps ends Apply before each of its steps. Undo then puts everything back, and applying again
// completes it; an Undo that ends early is completed by another one.
func TestCrashBetweenSteps(t *testing.T) {
	h, in := changeable(t)
	var steps []string
	in.step = func(name string) error {
		steps = append(steps, name)
		return nil
	}
	if err := prepare(t, in, h, wishes).Apply(); err != nil {
		t.Fatal(err)
	}
	whole := snapshot(t, h)
	applied := len(steps)
	if _, err := in.Undo(h); err != nil {
		t.Fatal(err)
	}
	undone := len(steps) - applied
	if applied < 10 || undone < 8 || !strings.Contains(steps[0], stateFile) {
		t.Fatalf("%d steps and %d back: %q", applied, undone, steps)
	}
	for n := range applied {
		h, in := changeable(t)
		before := snapshot(t, h)
		in.step = crashAfter(n)
		if err := prepare(t, in, h, wishes).Apply(); err == nil {
			t.Fatalf("no crash before step %d, %s", n, steps[n])
		}
		in.step = nil
		if n%2 == 0 { // a second try before the undo changes nothing of it
			if err := prepare(t, in, h, wishes).Apply(); err != nil {
				t.Fatal(err)
			}
			got := snapshot(t, h)
			delete(got, "root/"+stateFile)
			want := map[string]string{}
			for name, text := range whole {
				if name != "root/"+stateFile {
					want[name] = text
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("crashed before %s, applied again:\n%s", steps[n], diff)
			}
		}
		if _, err := in.Undo(h); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, snapshot(t, h)); diff != "" {
			t.Errorf("crashed before %s, undone:\n%s", steps[n], diff)
		}
	}
	for n := range undone {
		h, in := changeable(t)
		before := snapshot(t, h)
		if err := prepare(t, in, h, wishes).Apply(); err != nil {
			t.Fatal(err)
		}
		in.step = crashAfter(n)
		if _, err := in.Undo(h); err == nil {
			t.Fatalf("no crash before step %d of undo", n)
		}
		in.step = nil
		if _, err := in.Undo(h); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, snapshot(t, h)); diff != "" {
			t.Errorf("undo crashed before %s, undone again:\n%s", steps[applied+n], diff)
		}
	}
}

// A second plan that crashes leaves some values of the first one: these are no stranger's.
func TestCrashOfASecondApply(t *testing.T) {
	for n := range 8 {
		h, in := changeable(t)
		before := snapshot(t, h)
		for _, want := range []string{"1024", "8192"} {
			c := prepare(t, in, h, []Setting{{"net.core.somaxconn", "", want}, {"LimitNOFILE", "", want}})
			err := c.Apply()
			if crashed := want == "8192" && n < 7; (err != nil) != crashed {
				t.Fatalf("%d steps: %v", n, err)
			}
			in.step = crashAfter(n)
		}
		in.step = nil
		done, err := in.Undo(h)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, snapshot(t, h)); diff != "" {
			t.Errorf("crashed after %d steps, undone (%q):\n%s", n, done, diff)
		}
	}
}

func TestApplyNoticesAnother(t *testing.T) {
	h, in := changeable(t)
	before := snapshot(t, h)
	first, second := prepare(t, in, h, wishes), prepare(t, in, h, wishes)
	if err := first.Apply(); err != nil {
		t.Fatal(err)
	}
	if err := second.Apply(); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("applied beside another: %v", err)
	}
	if _, err := in.Undo(h); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, snapshot(t, h)); diff != "" {
		t.Error(diff)
	}
}

func TestApplyIsForRoot(t *testing.T) {
	h, in := changeable(t)
	before := snapshot(t, h)
	in.User = func() int { return 1000 }
	if err := prepare(t, in, h, wishes).Apply(); !errors.Is(err, ErrNotRoot) {
		t.Errorf("apply: %v", err)
	}
	if _, err := in.Undo(h); !errors.Is(err, ErrNotRoot) {
		t.Errorf("undo: %v", err)
	}
	if diff := cmp.Diff(before, snapshot(t, h)); diff != "" {
		t.Error(diff)
	}
}

func TestWithoutSystemdTheLimitsArePrinted(t *testing.T) {
	h, in := changeable(t)
	if err := os.RemoveAll(filepath.Join(in.Root, "run")); err != nil {
		t.Fatal(err)
	}
	c := prepare(t, in, h, []Setting{{"LimitNOFILE", "", "5000"}})
	if !strings.Contains(c.Print, "[Service]\nLimitNOFILE=5000\n") || !c.Nothing() {
		t.Errorf("%q, %s", c.Print, c.Diff())
	}
}

func TestLimitsOfTheUnitAreNotLowered(t *testing.T) {
	for _, file := range []string{"lib/systemd/system/web.service", "etc/systemd/system/web.service.d/local.conf"} {
		for text, lowered := range map[string]bool{
			"LimitNOFILE=1000:900000": false, "LimitNOFILE = infinity": false, "LimitNOFILE=1000": true, "LimitCORE=9": true,
		} {
			h, in := changeable(t)
			in.Unit = "web.service"
			put(t, in.Root, file, "[Service]\n"+text+"\n")
			c := prepare(t, in, h, []Setting{{"LimitNOFILE", "", "200000"}})
			if c.Nothing() == lowered {
				t.Errorf("%s says %s: %s", file, text, c.Diff())
			}
		}
	}
}

func TestUndoLeavesWhatSomebodyElseChanged(t *testing.T) {
	h, in := changeable(t)
	if err := prepare(t, in, h, wishes).Apply(); err != nil {
		t.Fatal(err)
	}
	put(t, h.Proc, "sys/net/core/somaxconn", "9999\n")
	put(t, in.Root, sysctlFile, "net.core.somaxconn = 9999\n")
	done, err := in.Undo(h)
	if err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, h)
	if after["proc/sys/net/core/somaxconn"] != "9999\n" || after["root/"+sysctlFile] == "" ||
		after["proc/sys/net/ipv4/tcp_tw_reuse"] != "2\n" {
		t.Errorf("%v", after)
	}
	left := slices.DeleteFunc(done, func(line string) bool { return !strings.Contains(line, "somebody else's") })
	if len(left) != 2 {
		t.Errorf("told: %q", done)
	}
}

func TestSettingsThatAreNone(t *testing.T) {
	h, in := changeable(t)
	for _, s := range []Setting{
		{"", "", "1"},
		{"somaxconn", "", "1"},
		{"net.core.somaxconn\nkernel.panic", "", "1"},
		{"net.core.somaxconn", "", "1\nkernel.panic = 1"},
		{"net.core.somaxconn", "", ""},
		{"net.//.//.etc", "", "1"},
		{"net..core", "", "1"},
		{".net.core", "", "1"},
		{"LimitNOFILE", "", "1\nExecStart=/bin/false"},
		{"Limit/../x", "", "1"},
	} {
		if c, err := in.Prepare(h, []Setting{s}); err == nil {
			t.Errorf("%q = %q was taken: %s", s.Key, s.Want, c.Diff())
		}
	}
	put(t, in.Root, stateFile, "{\"version\": 1, \"values\": [{\"key\": \"net.//.//.etc\"}]}")
	if _, err := in.Undo(h); err == nil {
		t.Error("old values of another file of /proc were put back")
	}
	put(t, in.Root, stateFile, "{\"version\": 2}")
	if _, err := in.Prepare(h, nil); err == nil {
		t.Error("old values of another version were read")
	}
}

func TestHigher(t *testing.T) {
	for _, test := range []struct{ key, a, b, want string }{
		{"a.b", "1", "2", "2"},
		{"a.b", "3", "2", "3"},
		{"a.b", "1 5", "2 4", "2 5"},
		{"a.b", "", "4", "4"},
		{"a.b", "4", "", "4"},
		{"a.b", "old", "new", "new"},
		{portRange, "32768 60999", "10000 50000", "10000 60999"},
		{portRange, "1024 60999", "10000 65535", "1024 65535"},
		{"net.ipv4.tcp_tw_reuse", "2", "1", "1"},
		{"net.ipv4.tcp_tw_reuse", "1", "2", "1"},
		{"LimitNOFILE", "infinity", "5", "infinity"},
	} {
		if got := higher(test.key, test.a, test.b); got != test.want {
			t.Errorf("%s: of %q and %q it is %q", test.key, test.a, test.b, got)
		}
	}
}

// TestApplyInANamespace changes the values of a real kernel, in a network namespace, and lets sysctl(8) read the file.
func TestApplyInANamespace(t *testing.T) {
	if !apart(t) {
		return
	}
	h := This(0)
	in := &Installation{Root: t.TempDir()}
	setSysctl(t, "net.core.somaxconn", "77")
	setSysctl(t, portRange, "40000 40999")
	c := prepare(t, in, h, []Setting{
		{"net.core.somaxconn", "", "4096"},
		{portRange, "", "10000 65535"},
		{"net.ipv4.tcp_congestion_control", "", "no-such-control"},
	})
	if err := c.Apply(); err == nil || !strings.Contains(err.Error(), "no-such-control") {
		t.Errorf("the kernel takes anything: %v", err)
	}
	file := filepath.Join(in.Root, sysctlFile)
	text, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(text), "congestion") {
		t.Errorf("%v, %s", err, text)
	}
	for _, want := range []struct{ key, value string }{{"net.core.somaxconn", "4096"}, {portRange, "10000 65535"}} {
		if got, err := h.Sysctl(want.key); err != nil || got != want.value {
			t.Errorf("%s is %q, %v", want.key, got, err)
		}
	}
	if sysctl, err := exec.LookPath("sysctl"); err == nil {
		setSysctl(t, "net.core.somaxconn", "78")
		if out, err := exec.Command(sysctl, "-p", file).CombinedOutput(); err != nil {
			t.Errorf("sysctl -p: %v\n%s", err, out)
		}
	}
	if _, err := in.Undo(h); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ key, value string }{{"net.core.somaxconn", "77"}, {portRange, "40000 40999"}} {
		if got, err := h.Sysctl(want.key); err != nil || got != want.value {
			t.Errorf("undone, %s is %q, %v", want.key, got, err)
		}
	}
	if exists(file) || exists(filepath.Join(in.Root, stateFile)) {
		t.Error("files are left over")
	}
}
