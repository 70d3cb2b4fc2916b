package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/crowd"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	body        = "Hello, World!"
	startWithin = 10 * time.Second
	stopWithin  = 60 * time.Second
	pollEvery   = 20 * time.Millisecond
)

// The configuration is an ordinary one. The kernel's own keepalive probes are put off: at the default of a minute a
// million idle connections are probed some 17,000 times a second, and that would be measured instead of the server.
const configuration = `listeners:
  - address: %s
    backlog: 65535
    keepalive:
      idle: 2h
routes:
  - path: /status
    status: {}
  - respond:
      body: %q
`

// server is a process of the ordinary program.
type server struct {
	name    string
	address netip.AddrPort
	command *exec.Cmd
	log     string
	client  http.Client // for /status
	ended   chan error
	config  string
	next    *os.Process // the one that goes on; nil: there was no upgrade
	peak    memory
}

// status is what the program asks of the server's own account.
type status struct {
	Driver      string `json:"driver"`
	Model       string `json:"model"`
	Loops       int    `json:"loops"`
	Version     string `json:"version"`
	Requests    int64  `json:"requests"`
	Connections struct {
		Open, Accepted, Closed, Refused, Shed int64
	} `json:"connections"`
	Capacity struct {
		Connections int    `json:"connections"`
		Wall        string `json:"first_wall"`
		Direct      bool   `json:"direct_descriptors"`
	} `json:"capacity"`
}

// memory is what /proc/PID/status says, in bytes.
type memory struct {
	Resident  int64 `json:"resident_bytes"`
	Anonymous int64 `json:"anonymous_bytes"`
	Peak      int64 `json:"peak_resident_bytes"`
}

// build compiles the server into a folder and returns where it is.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "myriad")
	command := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/myriad-server/myriad/cmd/myriad")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the server: %w\n%s", err, out)
	}
	return binary, nil
}

// freePort finds a port that nobody listens on.
func freePort() (netip.AddrPort, error) {
	l, err := net.Listen("tcp4", loopbackHost+":0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer func() { _ = l.Close() }()
	return netip.ParseAddrPort(l.Addr().String())
}

// arguments is the command line of a server that holds connections.
func arguments(config string, connections int) []string {
	return []string{
		"serve", "--config", config, "--driver", "uring", "--model", "reactor", "--loops", "1",
		"--set", "engine.direct=always", "--set", "limits.connections=" + strconv.Itoa(connections),
		"--set", "timeouts.idle=1h", "--set", "timeouts.drain=5m", "--admin", "unix:" + config + ".sock",
	}
}

// start runs a server on processors of its own and waits until it answers.
func start(ctx context.Context, name, binary, dir string, connections int, processors []int) (*server, error) {
	s := &server{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan error, 1)}
	s.client.Timeout = startWithin
	var err error
	if s.address, err = freePort(); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, configuration, s.address, body), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	s.config = config
	s.command = exec.Command(binary, arguments(config, connections)...)
	s.command.Stdout, s.command.Stderr = log, log
	own, err := sys.Affinity(0)
	if err != nil {
		return nil, err
	}
	if err := sys.SetAffinity(0, processors...); err != nil { // the child inherits it
		return nil, err
	}
	err = s.command.Start()
	if restored := sys.SetAffinity(0, own...); err == nil {
		err = restored
	}
	if err != nil {
		return nil, err
	}
	go func() { s.ended <- s.command.Wait() }()
	if err := s.await(ctx); err != nil {
		s.kill()
		return nil, fmt.Errorf("the %s server does not answer: %w\n%s", name, err, s.lines())
	}
	return s, nil
}

func (s *server) await(ctx context.Context) error {
	deadline := time.Now().Add(startWithin)
	for {
		_, err := s.status(ctx)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case ended := <-s.ended:
			s.ended <- ended
			return fmt.Errorf("it has ended (%s): %w", s.command.ProcessState, err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func (s *server) pid() int {
	if s.next != nil {
		return s.next.Pid
	}
	return s.command.Process.Pid
}

// lines is what the server wrote.
func (s *server) lines() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// status asks the server how it is, over one connection that stays open and is among those that it counts.
func (s *server) status(ctx context.Context) (st status, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address.String()+"/status", nil)
	if err != nil {
		return st, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return st, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&st); err != nil {
		return st, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return st, err
}

// example asks once, to learn how long an answer is.
func (s *server) example() (request []byte, a crowd.Answer, err error) {
	request = []byte("GET / HTTP/1.1\r\nHost: " + s.address.String() + "\r\n\r\n")
	c, err := net.DialTimeout("tcp4", s.address.String(), startWithin)
	if err != nil {
		return nil, a, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(startWithin))
	if _, err := c.Write(request); err != nil {
		return nil, a, err
	}
	text := make([]byte, crowd.AnswerMost)
	for {
		n, err := c.Read(text[a.Size:])
		if err != nil {
			return nil, a, err
		}
		a.Size += n
		head, content, found := strings.Cut(string(text[:a.Size]), "\r\n\r\n")
		if !found || len(content) < len(body) {
			continue
		}
		if a = answerOf(a.Size, []byte(body)); !a.Good(text[:a.Size]) {
			return nil, a, fmt.Errorf("an unexpected answer: %q %q", head, content)
		}
		return request, a, nil
	}
}

// look reads the memory of the process and remembers the highest.
func (s *server) look() (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid()))
	if err != nil {
		return memory{}, err
	}
	m := memory{
		Resident: field(text, "VmRSS:") << 10, Anonymous: field(text, "RssAnon:") << 10, Peak: field(text, "VmHWM:") << 10,
	}
	s.peak.Resident = max(s.peak.Resident, m.Resident)
	s.peak.Anonymous = max(s.peak.Anonymous, m.Anonymous)
	s.peak.Peak = max(s.peak.Peak, m.Peak)
	return m, nil
}

// descriptors is how many the process has open, and how many it may.
func (s *server) descriptors() (open, limit int, err error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid()))
	if err != nil {
		return 0, 0, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", s.pid()))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(text), "Max open files")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0, 0, errors.New("no limit of descriptors in /proc/PID/limits")
	}
	limit, err = strconv.Atoi(fields[1])
	return len(list), limit, err
}

// stop ends the server in order and reports how it went.
func (s *server) stop() error {
	s.client.CloseIdleConnections()
	if s.next != nil {
		if err := s.next.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		if !s.gone(stopWithin) {
			return fmt.Errorf("process %d did not end within %v", s.next.Pid, stopWithin)
		}
		return nil
	}
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-s.ended:
		s.ended <- err
		return err
	case <-time.After(stopWithin):
		s.kill()
		return fmt.Errorf("the %s server did not end within %v", s.name, stopWithin)
	}
}

// kill ends the process, whatever it does.
func (s *server) kill() {
	if s.next != nil {
		_ = s.next.Kill()
	}
	_ = s.command.Process.Kill()
	s.ended <- <-s.ended
}
