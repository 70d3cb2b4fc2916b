package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/control"
)

// fleet is a server of several processes, as a user starts it.
type fleet struct {
	*process
	t       *testing.T
	address string
	config  string // the file of its configuration
}

// startFleet runs the program, and waits until all workers serve.
func startFleet(t *testing.T, arguments ...string) *fleet {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, append([]string{"serve"}, arguments...)...)
	command.Args[0] = "myriad"
	return runFleet(t, command)
}

// runFleet is startFleet for a command.
func runFleet(t *testing.T, command *exec.Cmd) *fleet {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	command.Env = append(command.Environ(), "XDG_RUNTIME_DIR="+os.Getenv("XDG_RUNTIME_DIR"))
	p := &process{command: command, ended: make(chan struct{})}
	p.command.Stderr = &p.log
	p.command.WaitDelay = patience
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait()
		close(p.ended)
	}()
	f := &fleet{process: p, t: t}
	t.Cleanup(func() {
		_ = p.command.Process.Kill() // it may have ended; its workers end with it
		<-p.ended
		if t.Failed() {
			text, _ := p.log.now()
			t.Log(text)
		}
	})
	text := f.heard("msg=serving")
	if found := listening.FindStringSubmatch(text); found != nil {
		f.address = found[1][len("http://"):]
	}
	return f
}

func (f *fleet) heard(text string) string {
	f.t.Helper()
	log, ok := f.await(text)
	if !ok {
		f.t.Fatalf("the log does not hold %q", text)
	}
	return log
}

func (f *fleet) signal(s syscall.Signal) {
	f.t.Helper()
	if err := f.command.Process.Signal(s); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) ends(code int) {
	f.t.Helper()
	select {
	case <-f.ended:
	case <-time.After(patience):
		f.t.Fatal("it does not end")
	}
	if got := f.command.ProcessState.ExitCode(); got != code {
		f.t.Errorf("the exit code is %d, want %d", got, code)
	}
}

var readyLine = regexp.MustCompile(`msg="worker is ready" worker=(\d+) slot=(\d+) pid=(\d+)`)

// pid is the process of a worker that was ready.
func (f *fleet) pid(worker int) (pid, slot int) {
	f.t.Helper()
	text := f.heard(fmt.Sprintf(`msg="worker is ready" worker=%d `, worker))
	for _, found := range readyLine.FindAllStringSubmatch(text, -1) {
		if found[1] == strconv.Itoa(worker) {
			pid, _ = strconv.Atoi(found[3])
			slot, _ = strconv.Atoi(found[2])
		}
	}
	return pid, slot
}

// open is how many connections a worker has, as its own admin API says.
func (f *fleet) open(slot int) int64 {
	f.t.Helper()
	client, err := control.Dial("unix:" + workerSocket(f.command.Process.Pid, slot))
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := client.Ask(f.t.Context(), "GET", "/v1/status", nil, nil)
	var status app.Status
	if err == nil {
		err = json.Unmarshal(text, &status)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return status.Connections.Open
}

// client is a connection that stays.
type client struct {
	net.Conn
	in *bufio.Reader
}

func (f *fleet) connect() *client {
	f.t.Helper()
	c, err := net.DialTimeout("tcp", f.address, patience)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return &client{c, bufio.NewReader(c)}
}

// ask asks once more, and gives the answer.
func (c *client) ask() (string, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: fleet\r\n\r\n"); err != nil {
		return "", err
	}
	return c.answer()
}

// answer is the text of the next answer.
func (c *client) answer() (string, error) {
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	return string(text), err
}

// kill ends a process as a crash would.
func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWorkerKilled kills one of two workers: its connections end, those of the other go on, and another is started.
func TestWorkerKilled(t *testing.T) {
	for _, model := range []string{"shared", "reuseport", "prefork"} {
		t.Run(model, func(t *testing.T) {
			f := startFleet(t, "--listen", "127.0.0.1:0", "--respond", "hi", "--processes", "2", "--process-model", model)
			pid, victim := f.pid(1)
			another, other := f.pid(2)
			var clients []*client
			// The kernel may give all to one of them, where they wait at one socket.
			for range 100 {
				c := f.connect()
				if text, err := c.ask(); text != "hi" {
					t.Fatalf("%q was answered: %v", text, err)
				}
				clients = append(clients, c)
			}
			// A worker counts a connection when the turn ends that has answered it.
			for end := time.Now().Add(patience); f.open(victim)+f.open(other) != int64(len(clients)); {
				if time.Now().After(end) {
					t.Fatalf("the workers have %d and %d connections", f.open(victim), f.open(other))
				}
			}
			if f.open(victim) > f.open(other) {
				pid, other = another, victim
			}
			alive := f.open(other)
			if alive < int64(len(clients))/2 {
				t.Fatalf("%d of %d connections are of the worker that has more", alive, len(clients))
			}
			kill(t, pid)
			f.pid(3)
			for _, c := range clients {
				if text, err := c.ask(); err == nil && text == "hi" {
					alive--
				}
			}
			if alive != 0 {
				t.Errorf("%d connections of the other worker are gone", alive)
			}
			for range 20 {
				if text, err := f.connect().ask(); text != "hi" {
					t.Fatalf("%q was answered: %v", text, err)
				}
			}
			f.signal(syscall.SIGTERM)
			f.ends(0)
		})
	}
}

// write writes the configuration of a fleet.
func (f *fleet) write(lines ...string) {
	f.t.Helper()
	if err := os.WriteFile(f.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// configured starts a fleet with a configuration of its own.
func configured(t *testing.T, model string, lines ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, config: filepath.Join(t.TempDir(), "myriad.yaml")}
	f.write(lines...)
	started := startFleet(t, "--config", f.config, "--processes", "2", "--process-model", model, "--loops", "2")
	started.config = f.config
	return started
}

// expect asks on a connection, which must answer so.
func (f *fleet) expect(c *client, want string) {
	f.t.Helper()
	if text, err := c.ask(); text != want {
		f.t.Fatalf("%q was answered, want %q: %v", text, want, err)
	}
}

// answers waits until what is asked anew is answered so, by everybody who is asked.
func (f *fleet) answers(want string) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for same := 0; same < 40; same++ {
		c := f.connect()
		text, err := c.ask()
		_ = c.Close()
		if err != nil || time.Now().After(deadline) {
			f.t.Fatalf("%q was answered, want %q: %v", text, want, err)
		}
		if text != want {
			same = 0
		}
	}
}

// TestWorkersReload changes a route under connections that stay, has a wrong configuration refused, and changes a key
// for which there must be new workers.
func TestWorkersReload(t *testing.T) {
	for _, model := range []string{"shared", "reuseport", "prefork"} {
		t.Run(model, func(t *testing.T) {
			text := func(s string) string { return "routes: [{respond: {body: " + s + "}}]" }
			f := configured(t, model, `listeners: [{address: "127.0.0.1:0"}]`, text("one"))
			stays := f.connect()
			f.expect(stays, "one")
			f.write(`listeners: [{address: "127.0.0.1:0"}]`, text("two"))
			f.signal(syscall.SIGHUP)
			f.answers("two")
			f.expect(stays, "two")
			f.write(`listeners: [{address: "127.0.0.1:0"}]`, "routes: wrong")
			f.signal(syscall.SIGHUP)
			f.heard("a command was not carried out")
			f.expect(stays, "two")
			f.write(`listeners: [{address: "127.0.0.1:0"}]`, text("three"), "engine: {blocks: 512}")
			f.signal(syscall.SIGHUP)
			f.heard("the new generation has taken over")
			f.answers("three")
			f.expect(stays, "three")
			f.signal(syscall.SIGQUIT)
			f.ends(0)
		})
	}
}

// TestWorkersScale has more and fewer workers: nobody who comes is lost, also at the sockets of a seat that is gone.
func TestWorkersScale(t *testing.T) {
	for _, model := range []string{"shared", "reuseport", "prefork"} {
		t.Run(model, func(t *testing.T) {
			f := configured(t, model, `listeners: [{address: "127.0.0.1:0"}]`, "routes: [{respond: {body: one}}]")
			f.signal(syscall.SIGTTIN)
			f.pid(3)
			f.answers("one")
			f.signal(syscall.SIGTTOU)
			f.heard(`msg="worker has ended" worker=3`)
			f.answers("one")
			f.signal(syscall.SIGTTOU)
			f.heard(`msg="worker has ended" worker=2`)
			f.answers("one")
			pid, _ := f.pid(1)
			kill(t, pid)
			f.pid(4)
			f.answers("one")
			f.signal(syscall.SIGTERM)
			f.ends(0)
		})
	}
}

// visit asks again and again, on the connections and on new ones, until done is closed. Nothing may be lost.
func (f *fleet) visit(connections int, done <-chan struct{}) *sync.WaitGroup {
	f.t.Helper()
	var group sync.WaitGroup
	for range connections {
		c := f.connect()
		group.Go(func() {
			for asked := 0; ; asked++ {
				if text, err := c.ask(); text != "hi" {
					f.t.Errorf("%q was answered to request %d of a connection: %v", text, asked, err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	group.Go(func() {
		for {
			c, err := net.DialTimeout("tcp", f.address, patience)
			if err != nil {
				f.t.Error(err)
				return
			}
			fresh := client{c, bufio.NewReader(c)}
			text, err := fresh.ask()
			_ = c.Close()
			if text != "hi" {
				f.t.Errorf("%q was answered on a new connection: %v", text, err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	return &group
}

// TestWorkersUpgrade has a new binary take over under load, and fewer workers after it: no request is lost.
func TestWorkersUpgrade(t *testing.T) {
	for _, model := range []string{"shared", "reuseport"} {
		t.Run(model, func(t *testing.T) {
			f := startFleet(t, "--listen", "127.0.0.1:0", "--respond", "hi", "--processes", "2", "--process-model", model)
			done := make(chan struct{})
			visitors := f.visit(20, done)
			f.signal(syscall.SIGUSR2)
			f.heard("the new generation has taken over")
			f.heard(`msg="worker has ended" worker=1`)
			f.heard(`msg="worker has ended" worker=2`)
			f.signal(syscall.SIGTTOU)
			f.heard(`msg="worker has ended" worker=4`)
			close(done)
			visitors.Wait()
			f.signal(syscall.SIGTERM)
			f.ends(0)
		})
	}
}

// TestSupervisorKilled kills the process above the workers: they drain, and their addresses are free for another.
func TestSupervisorKilled(t *testing.T) {
	// No client of this machine takes the port while nobody has it: theirs are at 127.0.0.1.
	f := startFleet(t, "--listen", "127.0.0.21:0", "--respond", "hi", "--processes", "2")
	f.expect(f.connect(), "hi")
	kill(t, f.command.Process.Pid)
	select { // the log ends when all that write into it have ended
	case <-f.ended:
	case <-time.After(patience):
		t.Fatal("the workers do not end")
	}
	if text, _ := f.log.now(); strings.Count(text, "the supervisor has ended: this worker drains") != 2 {
		t.Error("the workers have not drained")
	}
	again := startFleet(t, "--listen", f.address, "--respond", "again", "--processes", "2")
	again.expect(again.connect(), "again")
}

// TestWorkersCutShort ends workers that have a request, by a second signal.
func TestWorkersCutShort(t *testing.T) {
	f := startFleet(t, "--listen", "127.0.0.1:0", "--respond", "hi", "--processes", "2")
	c := f.connect()
	f.expect(c, "hi")
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	f.signal(syscall.SIGTERM)
	f.heard("cause=stopped")
	f.signal(syscall.SIGTERM)
	f.ends(128 + int(syscall.SIGTERM))
}

// TestSecondServer starts two servers with one pid file, and one at an address that is taken: each is refused, with who
// has it.
func TestSecondServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "myriad.pid")
	arguments := []string{"--respond", "hi", "--processes", "2", "--set", "pid_file=" + file, "--listen"}
	f := startFleet(t, append(arguments, "127.0.0.1:0")...)
	for _, test := range []struct{ file, want string }{
		{file, "pid file " + file}, {file + "2", "address already in use"},
	} {
		other := exec.Command(f.command.Path, "serve", "--respond", "hi", "--processes", "2", "--listen", f.address, "--set",
			"pid_file="+test.file)
		other.Args[0] = "myriad"
		out, err := other.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(string(out), test.want) {
			t.Errorf("it ends with %v, and says %s, want %q", err, out, test.want)
		}
	}
	f.expect(f.connect(), "hi")
}

// TestWorkersReloadListeners adds a listener and a worker by a reload, and takes the listener away.
func TestWorkersReloadListeners(t *testing.T) {
	for _, model := range []string{"shared", "reuseport"} {
		t.Run(model, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "added")
			file := filepath.Join(t.TempDir(), "myriad.yaml")
			write := func(processes int, more string) {
				text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}%s]\nroutes: [{respond: {body: hi}}]\n"+
					"engine: {processes: %d, process_model: %s, loops: 1}\n", more, processes, model)
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(2, "")
			f := startFleet(t, "--config", file)
			write(3, ", {address: \"unix:"+socket+"\"}")
			f.signal(syscall.SIGHUP)
			f.pid(3)
			for range 20 {
				c, err := net.Dial("unix", socket)
				if err != nil {
					t.Fatal(err)
				}
				added := client{c, bufio.NewReader(c)}
				f.expect(&added, "hi")
				_ = c.Close()
			}
			write(3, "")
			f.signal(syscall.SIGHUP)
			f.heard("a listener is gone")
			f.answers("hi")
			f.signal(syscall.SIGTERM)
			f.ends(0)
			if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file of the socket is still there: %v", err)
			}
		})
	}
}
