package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unit is the sockets that a service manager keeps for a server.
type unit struct {
	t         *testing.T
	files     []*os.File
	web, echo string // a TCP socket and a unix one
	datagrams string
	admin     string
}

// newUnit opens the sockets, the first at an address. Nobody here accepts from them.
func newUnit(t *testing.T, address string) *unit {
	t.Helper()
	folder := t.TempDir()
	u := &unit{t: t, echo: filepath.Join(folder, "echo"), admin: filepath.Join(folder, "admin")}
	web, err := net.Listen("tcp", address)
	u.keep(web, err)
	u.web = web.Addr().String()
	for _, name := range []string{u.echo, u.admin} {
		l, err := net.Listen("unix", name)
		u.keep(l, err)
	}
	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	u.keep(datagrams, err)
	u.datagrams = datagrams.LocalAddr().String()
	return u
}

// keep keeps a socket for the server, until the end of the test.
func (u *unit) keep(socket io.Closer, err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = socket.Close() })
	file, err := socket.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = file.Close() })
	u.files = append(u.files, file)
}

// command starts the program as a service manager does: it passes the sockets on, and says so to that process alone.
func (u *unit) command(arguments ...string) *exec.Cmd {
	binary, err := os.Executable()
	if err != nil {
		u.t.Fatal(err)
	}
	program := filepath.Join(u.t.TempDir(), "myriad") // what the test binary is by this name
	if err := os.Symlink(binary, program); err != nil {
		u.t.Fatal(err)
	}
	script := `LISTEN_PID=$$ exec "$0" serve "$@"`
	command := exec.Command("/bin/sh", append([]string{"-c", script, program}, arguments...)...)
	command.Env = append(os.Environ(), fmt.Sprint("LISTEN_FDS=", len(u.files)))
	command.ExtraFiles = u.files
	return command
}

// serve starts the program with listeners at all sockets.
func (u *unit) serve(arguments ...string) *fleet {
	u.t.Helper()
	config := filepath.Join(u.t.TempDir(), "myriad.yaml")
	f := &fleet{t: u.t, config: config, address: u.web}
	f.write(u.text("hi")...)
	started := runFleet(u.t, u.command(append([]string{"--config", config}, arguments...)...))
	f.process = started.process
	return f
}

// text is a configuration that answers so.
func (u *unit) text(answer string) []string {
	return []string{
		"listeners:", "  - address: " + u.web, "  - {address: \"unix:" + u.echo + "\", protocol: echo}",
		"  - {address: \"udp://" + u.datagrams + "\", protocol: echo}", "admin: unix:" + u.admin,
		"routes: [{respond: {body: " + answer + "}}]",
	}
}

// queued is a connection with a question on it, which may wait in the backlog.
func (u *unit) queued(network, address, question string) *client {
	u.t.Helper()
	c, err := net.DialTimeout(network, address, patience)
	if err == nil {
		_, err = io.WriteString(c, question)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &client{c, bufio.NewReader(c)}
}

// waiting is a question at each of the listeners, some times.
func (u *unit) waiting() (all []*client) {
	u.t.Helper()
	for range 8 {
		all = append(all, u.queued("unix", u.echo, "echoed\n"), u.queued("udp", u.datagrams, "echoed\n"),
			u.queued("tcp", u.web, "GET / HTTP/1.0\r\n\r\n"))
	}
	return all
}

// waitingForAll is waiting, and a question to the admin API.
func (u *unit) waitingForAll() []*client {
	u.t.Helper()
	return append(u.waiting(), u.queued("unix", u.admin, "GET /v1/ HTTP/1.0\r\n\r\n"))
}

// answered waits for the answers.
func (u *unit) answered(all []*client) {
	u.t.Helper()
	for _, c := range all {
		line, err := c.in.ReadString('\n')
		if line != "echoed\n" && !strings.Contains(line, " 200 ") {
			u.t.Fatalf("%s answered %q: %v", c.RemoteAddr(), line, err)
		}
		_ = c.Close()
	}
}

// TestActivated has what waited before the start answered, at sockets that a service manager has opened; the sockets
// survive reloads, upgrades and the end, behind which the next server answers what has waited meanwhile.
func TestActivated(t *testing.T) {
	tests := []struct{ name, processes, upgraded string }{
		{"alone", "0", `msg="took over"`},
		{"reuseport", "2", `msg="the new generation has taken over"`},
		{"shared", "2", `msg="the new generation has taken over"`},
		{"prefork", "2", `msg="the new generation has taken over"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := newUnit(t, "127.0.0.1:0")
			waiting := u.waitingForAll()
			flags := []string{"--loops", "2", "--processes", test.processes}
			if test.processes != "0" {
				flags = append(flags, "--process-model", test.name)
			}
			f := u.serve(flags...)
			u.answered(waiting)
			if test.processes != "0" {
				f.withoutVariables()
			}
			f.write(u.text("changed")...)
			f.signal(syscall.SIGHUP)
			f.answers("changed")
			f.signal(syscall.SIGUSR2)
			f.heard(test.upgraded)
			u.answered(u.waiting())
			f.stop()
			waiting = u.waitingForAll()
			f = u.serve(flags...)
			u.answered(waiting)
			f.signal(syscall.SIGTERM)
			f.ends(0)
		})
	}
}

var successor = regexp.MustCompile(`new_pid=(\d+)`)

// stop ends the server, which another process may have become by now.
func (f *fleet) stop() {
	f.t.Helper()
	text, _ := f.log.now()
	found := successor.FindStringSubmatch(text)
	if found == nil {
		f.signal(syscall.SIGTERM)
		f.ends(0)
		return
	}
	pid, _ := strconv.Atoi(found[1])
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Signal(syscall.SIGTERM)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.ends(0)
}

// withoutVariables checks that no worker is told of the sockets as if they were passed to it.
func (f *fleet) withoutVariables() {
	f.t.Helper()
	for worker := range 2 {
		pid, _ := f.pid(1 + worker)
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || bytes.Contains(environment, []byte("LISTEN_")) {
			f.t.Errorf("a worker has LISTEN_FDS of its supervisor: %v", err)
		}
	}
}

// TestActivatedEntry has the process above the workers tell clients where to go at the socket that was passed.
func TestActivatedEntry(t *testing.T) {
	base := freePorts(t, 3)
	u := newUnit(t, fmt.Sprint("127.0.0.1:", base))
	u.files = u.files[:1]
	f := runFleet(t, u.command("--listen", u.web, "--respond", "hi", "--processes", "2", "--process-model", "ports"))
	want := []string{fmt.Sprint("127.0.0.1:", base+1), fmt.Sprint("127.0.0.1:", base+2)}
	if got := f.places(2); !slices.Equal(got, want) {
		t.Errorf("the workers are at %q, want %q", got, want)
	}
	f.signal(syscall.SIGTERM)
	f.ends(0)
}
