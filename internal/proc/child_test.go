package proc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestReadyAndEnding(t *testing.T) {
	leaksNothing(t)
	tests := []struct {
		role    string
		signal  syscall.Signal // once it is ready
		failure string         // in its own words
		is      error
		ending  string
	}{
		{role: "ready", signal: syscall.SIGTERM, ending: "signal: terminated"},
		{role: "ready", signal: syscall.SIGKILL, ending: "signal: killed"},
		{role: "failing", failure: "the port is taken\nby another", ending: "exit status 3"},
		{role: "silent", is: ErrSilent, ending: "exit status 4"},
	}
	for _, test := range tests {
		t.Run(test.role+"/"+test.signal.String(), func(t *testing.T) {
			child := launch(t, command(test.role))
			err := child.AwaitReady(patience)
			var failure *Failure
			switch {
			case test.failure != "":
				if !errors.As(err, &failure) || failure.Text != test.failure {
					t.Errorf("it said %v, want the failure %q", err, test.failure)
				}
			case !errors.Is(err, test.is):
				t.Errorf("it said %v, want %v", err, test.is)
			}
			if test.is != nil && !strings.Contains(err.Error(), test.ending) {
				t.Errorf("%q does not tell of its death, %s", err, test.ending)
			}
			if test.signal != 0 {
				if err := child.Signal(test.signal); err != nil {
					t.Fatal(err)
				}
			}
			if ending := awaitDeath(t, child); ending.String() != test.ending || ending.Lasted <= 0 {
				t.Errorf("it ended with %q after %s, want %q", ending, ending.Lasted, test.ending)
			}
			if err := child.Signal(syscall.SIGKILL); !errors.Is(err, ErrGone) {
				t.Errorf("a signal after its death: %v, want %v", err, ErrGone)
			}
		})
	}
}

func TestNeverReady(t *testing.T) {
	leaksNothing(t)
	child := launch(t, command("mute"))
	if err := child.AwaitReady(10 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want that the limit was reached", err)
	}
	if err := child.Signal(0); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}

// TestStubborn ends a child that ignores SIGTERM.
func TestStubborn(t *testing.T) {
	leaksNothing(t)
	child := launch(t, command("stubborn"))
	if err := child.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := child.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	if ending := awaitDeath(t, child); ending.Signal != syscall.SIGKILL {
		t.Errorf("%s ended it", ending)
	}
}

// TestClosedBeforeItsDeath shows that a child takes the end of its life pipe for its parent's death.
func TestClosedBeforeItsDeath(t *testing.T) {
	leaksNothing(t)
	child, err := Start(command("ready"))
	if err != nil {
		t.Fatal(err)
	}
	if err := child.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	if err := child.life.Close(); err != nil {
		t.Fatal(err)
	}
	if ending := awaitDeath(t, child); ending.Code != 7 {
		t.Errorf("it ended with %s, want the status of an orphan", ending)
	}
	child.Close()
}

// TestOrphan kills a parent with SIGKILL, and its child notices.
func TestOrphan(t *testing.T) {
	leaksNothing(t)
	ours, other, err := NewPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	c := command("parent", Named{"pipe", other})
	c.Peer = true
	parent := launch(t, c)
	closeAll(other)
	if err := parent.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	if err := parent.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitDeath(t, parent)
	if err := ours.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 64)
	n, err := ours.file.Read(text)
	if string(text[:n]) != "orphaned" {
		t.Errorf("the child of the parent that was killed said %q, %v", text[:n], err)
	}
}

// TestDescriptors shows that a child has what was named, and nothing else of its parent.
func TestDescriptors(t *testing.T) {
	leaksNothing(t)
	read, write := pipe(t)
	child := launch(t, command("descriptors", Named{"pipe", int(write.Fd())}))
	_ = write.Close()
	list := readAll(t, read)
	awaitDeath(t, child)
	for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
		number, target, _ := strings.Cut(line, " ")
		fd, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		// From 7 on there are the runtime's own, and the folder that is being read.
		own := slices.ContainsFunc([]string{"anon_inode:", "/proc/", "/sys/fs/cgroup/"}, func(prefix string) bool {
			return strings.HasPrefix(target, prefix)
		})
		if fd > 6 && target != "" && !own {
			t.Errorf("it has %s", line)
		}
	}
	if !strings.Contains(list, "6 pipe:") {
		t.Errorf("it does not have what was named:\n%s", list)
	}
}

func TestStartsThatAreRefused(t *testing.T) {
	leaksNothing(t)
	tests := map[string]Command{
		"no such binary": {Path: "/nonexistent/myriad"},
		"no such folder": {Path: self(), Dir: "/nonexistent"},
		"bad name":       command("silent", Named{"two words", 0}),
		"no name":        command("silent", Named{"", 0}),
		"name twice":     command("silent", Named{"a", 0}, Named{"a", 1}),
		"taken name":     command("silent", Named{"ready", 0}),
		"not open":       command("silent", Named{"a", -1}),
		"closed":         command("silent", Named{"a", 1 << 20}),
		"too many":       command("silent", make([]Named, MostNamed+1)...),
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			if child, err := Start(c); err == nil {
				t.Error("it was started")
				awaitDeath(t, child)
				child.Close()
			}
		})
	}
}

// TestFamily is the guard against a worker that takes itself for a supervisor.
func TestFamily(t *testing.T) {
	leaksNothing(t)
	if err := launch(t, command("family")).AwaitReady(patience); err != nil {
		t.Error(err)
	}
}

// TestNoZombies starts and ends many at once: each is reaped.
func TestNoZombies(t *testing.T) {
	leaksNothing(t)
	const many = 20
	var children []*Child
	for range many {
		children = append(children, launch(t, command("silent")))
	}
	for _, child := range children {
		awaitDeath(t, child)
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.PID())); err == nil {
			t.Errorf("process %d is still there: %s", child.PID(), text)
		}
	}
}

func TestAdoptWithoutAParent(t *testing.T) {
	tests := map[string]struct {
		text string
		is   error
	}{
		"nothing":         {"", ErrNotChild},
		"nonsense":        {"x ready life control", nil},
		"another program": {"1 a b c", nil},
		"another parent":  {"1 ready life control", ErrOrphan},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv(inheritVariable, test.text)
			_, err := Adopt()
			if err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %v, want %v", err, test.is)
			}
			if IsChild() {
				t.Error("the variable is still there")
			}
		})
	}
}

func TestFailedLine(t *testing.T) {
	for name, text := range map[string]string{
		"plain": "no", "empty": "", "long": strings.Repeat("x", 9000), "wide": strings.Repeat("\U0001F600\n", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			read, write := pipe(t)
			line := failedLine(errors.New(text))
			if len(line) > mostLineBytes {
				t.Fatalf("the line has %d bytes", len(line))
			}
			if _, err := write.Write(line); err != nil {
				t.Fatal(err)
			}
			var failure *Failure
			if err := hear(read); !errors.As(err, &failure) || !strings.HasPrefix(text, strings.ToValidUTF8(failure.Text, "")) {
				t.Errorf("it was heard as %v", err)
			}
		})
	}
	for _, said := range []string{"perhaps\n", "failed no\n", strings.Repeat("x", mostLineBytes+1)} {
		read, write := pipe(t)
		if _, err := write.WriteString(said); err != nil {
			t.Fatal(err)
		}
		var failure *Failure
		if err := hear(read); !errors.As(err, &failure) {
			t.Errorf("%.10q was heard as %v", said, err)
		}
	}
}

func TestUsage(t *testing.T) {
	leaksNothing(t)
	child := launch(t, command("busy"))
	if err := child.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	u, err := child.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU < 10*time.Millisecond || u.ResidentBytes < 1<<20 || u.AnonymousBytes < 1<<16 || u.Threads < 1 ||
		u.AnonymousBytes > u.ResidentBytes {
		t.Errorf("it has used %+v", u)
	}
	share, err := child.Proportional()
	if err != nil || share <= 0 || share > u.ResidentBytes*2 {
		t.Errorf("its share is %d, %v, of %d resident bytes", share, err, u.ResidentBytes)
	}
	if err := child.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ending := awaitDeath(t, child)
	if ending.User+ending.System < 10*time.Millisecond || ending.PeakResidentBytes < 1<<20 {
		t.Errorf("it had used %s and %s, and %d bytes", ending.User, ending.System, ending.PeakResidentBytes)
	}
	if _, err := child.Usage(); !errors.Is(err, ErrGone) {
		t.Errorf("the usage of the dead: %v", err)
	}
}
