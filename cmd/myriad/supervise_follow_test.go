package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nextProgram builds the program with a version of its own.
func nextProgram(t *testing.T, version string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "myriad")
	build := exec.Command("go", "build", "-ldflags", "-X main.version="+version, "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// runs expects the supervisor to be a program, in the process that it was.
func (f *fleet) runs(program, version string) {
	f.t.Helper()
	pid := f.command.Process.Pid
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || exe != program {
		f.t.Errorf("process %d runs %s, want %s: %v", pid, exe, program, err)
	}
	f.prints(fmt.Sprintf(`"supervisor": *\{\s*"pid": *%d,\s*"version": *"%s"`, pid, version), "workers", "--json")
}

// half sends the first half of a request, and rest the other.
func (c *client) half() error {
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: fl")
	return err
}

func (c *client) rest() (string, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "eet\r\n\r\n"); err != nil {
		return "", err
	}
	return c.answer()
}

// TestSupervisorFollows has the supervisor go on as the new program, too: connections, workers and the operator's
// commands go on as if nothing had happened, and so again, and the end is obeyed whenever it is asked for.
func TestSupervisorFollows(t *testing.T) {
	two, three := nextProgram(t, "two"), nextProgram(t, "three")
	for _, model := range []string{"reuseport", "shared", "prefork"} {
		t.Run(model, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "myriad.pid")
			f := configured(t, model, `listeners: [{address: "127.0.0.1:0"}]`, "routes: [{respond: {body: one}}]",
				"pid_file: "+file)
			idle, half := f.connect(), f.connect()
			f.expect(idle, "one")
			if err := half.half(); err != nil {
				t.Fatal(err)
			}
			f.prints("the supervisor, process "+strconv.Itoa(f.command.Process.Pid)+", is the new program too: two",
				"upgrade", "--binary", two)
			f.runs(two, "two")
			f.expect(idle, "one")
			if text, err := half.rest(); text != "one" {
				t.Errorf("half a request was answered with %q: %v", text, err)
			}
			pid, _ := f.pid(3)
			kill(t, pid)
			f.pid(5)
			f.signal(syscall.SIGTTIN)
			f.pid(6)
			f.prints("running: 3 of 3 ready", "workers")
			f.signal(syscall.SIGTTOU)
			f.heard(`msg="worker has ended" worker=6 `)
			f.write(`listeners: [{address: "127.0.0.1:0"}]`, "routes: [{respond: {body: two}}]", "pid_file: "+file)
			f.prints("routes: 1 changed", "reload")
			f.answers("two")
			f.refuses("/bin/false", two, "two")
			late := f.connect()
			f.expect(late, "two")
			f.prints("is the new program too: three", "upgrade", "--binary", three)
			f.runs(three, "three")
			f.expect(late, "two")
			if text, err := os.ReadFile(file); strings.TrimSpace(string(text)) != strconv.Itoa(f.command.Process.Pid) {
				t.Errorf("the pid file holds %q: %v", text, err)
			}
			// It is asked to end while it goes on as another program, at whatever moment of it.
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				run([]string{"upgrade", "--binary", two}, console{io.Discard, io.Discard}) // it may be cut off
			}()
			f.heard(`msg="the new generation has taken over" generation=4`)
			f.signal(syscall.SIGTERM)
			f.ends(0)
			<-ended
			if _, err := os.Stat(file); err == nil {
				t.Error("the pid file is still there")
			}
		})
	}
}

// refuses has a program that cannot be a supervisor refused.
func (f *fleet) refuses(program, runs, version string) {
	f.t.Helper()
	var out, problems bytes.Buffer
	code := run([]string{"upgrade", "--binary", program}, console{&out, &problems})
	want := regexp.MustCompile(regexp.QuoteMeta(program) + " cannot be the supervisor: .* exit status 1")
	if code == 0 || !want.MatchString(problems.String()) {
		f.t.Errorf("the exit code is %d, and it says %s%s", code, &out, &problems)
	}
	f.runs(runs, version)
}
