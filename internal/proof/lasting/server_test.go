package lasting

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// A server is the program, serving.
type server struct {
	*apptest.Program
	binary, folder string
}

// serve starts the program with a configuration.
func serve(t testing.TB, configuration string) *server {
	t.Helper()
	s := newServer(t, configuration)
	s.start(t, s.binary)
	return s
}

// newServer is the program with a configuration, to be started.
func newServer(t testing.TB, configuration string) *server {
	t.Helper()
	s := &server{folder: t.TempDir()}
	s.binary = filepath.Join(t.TempDir(), "myriad") // its own, as it may be replaced
	if err := os.Link(apptest.Build(t), s.binary); err != nil {
		t.Fatal(err)
	}
	s.configure(t, configuration)
	return s
}

// start starts it, or what becomes it.
func (s *server) start(t testing.TB, path string) {
	t.Helper()
	s.Program = apptest.LaunchFile(t, path, s.folder, "serve", "--config", s.path("myriad.yaml"))
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
		t.Fatalf("myriad %s: %v\n%s\nthe server:\n%s", strings.Join(arguments, " "), err, out, s.Log)
	}
	return out
}

// attempt runs a command of the program that may fail.
func (s *server) attempt(t testing.TB, arguments ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, apptest.Build(t), append(arguments, "--admin", "unix:"+s.path("admin.sock"))...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// signal sends a signal to the process that was started and waits for what the server says to it, so many times.
func (s *server) signal(t testing.TB, number syscall.Signal, answer string, times int) {
	t.Helper()
	before, _ := s.Log.Count(answer)
	s.Signal(t, number)
	s.Await(t, answer, before+times)
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

// serving waits until a server says that it serves. A connection proves nothing: before that a socket may listen for a
// moment that only finds out whether the address is free.
func serving(t testing.TB, s *server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !s.Says(ctx, "msg=serving", 1) {
		t.Fatalf("the server does not start:\n%s", s.Log)
	}
}

// used counts addresses.
var used atomic.Int32

// address is one that no other process uses: its host is made of the number of this process.
func address() string {
	id := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:%d", 64+id>>16&63, id>>8&255, max(id&255, 1), 20_000+used.Add(1))
}
