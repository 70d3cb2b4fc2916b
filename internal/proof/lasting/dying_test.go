package lasting

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// TestSuccessorKilled has a worker of a new binary die as soon as it serves: those that there were go on, with all
// their connections, as nothing is handed over before a worker has proved itself.
func TestSuccessorKilled(t *testing.T) {
	at := address()
	s := serve(t, plain(at, "timeouts: {drain: 4s}\nengine: {processes: 2}\n"))
	s.Await(t, "msg=serving", 1)
	for number := 1; ; number++ {
		await(t, func() bool { return len(s.workers()) == 2 }, func() string { return "two workers\n" + s.Log.String() })
		old := s.workers()
		var all []caller
		for range 100 {
			c := mustDial(t, at)
			c.send(t, request)
			c.answered(t)
			all = append(all, c)
		}
		if !killSuccessor(t, s, number) {
			continue // it had proved itself by then, on a machine that has much to do: that is a crash as any other
		}
		for _, c := range all {
			c.send(t, request)
			c.answered(t)
		}
		await(t, func() bool { return slices.Equal(s.workers(), old) }, func() string {
			return fmt.Sprintf("workers %v, and no others\n%s", old, s.Log)
		})
		return
	}
}

// takesTheirPlace is what a supervisor says of a worker that it has started; its first group is the process.
var takesTheirPlace = regexp.MustCompile(`msg="worker is ready" worker=\d+ slot=\d+ pid=(\d+) generation=(\d+)`)

// killSuccessor has new workers take over and kills the first of them. It tells whether the upgrade has failed.
func killSuccessor(t *testing.T, s *server, number int) bool {
	t.Helper()
	good, _ := s.Log.Count(rolled)
	bad, _ := s.Log.Count(notRolled)
	s.signal(t, syscall.SIGUSR2, isReady, 1)
	for _, m := range takesTheirPlace.FindAllStringSubmatch(s.Log.String(), -1) {
		if m[2] == strconv.Itoa(number+1) {
			pid, _ := strconv.Atoi(m[1])
			apptest.Tell(syscall.SIGKILL, pid)
			break
		}
	}
	failed := false
	await(t, func() bool {
		done, _ := s.Log.Count(rolled)
		not, _ := s.Log.Count(notRolled)
		failed = not > bad
		return failed || done > good
	}, func() string { return "the end of an upgrade\n" + s.Log.String() })
	return failed
}

// plain is the configuration of a server that answers.
func plain(address, lines string) string { return answering(address, ownText, lines) }

// answering is that of a server that answers with a text.
func answering(address, text, lines string) string {
	return fmt.Sprintf("listeners: [{address: %q}]\nroutes: [{respond: {body: %q}}]\nadmin: unix:admin.sock\n%s",
		address, text, lines)
}

// TestFewDescriptors has a new process take over that may open fewer files than there are connections. It says no to
// what it cannot take, and closes nothing for it: that stays where it is, and ends there as at a stop.
func TestFewDescriptors(t *testing.T) {
	for _, driver := range drivers() {
		t.Run(driver, func(t *testing.T) {
			const clients, most = 600, 400
			at := address()
			s := serve(t, plain(at, "timeouts: {drain: 4s}\naccess_log: {format: off}\nengine: {driver: "+driver+"}\n"))
			s.Await(t, "msg=serving", 1)
			var all []caller
			for range clients {
				c := mustDial(t, at)
				c.send(t, request)
				c.answered(t)
				all = append(all, c)
			}
			small := s.path("small")
			text := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", most, s.binary)
			if err := os.WriteFile(small, []byte(text), 0o700); err != nil { //nolint:gosec // it is to be run
				t.Fatal(err)
			}
			old := s.Members()
			out := s.command(t, "upgrade", "--binary", small)
			s.replaced(t, old)
			goesOn := 0
			for _, c := range all {
				if c.goesOn(t) {
					goesOn++
				}
			}
			t.Logf("%d of %d go on\n%s", goesOn, clients, out)
			moved := fmt.Sprintf("moved %d connection", goesOn)
			if goesOn == 0 || goesOn > most || !strings.Contains(out, moved) || !strings.Contains(out, "as at a stop") {
				t.Errorf("%d of %d go on with %d descriptors:\n%s\n%s", goesOn, clients, most, out, s.Log)
			}
			after := mustDial(t, at)
			after.send(t, request)
			after.answered(t)
		})
	}
}

// goesOn asks, and tells whether there is an answer; a connection that has none was closed before.
func (c caller) goesOn(t *testing.T) bool {
	t.Helper()
	_ = c.wire.send(request) // an error is seen in what comes back
	response, err := http.ReadResponse(c.r, nil)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return false
	}
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// fullDisk is a folder of a file system that has room for names, and for no byte in them.
func fullDisk(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder).
		CombinedOutput(); err != nil {
		t.Skipf("a file system of a page cannot be mounted (it takes root): %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", folder).CombinedOutput(); err != nil { //nolint:noctx // the end
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	if err := os.WriteFile(filepath.Join(folder, "all"), make([]byte, os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// TestFullDisk has no room for what the server writes: it does not start without its pid file, as nobody would find it;
// and it answers without an access log, and says what is missing.
func TestFullDisk(t *testing.T) {
	folder := fullDisk(t)
	t.Run("pid file", func(t *testing.T) {
		p := apptest.Launch(t, t.TempDir(), "serve", "--admin", "off", "--respond", "x", "--listen", address(),
			"--set", "pid_file="+filepath.Join(folder, "myriad.pid"))
		<-p.Ended
		if p.ExitCode() == 0 || !strings.Contains(p.Log.String(), "no space left on device") {
			t.Errorf("it ended with %d and said:\n%s", p.ExitCode(), p.Log)
		}
	})
	for _, processes := range []int{0, 2} {
		t.Run("access log of "+strconv.Itoa(processes), func(t *testing.T) {
			at := address()
			s := serve(t, plain(at, fmt.Sprintf("access_log: {format: json, path: %q}\nengine: {processes: %d}\n",
				filepath.Join(folder, "access.log"), processes)))
			s.Await(t, "msg=serving", 1)
			c := mustDial(t, at)
			for range 100 {
				c.send(t, request)
				c.answered(t)
			}
			s.Await(t, "no space left on device", 1)
		})
	}
}
