package apptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a program may take to do what it is going to do.
const patience = time.Minute

// binary is the program, built once.
var binary struct {
	once         sync.Once
	folder, path string
	failed       error
}

// Build compiles cmd/myriad, once for all tests of a package, and returns the path of the program. Whoever calls it has
// a TestMain that calls Clean at the end.
func Build(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.folder, binary.failed = os.MkdirTemp("", "myriad-test-"); binary.failed != nil {
			return
		}
		binary.path = filepath.Join(binary.folder, "myriad")
		_, own, _, _ := runtime.Caller(0)
		command := exec.CommandContext(context.Background(), "go", "build", "-o", binary.path, "./cmd/myriad")
		command.Dir = filepath.Join(filepath.Dir(own), "..", "..", "..")
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			binary.failed = fmt.Errorf("building the program: %w\n%s", err, out)
		}
	})
	if binary.failed != nil {
		t.Fatal(binary.failed)
	}
	return binary.path
}

// Clean removes what Build has made, if it was called.
func Clean() {
	if binary.folder != "" {
		_ = os.RemoveAll(binary.folder)
	}
}

// A Journal is what a program says, to be read, and waited on, while it is said.
type Journal struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed at the next word
}

// Write appends to the journal.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
	return j.text.Write(p)
}

// String is all that was said.
func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Count is how often something was said, and a channel that is closed when more is said.
func (j *Journal) Count(what string) (n int, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return bytes.Count(j.text.Bytes(), []byte(what)), j.changed
}

// A Program is the real one, in a process of its own.
type Program struct {
	Log     *Journal
	Process *os.Process
	// Ended is closed when the process that was started has ended, whatever it has started itself.
	Ended  chan struct{}
	silent chan struct{} // closed when nobody is left who could say anything
	why    error
	folder string
}

// Launch starts the program in a folder, which no other program of a test may work in, with arguments. It is ended with
// the test, and so is what it has started.
func Launch(t testing.TB, folder string, arguments ...string) *Program {
	t.Helper()
	return LaunchFile(t, Build(t), folder, arguments...)
}

// LaunchFile is Launch for a copy of the program, which a test may replace.
func LaunchFile(t testing.TB, path, folder string, arguments ...string) *Program {
	t.Helper()
	command := exec.CommandContext(context.Background(), path, arguments...)
	p := &Program{Log: new(Journal), Ended: make(chan struct{}), silent: make(chan struct{}), folder: folder}
	// A process that follows writes to the same place, also when the first one has ended.
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Dir, command.Stdout, command.Stderr = folder, to, to
	err = command.Start()
	_ = to.Close()
	if err != nil {
		_ = from.Close()
		t.Fatal(err)
	}
	p.Process = command.Process
	go func() {
		defer close(p.silent)
		_, _ = io.Copy(p.Log, from)
		_ = from.Close()
	}()
	go func() {
		p.why = command.Wait()
		close(p.Ended)
	}()
	t.Cleanup(func() { p.Stop(t) })
	return p
}

// Outcome is the error of the process that was started, which must have ended: nil if it was content.
func (p *Program) Outcome() error { return p.why }

// ExitCode is that of the process that was started, which must have ended; -1 if a signal has ended it.
func (p *Program) ExitCode() int {
	var exit *exec.ExitError
	if errors.As(p.why, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// Signal sends a signal to the process that was started.
func (p *Program) Signal(t testing.TB, number syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(number); err != nil {
		t.Fatalf("signal %v: %v\n%s", number, err, p.Log)
	}
}

// Says waits until the program has said something so often. It reports false when the context ends, or the process that
// was started, before that.
func (p *Program) Says(ctx context.Context, what string, times int) bool {
	for {
		n, changed := p.Log.Count(what)
		if n >= times {
			return true
		}
		select {
		case <-changed:
		case <-p.Ended:
			n, _ := p.Log.Count(what)
			return n >= times
		case <-ctx.Done():
			return false
		}
	}
}

// Await waits until the program, or what it has started, has said something so often.
func (p *Program) Await(t testing.TB, what string, times int) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		n, changed := p.Log.Count(what)
		if n >= times {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("%q was said %d times, not %d:\n%s", what, n, times, p.Log)
		}
	}
}

var listening = regexp.MustCompile(`(?m)msg=listening url=(\S+)$`)

// URLs are where the program has said that it listens.
func (p *Program) URLs() (urls []string) {
	for _, m := range listening.FindAllStringSubmatch(p.Log.String(), -1) {
		urls = append(urls, m[1])
	}
	return urls
}

// Members are the processes of the program: the one that was started, and what it has started. They work in its folder.
func (p *Program) Members() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			if folder, err := os.Readlink("/proc/" + entry.Name() + "/cwd"); err == nil && folder == p.folder {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Gone tells whether nothing of the program is left.
func (p *Program) Gone() bool { return len(p.Members()) == 0 }

// Tell sends a signal to processes, which may have gone.
func Tell(number syscall.Signal, pids ...int) {
	for _, pid := range pids {
		if process, err := os.FindProcess(pid); err == nil {
			_ = process.Signal(number)
			_ = process.Release()
		}
	}
}

// Stop ends the program, with all that it has started, and waits until nothing of it is left.
func (p *Program) Stop(t testing.TB) {
	t.Helper()
	Tell(syscall.SIGTERM, p.Members()...)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !p.Gone(); <-tick.C {
		if time.Now().After(deadline) {
			left := p.Members()
			Tell(syscall.SIGKILL, left...)
			t.Errorf("processes %v of the program do not end\n%s", left, p.Log)
			break
		}
	}
	<-p.Ended
	<-p.silent
}

// Number is what a variable of the environment says, or what a test that runs with all others has enough of.
func Number(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
