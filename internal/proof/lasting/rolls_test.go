package lasting

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/control"
)

// TestUpgradeReadsAnew has a server go on in new processes when its configuration is another one by now: a bad one
// refuses the upgrade, and nothing has changed; a good one is served from then on, on old connections, too.
func TestUpgradeReadsAnew(t *testing.T) {
	for _, c := range []struct{ name, lines, other string }{
		{"one process", "", "engine: {loops: 1}\n"},
		{"workers", "engine: {processes: 2}\n", "engine: {processes: 2, loops: 1}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := address()
			s := serve(t, answering(at, "before", c.lines))
			s.Await(t, "msg=serving", 1)
			stays := mustDial(t, at)
			if text := stays.ask(t); text != "before" {
				t.Fatalf("%q was answered", text)
			}
			old := s.Members()
			s.configure(t, answering(at, "never", "limits: {conections: 1}\n"+c.lines))
			out, err := s.attempt(t, "upgrade")
			if err == nil || !strings.Contains(out, "conections") {
				t.Errorf("an upgrade to a configuration that is wrong: %v\n%s", err, out)
			}
			await(t, func() bool { return slices.Equal(s.Members(), old) },
				func() string { return fmt.Sprintf("%v instead of %v\n%s", old, s.Members(), s.Log) })
			if text := stays.ask(t); text != "before" {
				t.Errorf("%q was answered behind an upgrade that was refused", text)
			}
			s.configure(t, answering(at, "behind", c.other))
			s.command(t, "upgrade")
			await(t, func() bool { // the last of the old workers may still accept
				return !slices.ContainsFunc(s.Members(), func(pid int) bool {
					return slices.Contains(old, pid) && (c.lines == "" || pid != s.Process.Pid)
				})
			}, func() string { return fmt.Sprintf("the end of %v\n%s", old, s.Log) })
			if text := stays.ask(t); text != "behind" {
				t.Errorf("%q was answered behind the upgrade\n%s", text, s.Log)
			}
			for range 20 {
				if text := mustDial(t, at).ask(t); text != "behind" {
					t.Errorf("a new connection was answered %q\n%s", text, s.Log)
				}
			}
		})
	}
}

// gated is a program that becomes the server's when a line is written to the file that is returned.
func gated(t *testing.T, s *server) (path string, gate *os.File) {
	t.Helper()
	path = s.path("gated")
	if out, err := exec.Command("mkfifo", s.path("gate")).CombinedOutput(); err != nil {
		t.Fatalf("mkfifo: %v\n%s", err, out)
	}
	text := fmt.Sprintf("#!/bin/sh\nif [ -n \"$MYRIAD_PLACE$MYRIAD_FOLLOW\" ]; then read line <%s; fi\nexec %s \"$@\"\n",
		s.path("gate"), s.binary) // it is not for the supervisor, and who looks whether it could be that
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	gate, err := os.OpenFile(s.path("gate"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gate.Close() })
	return path, gate
}

// TestPreviewWhileUpgrading asks what a reload would do while new processes are being started: it is told at once that
// there is none now.
func TestPreviewWhileUpgrading(t *testing.T) {
	for _, c := range []struct{ name, lines, begins string }{
		{"one process", "", "a new process is to take over"},
		{"workers", "engine: {processes: 2}\n", "a new generation takes over"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, plain(address(), c.lines))
			s.Await(t, "msg=serving", 1)
			path, gate := gated(t, s)
			upgraded := make(chan error, 1)
			go func() {
				out, err := s.attempt(t, "upgrade", "--binary", path)
				if err != nil {
					err = fmt.Errorf("%w: %s", err, out)
				}
				upgraded <- err
			}()
			s.Await(t, c.begins, 1)
			if out, err := s.attempt(t, "reload", "--dry-run"); err == nil || !strings.Contains(out, "an upgrade is under way") {
				t.Errorf("what would a reload do: %v\n%s", err, out)
			}
			if _, err := gate.WriteString("go\ngo\n"); err != nil {
				t.Fatal(err)
			}
			if err := <-upgraded; err != nil {
				t.Errorf("%v\n%s", err, s.Log)
			}
			if out, err := s.attempt(t, "reload", "--dry-run"); err != nil {
				t.Errorf("behind the upgrade: %v\n%s", err, out)
			}
		})
	}
}

// onSmallMachine is a program that is the server's, and believes that the machine has as many files as a file says.
func onSmallMachine(t *testing.T, folder, binary string) (path, files string) {
	t.Helper()
	files, path = filepath.Join(folder, "file-nr"), filepath.Join(folder, "small-machine")
	mayOpen(t, files, 0, 1)
	enter := fmt.Sprintf("unshare --mount sh -c 'mount --bind %s /proc/sys/fs/file-nr && exec \"$@\"' small", files)
	if out, err := exec.Command("sh", "-c", enter+" true").CombinedOutput(); err != nil {
		t.Skipf("it takes a mount namespace, and there is none to be had: %v: %s", err, out)
	}
	text := fmt.Sprintf("#!/bin/sh\nexec %s %s \"$@\"\n", enter, binary)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	return path, files
}

// mayOpen writes how many files are open, and how many may be.
func mayOpen(t *testing.T, files string, open, most int) {
	t.Helper()
	if err := os.WriteFile(files, fmt.Appendf(nil, "%d\t0\t%d\n", open, most), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRollNearTheLimit replaces workers on a machine that could not open a second time what is open: each new one takes
// all that it is given, as nothing is opened for it.
func TestRollNearTheLimit(t *testing.T) {
	const clients, most = 200, 1000
	at := address()
	s := newServer(t, plain(at, "timeouts: {drain: 2s}\nengine: {processes: 2}\n"))
	path, files := onSmallMachine(t, t.TempDir(), s.binary)
	mayOpen(t, files, most/2, most)
	s.start(t, path)
	s.Await(t, "msg=serving", 1)
	var all []caller
	for range clients {
		c := mustDial(t, at)
		c.ask(t)
		all = append(all, c)
	}
	await(t, func() bool {
		var now control.Workers
		if err := json.Unmarshal([]byte(s.command(t, "workers", "--json")), &now); err != nil {
			t.Fatal(err)
		}
		shown := uint64(0)
		for i := range now.Workers {
			shown += now.Workers[i].Connections
		}
		return shown == clients
	}, func() string { return "the workers to show what they have\n" + s.Log.String() })
	mayOpen(t, files, most-10, most)
	ended, _ := s.Log.Count(hasEnded)
	s.command(t, "upgrade", "--binary", s.binary)
	s.Await(t, hasEnded, ended+2) // what was not taken ends with them
	for _, c := range all {
		c.ask(t)
	}
}

// TestReloadBehindHandOver reloads while a worker still waits for a request of which it is to hand the connection over:
// the worker that takes over changes when that is over, and is not taken for one that hangs meanwhile.
func TestReloadBehindHandOver(t *testing.T) {
	long(t)
	behind, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = behind.Close() }()
	at := address()
	lines := fmt.Sprintf("upstreams: {silent: {to: [%q], timeouts: {first_byte: 3m}}}\ntimeouts: {drain: 70s}\n"+
		"engine: {processes: 1}\n", behind.Addr())
	text := func(body string) string {
		return fmt.Sprintf("listeners: [{address: %q}]\nadmin: unix:admin.sock\nroutes:\n"+
			"  - {prefix: /silent, proxy: {upstream: silent}}\n  - {respond: {body: %q}}\n%s", at, body, lines)
	}
	s := serve(t, text("before"))
	s.Await(t, "msg=serving", 1)
	idle, busy := mustDial(t, at), mustDial(t, at)
	if got := idle.ask(t); got != "before" {
		t.Fatalf("%q was answered", got)
	}
	busy.send(t, "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n")
	reached, err := behind.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reached.Close() }()
	s.command(t, "upgrade")
	s.configure(t, text("behind"))
	if out := s.command(t, "reload"); !strings.Contains(out, "routes: 1 changed") {
		t.Errorf("the reload: %s", out)
	}
	if got := idle.ask(t); got != "behind" {
		t.Errorf("%q was answered behind the reload\n%s", got, s.Log)
	}
	if n, _ := s.Log.Count("could not change as the others"); n > 0 {
		t.Errorf("a worker was replaced:\n%s", s.Log)
	}
}
