package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"myriad": main})
}

// patience is how long a script waits for what must happen.
const patience = 40 * time.Second

// TestScripts runs testdata/script. Besides the commands of testscript there are:
//
//	run CODE ARGUMENT...         runs the program, which must end with the exit code, into the files out and err
//	start NAME ARGUMENT...       starts it, and waits until it serves; its URLs are $NAME0, $NAME1, ...,
//	                             without http:// they are $NAME0_address, ...; its log is NAME.log
//	proxy NAME ARGUMENT...       starts it as a proxy, in the same way
//	application NAME             starts a server of the Go library that tells what it was asked, at $NAME
//	application NAME stop        ends it
//	post URL TEXT FILE           sends a text, and writes the answer to a file as get does
//	speak ADDRESS TEXT           sends a text and no more, and expects it back, and no more
//	hangsup ADDRESS              connects, and is not answered but cut off
//	sameupstream FILE            an access log has one upstream in all of its lines
//	tunnel NAME URL TEXT         opens a tunnel, and sends a text that must come back
//	cutoff NAME                  waits until the tunnel has ended
//	signal NAME SIGNAL           sends it INT, TERM, HUP or USR1
//	ends NAME CODE               waits for its end
//	get URL FILE                 asks, and writes the status, the fields and the content of the answer to a file
//	half NAME URL                opens a connection and sends half of a request
//	rest NAME FILE               sends the other half, writes the answer to a file, and closes
//	datagram ADDRESS TEXT        sends a datagram, which must come back
//	gone URL                     waits until nobody listens there any more
//	logged NAME TEXT             waits until the server's log holds a text
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			w := &world{
				servers: map[string]*process{}, connections: map[string]net.Conn{},
				applications: map[string]*httptest.Server{},
			}
			e.Values[worldKey{}] = w
			e.Defer(w.close)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "unprivileged" {
				return exec.Command("unshare", "--user", "--map-root-user", "true").Run() == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"run":      runProgram,
			"start":    startServer,
			"signal":   signalServer,
			"ends":     endServer,
			"get":      getURL,
			"half":     sendHalf,
			"rest":     sendRest,
			"datagram": sendDatagram,
			"gone":     awaitRefusal,
			"logged":   awaitLog,

			"proxy":       startProxy,
			"application": application,
			"post":        postText,
			"speak":       speak,
			"hangsup":     hangsUp,
			"tunnel":      openTunnel,

			"sameupstream": sameUpstream,
			"cutoff":       cutOff,
		},
	})
}

type worldKey struct{}

// world is what one script has started.
type world struct {
	servers     map[string]*process
	connections map[string]net.Conn

	applications map[string]*httptest.Server
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func (w *world) close() {
	for _, c := range w.connections {
		_ = c.Close()
	}
	for _, p := range w.servers {
		_ = p.command.Process.Kill() // it may have ended
		<-p.ended
	}
	for _, server := range w.applications {
		server.Close()
	}
}

// process is one server.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
	log     transcript
}

// transcript is what a server has written, a growing text that can be waited on.
type transcript struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
	return len(p), nil
}

// now is the text, and a channel that is closed when there is more.
func (t *transcript) now() (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.text.String(), t.changed
}

// await waits until the text holds what is wanted; it reports false when the process ends without, or takes too long.
func (p *process) await(wanted string) (string, bool) {
	deadline := time.After(patience)
	for {
		text, changed := p.log.now()
		if strings.Contains(text, wanted) {
			return text, true
		}
		select {
		case <-changed:
		case <-p.ended:
			text, _ = p.log.now()
			return text, strings.Contains(text, wanted)
		case <-deadline:
			return text, false
		}
	}
}

func need(ts *testscript.TestScript, args []string, least int, usage string) {
	if len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func numberOf(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

// program is the command line of the program under test: this binary under another name.
func program(ts *testscript.TestScript, args []string) *exec.Cmd {
	binary, err := os.Executable()
	ts.Check(err)
	command := exec.Command(binary, args...)
	command.Args[0] = "myriad"
	command.Dir = ts.MkAbs(".")
	runtime := ts.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		runtime = filepath.Join(ts.Getenv("WORK"), "runtime")
	}
	command.Env = []string{
		"PATH=" + ts.Getenv("PATH"), "GOCOVERDIR=" + ts.Getenv("GOCOVERDIR"), "XDG_RUNTIME_DIR=" + runtime,
	}
	return command
}

func runProgram(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 1, "run CODE ARGUMENT...")
	var out, failure bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := program(ts, args[1:])
	command.Stdout, command.Stderr = &out, &failure
	ts.Check(command.Start())
	stop := context.AfterFunc(ctx, func() { _ = command.Process.Kill() })
	err := command.Wait()
	stop()
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("err"), failure.Bytes(), 0o600))
	ts.Logf("[out]\n%s[err]\n%s", &out, &failure)
	if code := command.ProcessState.ExitCode(); code != numberOf(ts, args[0]) {
		ts.Fatalf("the exit code is %d, want %s: %v", code, args[0], err)
	}
}

var listening = regexp.MustCompile(`(?m)msg=listening url=(\S+)$`)

func startServer(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "start NAME ARGUMENT...")
	start(ts, args[0], append([]string{"serve"}, args[1:]...))
}

// start runs the program as a server, and waits until it serves.
func start(ts *testscript.TestScript, name string, args []string) {
	p := &process{command: program(ts, args), ended: make(chan struct{})}
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	p.command.Stdout, p.command.Stderr = out, &p.log
	ts.Check(p.command.Start())
	worldOf(ts).servers[name] = p
	go func() {
		_ = p.command.Wait() // the exit code is read from the process state
		_ = out.Close()
		close(p.ended)
	}()
	text, ok := p.await("msg=serving")
	if !ok {
		ts.Fatalf("%s does not serve:\n%s", name, text)
	}
	for i, url := range listening.FindAllStringSubmatch(text, -1) {
		ts.Setenv(name+strconv.Itoa(i), url[1])
		_, address, found := strings.Cut(url[1], "://")
		if !found {
			address = url[1]
		}
		ts.Setenv(name+strconv.Itoa(i)+"_address", address)
	}
}

func serverOf(ts *testscript.TestScript, name string) *process {
	p := worldOf(ts).servers[name]
	if p == nil {
		ts.Fatalf("%s was not started", name)
	}
	return p
}

func signalServer(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "signal NAME SIGNAL")
	number, ok := map[string]syscall.Signal{
		"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1,
	}[args[1]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(serverOf(ts, args[0]).command.Process.Signal(number))
}

func endServer(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "ends NAME CODE")
	p := serverOf(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("%s does not end", args[0])
	}
	text, _ := p.log.now()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".log"), []byte(text), 0o600))
	ts.Logf("[%s]\n%s", args[0], text)
	if code := p.command.ProcessState.ExitCode(); code != numberOf(ts, args[1]) {
		ts.Fatalf("the exit code of %s is %d, want %s", args[0], code, args[1])
	}
}

func awaitLog(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "logged NAME TEXT")
	if text, ok := serverOf(ts, args[0]).await(args[1]); !ok {
		ts.Fatalf("the log of %s does not hold %q:\n%s", args[0], args[1], text)
	}
}

// target takes a URL apart as the server writes it: http://HOST:PORT with a path behind it, or unix:NAME.
func target(ts *testscript.TestScript, url string) (network, address, path string) {
	if rest, ok := strings.CutPrefix(url, "http://"); ok {
		address, path, _ = strings.Cut(rest, "/")
		return "tcp", address, "/" + path
	}
	address = strings.TrimPrefix(url, "unix:")
	if address[0] != '@' {
		address = ts.MkAbs(address)
	}
	return "unix", address, "/"
}

func dial(ts *testscript.TestScript, url string) (c net.Conn, path string) {
	network, address, path := target(ts, url)
	c, err := net.DialTimeout(network, address, patience)
	ts.Check(err)
	ts.Check(c.SetDeadline(time.Now().Add(patience)))
	return c, path
}

func awaitRefusal(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 1, "gone URL")
	network, address, _ := target(ts, args[0])
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c, err := net.DialTimeout(network, address, patience)
		if err != nil {
			return
		}
		ts.Check(c.Close())
	}
	ts.Fatalf("somebody still listens on %s", args[0])
}

func writeAnswer(ts *testscript.TestScript, c net.Conn, file string) {
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	ts.Check(err)
	body, err := io.ReadAll(response.Body)
	ts.Check(errors.Join(err, response.Body.Close()))
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s\n", response.Proto, response.Status)
	ts.Check(response.Header.Write(&text))
	if response.Close {
		text.WriteString("Connection: close\r\n")
	}
	text.WriteString("\n")
	text.Write(body)
	ts.Check(os.WriteFile(ts.MkAbs(file), text.Bytes(), 0o600))
	ts.Logf("[%s]\n%s", file, &text)
}

func getURL(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "get URL FILE")
	c, path := dial(ts, args[0])
	defer func() { _ = c.Close() }()
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: script\r\nConnection: close\r\n\r\n", path)
	ts.Check(err)
	writeAnswer(ts, c, args[1])
}

func sendHalf(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "half NAME URL")
	c, path := dial(ts, args[1])
	worldOf(ts).connections[args[0]] = c
	// A whole request first, so that the server is known to have the connection.
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: script\r\n\r\nGET %s HTT", path, path)
	ts.Check(err)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	ts.Check(err)
	_, err = io.Copy(io.Discard, response.Body)
	ts.Check(errors.Join(err, response.Body.Close()))
}

func sendRest(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "rest NAME FILE")
	c := worldOf(ts).connections[args[0]]
	_, err := io.WriteString(c, "P/1.1\r\nHost: script\r\n\r\n")
	ts.Check(err)
	writeAnswer(ts, c, args[1])
	ts.Check(c.Close())
}

func sendDatagram(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "datagram ADDRESS TEXT")
	c, err := net.Dial("udp", strings.TrimPrefix(args[0], "udp://"))
	ts.Check(err)
	defer func() { _ = c.Close() }()
	ts.Check(c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, args[1])
	ts.Check(err)
	got := make([]byte, len(args[1])+1)
	n, err := c.Read(got)
	ts.Check(err)
	if string(got[:n]) != args[1] {
		ts.Fatalf("%q came back", got[:n])
	}
}
