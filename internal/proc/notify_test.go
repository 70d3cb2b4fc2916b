package proc

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/myriad-server/myriad/internal/sys"
)

// manager is the socket of a service manager.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T, name string) (*manager, *Notifier) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if text := os.Getenv("NOTIFY_SOCKET"); text != "" {
		t.Errorf("children would inherit NOTIFY_SOCKET=%s", text)
	}
	return &manager{t, conn}, n
}

// receive is the next message.
func (m *manager) receive() (lines []string, descriptors []int) {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	raw, err := m.conn.SyscallConn()
	if err != nil {
		m.t.Fatal(err)
	}
	text := make([]byte, 4096)
	var got sys.Passed
	waited := raw.Read(func(fd uintptr) bool {
		got, err = sys.RecvDescriptors(int(fd), text)
		return err == nil
	})
	if waited != nil {
		m.t.Fatal(waited, err)
	}
	return strings.Split(strings.TrimSuffix(string(text[:got.Bytes]), "\n"), "\n"), got.Descriptors
}

// notice is what a notifier is to send.
type notice struct {
	name        string
	send        func(n *Notifier) error
	want        []string
	descriptors int
}

func TestNotify(t *testing.T) {
	leaksNothing(t)
	read, _ := pipe(t)
	tests := []notice{
		{"ready", func(n *Notifier) error { return n.Ready("") }, []string{"READY=1"}, 0},
		{
			"ready with status", func(n *Notifier) error { return n.Ready("4 workers\nREADY=0") },
			[]string{"READY=1", "STATUS=4 workers READY=0"},
			0,
		},
		{"reloading", func(n *Notifier) error { return n.Reloading("") }, []string{"RELOADING=1", "MONOTONIC_USEC=N"}, 0},
		{
			"stopping", func(n *Notifier) error { return n.Stopping("drains") },
			[]string{"STOPPING=1", "STATUS=drains"},
			0,
		},
		{"status", func(n *Notifier) error { return n.Status("well") }, []string{"STATUS=well"}, 0},
		{"failed", func(n *Notifier) error { return n.Failed(2, "") }, []string{"ERRNO=2"}, 0},
		{"watchdog", func(n *Notifier) error { return n.Watchdog() }, []string{"WATCHDOG=1"}, 0},
		{"main pid", func(n *Notifier) error { return n.MainPID(77) }, []string{"MAINPID=77"}, 0},
		{
			"extend", func(n *Notifier) error { return n.ExtendTimeout(2 * time.Second) },
			[]string{"EXTEND_TIMEOUT_USEC=2000000"},
			0,
		},
		{
			"store", func(n *Notifier) error { return n.Store("http", false, int(read.Fd()), int(read.Fd())) },
			[]string{"FDSTORE=1", "FDNAME=http", "FDPOLL=0"},
			2,
		},
		{
			"store with poll", func(n *Notifier) error { return n.Store("a", true, int(read.Fd())) },
			[]string{"FDSTORE=1", "FDNAME=a"},
			1,
		},
		{
			"unstore", func(n *Notifier) error { return n.Unstore("http") },
			[]string{"FDSTOREREMOVE=1", "FDNAME=http"},
			0,
		},
	}
	for _, kind := range []string{"path", "abstract"} {
		for _, test := range tests {
			t.Run(kind+"/"+test.name, func(t *testing.T) {
				name := filepath.Join(t.TempDir(), "notify")
				if kind == "abstract" {
					name = "@myriad-test-" + strconv.Itoa(os.Getpid())
				}
				m, n := newManager(t, name)
				test.check(t, m, n)
			})
		}
	}
}

func (want notice) check(t *testing.T, m *manager, n *Notifier) {
	if err := want.send(n); err != nil {
		t.Fatal(err)
	}
	lines, descriptors := m.receive()
	closeAll(descriptors...)
	for i, line := range lines {
		if number, ok := strings.CutPrefix(line, "MONOTONIC_USEC="); ok {
			usec, err := strconv.ParseInt(number, 10, 64)
			if age := Now() - time.Duration(usec)*time.Microsecond; err != nil || age < 0 || age > patience {
				t.Errorf("it began %s ago, %v", age, err)
			}
			lines[i] = "MONOTONIC_USEC=N"
		}
	}
	if diff := cmp.Diff(want.want, lines); diff != "" || len(descriptors) != want.descriptors {
		t.Errorf("%d descriptors came, want %d; the text (-want +got):\n%s", len(descriptors), want.descriptors, diff)
	}
}

func TestNotifyBarrier(t *testing.T) {
	leaksNothing(t)
	m, n := newManager(t, filepath.Join(t.TempDir(), "notify"))
	if err := n.Barrier(10 * time.Millisecond); err == nil {
		t.Error("nobody has taken it, and the barrier was passed")
	}
	_, descriptors := m.receive()
	closeAll(descriptors...)
	passed := make(chan error, 1)
	go func() { passed <- n.Barrier(patience) }()
	lines, descriptors := m.receive()
	if diff := cmp.Diff([]string{"BARRIER=1"}, lines); diff != "" || len(descriptors) != 1 {
		t.Errorf("%d descriptors came; the text (-want +got):\n%s", len(descriptors), diff)
	}
	select {
	case err := <-passed:
		t.Errorf("it was passed before: %v", err)
	default:
	}
	_ = os.NewFile(uintptr(descriptors[0]), "barrier").Close()
	if err := <-passed; err != nil {
		t.Error(err)
	}
}

func TestNotifyNobody(t *testing.T) {
	leaksNothing(t)
	t.Setenv("NOTIFY_SOCKET", "")
	n, err := NewNotifier()
	if n != nil || err != nil {
		t.Fatalf("got %v, %v", n, err)
	}
	for _, err := range []error{n.Ready("x"), n.Store("a", true, 0), n.Barrier(0), n.Watchdog()} {
		if err != nil {
			t.Error(err)
		}
	}
	n.Close()
	for _, name := range []string{"relative", "vsock:2:1", "/nonexistent/socket", "/" + strings.Repeat("x", 200)} {
		t.Setenv("NOTIFY_SOCKET", name)
		if n, err := NewNotifier(); err == nil {
			n.Close()
			t.Errorf("%s was taken", name)
		}
	}
}

func TestStoreNames(t *testing.T) {
	_, n := newManager(t, filepath.Join(t.TempDir(), "notify"))
	for _, name := range []string{"", "a:b", "a\nb", strings.Repeat("x", 256), "ü"} {
		if n.Store(name, true, 0) == nil || n.Unstore(name) == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if n.Store("a", true) == nil || n.Store("a", true, make([]int, MostDescriptors+1)...) == nil {
		t.Error("no descriptors, or too many, were taken")
	}
}

func init() {
	roles["activated"] = func() int {
		given, err := Activated()
		fmt.Println(given, err, os.Getenv("LISTEN_FDS"))
		again, err := Activated()
		fmt.Println(again, err)
		return 0
	}
}

// TestActivated starts a process as a service manager does, which gives it descriptors from 3 on.
func TestActivated(t *testing.T) {
	leaksNothing(t)
	tests := []struct {
		name, pid, count, names string
		want                    string
	}{
		{"named", "$$", "2", "http:http", `^\[\{http 3\} \{http 4\}\] <nil> \n\[\] <nil>\n`},
		{"unnamed", "$$", "2", "", `^\[\{unknown 3\} \{unknown 4\}\] <nil> \n`},
		{"one without a name", "$$", "2", "a:", `^\[\{a 3\} \{unknown 4\}\] <nil> \n`},
		{"none", "$$", "0", "", `^\[\] <nil> \n`},
		{"of another", "1", "2", "a:b", `^\[\] <nil> 2\n`},
		{"not told", "", "2", "a:b", `^\[\] <nil> 2\n`},
		{"fewer names", "$$", "2", "a", `^\[\] LISTEN_FDNAMES="a" does not`},
		{"not open", "$$", "400", "", `^\[\] descriptor \d+ of LISTEN_FDS=400 is not open`},
		{"nonsense", "$$", "x", "", `^\[\] LISTEN_FDS="x" is not`},
		{"negative", "$$", "-1", "", `^\[\] LISTEN_FDS="-1" is not`},
		{"far too many", "$$", "99999999999", "", `^\[\] LISTEN_FDS="99999999999" is not`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			read, write := pipe(t)
			command := exec.Command("/bin/sh", "-c", `LISTEN_PID=`+test.pid+` exec "$0"`, self())
			command.Env = append(os.Environ(), roleVariable+"=activated", "LISTEN_FDS="+test.count, "LISTEN_FDNAMES="+test.names)
			command.ExtraFiles = []*os.File{read, write}
			out, err := command.Output()
			if err != nil || !regexp.MustCompile(test.want).Match(out) {
				t.Errorf("it found %s, %v; want %s", out, err, test.want)
			}
		})
	}
}

func TestWatchdogInterval(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	tests := []struct {
		usec, pid string
		want      time.Duration
		fails     bool
	}{
		{"30000000", own, 30 * time.Second, false},
		{"1", "", time.Microsecond, false},
		{"30000000", "1", 0, false},
		{"", own, 0, false},
		{"0", own, 0, true},
		{"-1", own, 0, true},
		{"x", own, 0, true},
		{"18446744073709551615", own, 0, true},
	}
	for _, test := range tests {
		t.Setenv("WATCHDOG_USEC", test.usec)
		t.Setenv("WATCHDOG_PID", test.pid)
		if got, err := WatchdogInterval(); got != test.want || (err != nil) != test.fails {
			t.Errorf("WATCHDOG_USEC=%q WATCHDOG_PID=%q: %s, %v", test.usec, test.pid, got, err)
		}
		if left := os.Getenv("WATCHDOG_USEC"); test.want != 0 && left != "" {
			t.Errorf("children would inherit WATCHDOG_USEC=%s", left)
		}
	}
}
