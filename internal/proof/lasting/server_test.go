package lasting

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const hup = syscall.SIGHUP

// binary is the program, built once.
var binary struct {
	once         sync.Once
	folder, path string
	failed       error
}

// build returns the path of the program.
func build(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		binary.folder, binary.failed = os.MkdirTemp("", "lasting")
		if binary.failed != nil {
			return
		}
		binary.path = filepath.Join(binary.folder, "myriad")
		command := exec.CommandContext(t.Context(), "go", "build", "-o", binary.path, "../../../cmd/myriad")
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			binary.failed = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if binary.failed != nil {
		t.Fatal(binary.failed)
	}
	return binary.path
}

// A journal is what a program says, to be read while it is said.
type journal struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed at the next word
}

// Write appends to the journal.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
	return j.text.Write(p)
}

// String is all that was said.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// count is how often something was said, and a channel that tells when more is said.
func (j *journal) count(what string) (n int, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return bytes.Count(j.text.Bytes(), []byte(what)), j.changed
}

// await waits until something has been said so often.
func (j *journal) await(t testing.TB, what string, times int) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		n, changed := j.count(what)
		if n >= times {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("%q was said %d times, not %d:\n%s", what, n, times, j)
		}
	}
}

// A server is the program, serving.
type server struct {
	program, folder string
	process         *exec.Cmd
	log             *journal
	ended           chan struct{}
}

// serve starts the program with a configuration; it is ended with the test, and so is what it has started.
func serve(t testing.TB, configuration string) *server {
	t.Helper()
	s := &server{program: build(t), folder: t.TempDir(), log: new(journal), ended: make(chan struct{})}
	s.configure(t, configuration)
	s.process = exec.CommandContext(context.Background(), s.program, "serve", "--config", s.path("myriad.yaml"))
	s.process.Dir, s.process.Stdout, s.process.Stderr = s.folder, s.log, s.log
	s.process.WaitDelay = patience
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.process.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() { s.stop(t) })
	return s
}

// path is that of a file of the server's own.
func (s *server) path(name string) string { return filepath.Join(s.folder, name) }

// configure writes another configuration: the whole file at once, as whoever reads it may do so at any time.
func (s *server) configure(t testing.TB, configuration string) {
	t.Helper()
	if err := os.WriteFile(s.path("next.yaml"), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path("next.yaml"), s.path("myriad.yaml")); err != nil {
		t.Fatal(err)
	}
}

// command runs a command of the program that asks the server something, which must work.
func (s *server) command(t testing.TB, arguments ...string) string {
	t.Helper()
	out, err := s.attempt(t, arguments...)
	if err != nil {
		t.Fatalf("myriad %s: %v\n%s\nthe server:\n%s", strings.Join(arguments, " "), err, out, s.log)
	}
	return out
}

// attempt runs a command of the program that may fail.
func (s *server) attempt(t testing.TB, arguments ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, s.program, append(arguments, "--admin", "unix:"+s.path("admin.sock"))...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// signal sends a signal to the process that was started and waits for what the server says to it.
func (s *server) signal(t testing.TB, answer string, number syscall.Signal) {
	t.Helper()
	before, _ := s.log.count(answer)
	if err := s.process.Process.Signal(number); err != nil {
		t.Fatal(err)
	}
	s.log.await(t, answer, before+1)
}

// died tells whether the server has ended by itself, with all that it has started.
func (s *server) died() bool { return len(s.members()) == 0 }

// members are the processes of the server: it, and what it has started, which work in its folder.
func (s *server) members() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			if folder, err := os.Readlink("/proc/" + entry.Name() + "/cwd"); err == nil && folder == s.folder {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// tell sends a signal to processes, which may have gone.
func tell(pids []int, number syscall.Signal) {
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Signal(number)
			_ = p.Release()
		}
	}
}

// stop ends the server and waits until nothing of it is left.
func (s *server) stop(t testing.TB) {
	t.Helper()
	if s.died() {
		return
	}
	tell(s.members(), syscall.SIGTERM)
	await(t, s.died, func() string {
		stuck := s.members()
		tell(stuck, syscall.SIGKILL)
		return fmt.Sprintf("the end of the server (%v)\n%s", stuck, s.log)
	})
	<-s.ended
}

// await waits until something is true that nobody tells.
func await(t testing.TB, is func() bool, what func() string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("did not come: %s", what())
		}
	}
}

// listening waits until somebody listens.
func listening(t testing.TB, s *server, address string) {
	t.Helper()
	await(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil || s.died()
	}, func() string { return fmt.Sprintf("a listener on %s\n%s", address, s.log) })
	if s.died() {
		t.Fatalf("the server does not start:\n%s", s.log)
	}
}

// used counts addresses.
var used atomic.Int32

// address is one that no other process uses: its host is made of the number of this process.
func address() string {
	id := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:%d", 64+id>>16&63, id>>8&255, max(id&255, 1), 20_000+used.Add(1))
}
