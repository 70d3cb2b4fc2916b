package upgrade

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// holding is a server with a pid file and a Unix socket, one of whose connections cannot leave: its client does not
// read what is more than all buffers hold.
func holding(t *testing.T) (s *server, pidFile, socket string) {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "large")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	pidFile, socket = filepath.Join(folder, "pid"), filepath.Join(folder, "h.sock")
	text := fmt.Sprintf("pid_file: %s\nlisteners:\n  - address: 127.0.0.1:0\n  - address: unix:%s\n"+
		"routes:\n  - path: /large\n    files: {root: %s}\n  - respond: {body: hi}\n", pidFile, socket, folder)
	configuration := filepath.Join(folder, "c.yaml")
	if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s = launch(t, "serve", "--config", configuration)
	c := dial(t, s.URLs()[0])
	c.say(strings.Replace(request, "/ ", "/large ", 1))
	if _, err := c.answer.Peek(1); err != nil { // it is on its way
		t.Fatalf("%v\n%s", err, s.Log)
	}
	return s, pidFile, socket
}

// names checks whose number a pid file has.
func names(t *testing.T, pidFile string, pid int) {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(pid) {
		t.Errorf("the pid file has %q, %v; want %d", text, err, pid)
	}
}

// successor is the number of the process that was started last to take over.
func (s *server) successor(t *testing.T) (pid int) {
	t.Helper()
	_, behind, _ := strings.Cut(s.Log.String(), "new_pid=")
	if _, err := fmt.Sscan(behind, &pid); err != nil {
		t.Fatalf("%v\n%s", err, s.Log)
	}
	return pid
}

// TestSuccessorEnds ends the new process while connections are being handed over to it: the other one serves on, with
// its files as they were.
func TestSuccessorEnds(t *testing.T) {
	for _, number := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(number.String(), func(t *testing.T) {
			s, pidFile, socket := holding(t)
			upgraded := make(chan error, 1)
			go func() { upgraded <- s.ask("POST", "/v1/upgrade", nil, nil) }()
			s.Await(t, "msg=serving", 2)
			names(t, pidFile, s.Process.Pid)
			apptest.Tell(number, s.successor(t))
			if err := <-upgraded; err == nil {
				t.Fatalf("the upgrade to a process that has ended\n%s", s.Log)
			}
			names(t, pidFile, s.Process.Pid)
			for _, at := range []string{s.URLs()[0], "unix:" + socket} {
				c := dial(t, at)
				c.say(request)
				c.hear("hi")
			}
			stops, _ := s.Log.Count("msg=stopping")
			s.Signal(t, syscall.SIGTERM)
			s.Await(t, "msg=stopping", stops+1)
			s.Stop(t) // a second signal: nobody waits for the download
			gone(t, s, pidFile, socket)
		})
	}
}

// TestStopWhileUpgrading stops a server whose successor does not get ready: that one goes too.
func TestStopWhileUpgrading(t *testing.T) {
	s, pidFile, socket := holding(t)
	slow := filepath.Join(s.folder, "slow")
	text := []byte("#!/bin/sh\nexec sleep 1000\n")
	if err := os.WriteFile(slow, text, 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	upgraded := make(chan error, 1)
	go func() { upgraded <- s.ask("POST", "/v1/upgrade", url.Values{"binary": {slow}}, nil) }()
	s.Await(t, "msg=\"a new process is to take over\"", 1)
	s.Signal(t, syscall.SIGTERM)
	s.Await(t, "msg=stopping", 1)
	s.Signal(t, syscall.SIGTERM) // nobody waits for the download
	<-s.Ended
	if err := <-upgraded; err == nil {
		t.Error("the upgrade to a process that never serves")
	}
	gone(t, s, pidFile, socket)
}

// gone checks that nothing of a server is left.
func gone(t *testing.T, s *server, files ...string) {
	t.Helper()
	if left := s.Members(); len(left) > 0 {
		t.Errorf("processes %v are left\n%s", left, s.Log)
	}
	for _, file := range append(files, filepath.Join(s.folder, "admin.sock")) {
		if _, err := os.Lstat(file); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v\n%s", file, err, s.Log)
		}
	}
}

// TestPIDFileMoves upgrades a server whose pid file has another place by now, or was removed.
func TestPIDFileMoves(t *testing.T) {
	folder := t.TempDir()
	configuration := filepath.Join(folder, "c.yaml")
	configure := func(pidFile string) {
		t.Helper()
		text := "listeners:\n  - address: 127.0.0.1:0\nroutes:\n  - respond: {body: hi}\n"
		if pidFile != "" {
			text = "pid_file: " + pidFile + "\n" + text
		}
		if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, other := filepath.Join(folder, "one"), filepath.Join(folder, "other")
	configure(one)
	s := launch(t, "serve", "--config", configuration)
	first := s.Process.Pid
	names(t, one, first)
	configure(filepath.Join(folder, "none", "pid"))
	if err := s.ask("POST", "/v1/upgrade", nil, nil); err == nil || !strings.Contains(err.Error(), "pid file") {
		t.Errorf("an upgrade to a pid file that cannot be: %v", err)
	}
	names(t, one, first)
	configure(other)
	next := s.upgrade(t, "").PID
	s.Await(t, "msg=\"took over\"", 1)
	s.settled(t, next)
	names(t, other, next)
	if _, err := os.Lstat(one); !os.IsNotExist(err) {
		t.Errorf("the pid file before is left: %v", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	last := s.upgrade(t, "").PID
	s.settled(t, last)
	names(t, other, last)
	s.Stop(t)
	gone(t, s, one, other)
}

// settled waits until one process alone is left of a server.
func (s *server) settled(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.Now().Add(patience)
	for left := s.Members(); len(left) != 1 || left[0] != pid; left = s.Members() {
		if <-tick.C; time.Now().After(limit) {
			t.Fatalf("processes %v are left, and not %d\n%s", left, pid, s.Log)
		}
	}
}
