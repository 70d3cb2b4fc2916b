package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

const (
	startWithin = 20 * time.Second
	stopWithin  = 10 * time.Second
	tryEvery    = 20 * time.Millisecond
)

// Stand is what experiments are made on: the program under test, processors for servers and for the load, and the
// processes that run now.
type Stand struct {
	Quick  bool
	Rounds int
	Seed   uint64
	// Program is the binary of Myriad; Source the folder of this module, for examples that are built, or "".
	Program, Source string
	// Peers is folders with results of other servers, for the experiment that reads them, apart by colons, or "".
	Peers string
	// Tell is a line for whoever waits.
	Tell    func(format string, v ...any)
	Machine Machine

	dir     string
	servers []int // processors
	load    []int
	mu      sync.Mutex
	running []*process
	spaces  []space           // network namespaces
	made    int               // of them, so far
	built   map[string]string // examples, by their folder
	strains strains           // of the experiment so far
}

// Open prepares a stand. The thread that calls it starts the servers and must stay locked; the process keeps to the
// last processor from now on where there are two or more.
func (s *Stand) Open() (err error) {
	all, err := sys.Affinity(0)
	if err != nil {
		return err
	}
	s.servers, s.load = all[:1], all[len(all)-1:]
	if err := bind(s.load); err != nil {
		return err
	}
	if _, _, err := sys.RaiseDescriptors(); err != nil {
		return err
	}
	if err := sweepSpaces(); err != nil {
		return err
	}
	s.built = map[string]string{}
	s.Machine = describe(s)
	s.dir, err = os.MkdirTemp("", "myriad-lab-")
	return err
}

// Close ends what still runs and removes what was written.
func (s *Stand) Close() error { return errors.Join(s.endAll(), os.RemoveAll(s.dir)) }

// bind keeps every thread of this process on some processors; later ones inherit it.
func bind(processors []int) error {
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, entry := range list {
		if thread, err := strconv.Atoi(entry.Name()); err == nil {
			if err := sys.SetAffinity(thread, processors...); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// process is one that the lab started, and will end.
type process struct {
	name    string
	pid     int
	address string
	command *exec.Cmd
	log     string
	ended   chan struct{}
	why     error
}

// spec says how a process is started.
type spec struct {
	name      string
	command   []string
	address   string   // where it accepts connections, once it is ready; "" is not waited for
	elsewhere bool     // in another network namespace
	onLoad    bool     // on the processor of the load instead of that of the servers
	anywhere  bool     // on all processors
	signals   uint64   // RLIMIT_SIGPENDING, if not 0
	out       *os.File // standard output; nil: the log
}

// start starts a process on its processor and waits until it accepts connections.
func (s *Stand) start(ctx context.Context, p spec) (*process, error) {
	log := filepath.Join(s.dir, fmt.Sprintf("%s-%d.log", p.name, time.Now().UnixNano()))
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	command := exec.Command(p.command[0], p.command[1:]...)
	command.Stdout, command.Stderr, command.Dir, command.SysProcAttr = file, file, s.dir, sys.EndWithStarter()
	if p.out != nil {
		command.Stdout = p.out
	}
	processors := s.servers
	if p.onLoad {
		processors = s.load
	}
	if p.anywhere {
		processors = slices.Concat(s.servers, s.load)
	}
	if err := s.fork(command, processors, p.signals); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	q := &process{
		name: p.name, pid: command.Process.Pid, address: p.address, command: command, log: log, ended: make(chan struct{}),
	}
	s.mu.Lock()
	s.running = append(s.running, q)
	s.mu.Unlock()
	go func() {
		q.why = command.Wait()
		close(q.ended)
	}()
	if p.address == "" {
		return q, nil
	}
	err = q.accepts(ctx, p.elsewhere)
	return q, err
}

// fork starts a command that inherits what this thread is bound to and limited by, which is then as it was.
func (s *Stand) fork(command *exec.Cmd, processors []int, signals uint64) (err error) {
	if err := sys.SetAffinity(0, processors...); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.SetAffinity(0, s.load...)) }()
	if signals == 0 {
		return command.Start()
	}
	soft, hard, err := sys.Limit(sys.LimitSignals)
	if err != nil {
		return err
	}
	if err := sys.SetLimit(sys.LimitSignals, signals, hard); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.SetLimit(sys.LimitSignals, soft, hard)) }()
	return command.Start()
}

// accepts waits until the process accepts a connection. Until it listens the kernel refuses at once, and there is
// nothing to wait on: hence the pause between two tries. Elsewhere, where nothing of ours can connect, the kernel's
// list says whether somebody listens.
func (p *process) accepts(ctx context.Context, elsewhere bool) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	network, address := "tcp", p.address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	again := time.NewTicker(tryEvery)
	defer again.Stop()
	for {
		err := errors.New("nobody listens there")
		if elsewhere && listens(p.pid, address) {
			return nil
		}
		if !elsewhere {
			var c net.Conn
			if c, err = (&net.Dialer{}).DialContext(ctx, network, address); err == nil {
				return c.Close()
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %w\n%s", p.name, p.why, p.said())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer at %s: %w\n%s", p.name, p.address, err, p.said())
		case <-again.C:
		}
	}
}

// said is the end of what the process has written.
func (p *process) said() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// forget takes a process from the list of those that run.
func (s *Stand) forget(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = slices.DeleteFunc(s.running, func(q *process) bool { return q == p })
}

// end ends a process.
func (s *Stand) end(p *process) error {
	s.forget(p)
	_ = p.command.Process.Signal(syscall.SIGTERM)
	_ = p.command.Process.Signal(syscall.SIGCONT) // one that an experiment has stopped
	select {
	case <-p.ended: // by our signal: its status says nothing
		return nil
	case <-time.After(stopWithin):
		_ = p.command.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s had to be killed", p.name)
	}
}

// endAll ends all processes, those that were started last first, and then removes the namespaces.
func (s *Stand) endAll() error {
	s.mu.Lock()
	running, spaces := slices.Clone(s.running), slices.Clone(s.spaces)
	s.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(running) {
		errs = append(errs, s.end(p))
	}
	for _, n := range spaces {
		errs = append(errs, s.dropSpace(n))
	}
	return errors.Join(errs...)
}

// freeAddress finds a port on loopback that nobody listens on.
func freeAddress() (string, error) { return freeAddresses(1) }

// freeAddresses finds the first of n ports in a row on loopback on which nobody listens.
func freeAddresses(n int) (string, error) {
	var last error
	for range 100 {
		first, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		address := first.Addr().(*net.TCPAddr)
		held := []net.Listener{first}
		last = nil
		for i := 1; i < n && last == nil; i++ {
			next, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: address.IP, Port: address.Port + i})
			if last = err; err == nil {
				held = append(held, next)
			}
		}
		for _, l := range held {
			last = errors.Join(last, l.Close())
		}
		if last == nil {
			return address.String(), nil
		}
	}
	return "", fmt.Errorf("no %d ports in a row are free: %w", n, last)
}

// hello is what the servers of most experiments answer.
const hello = "Hello, World!"

// helloConfiguration answers everything with 13 bytes, and tells at /status what runs.
const helloConfiguration = `listeners:
  - address: %q
    backlog: 16384
routes:
  - path: /status
    status: {}
  - respond:
      body: ` + hello + "\n"

// serve starts the ordinary server, which answers hello; more are further arguments of its command line.
func (s *Stand) serve(ctx context.Context, name string, signals uint64, more ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return s.serveAt(ctx, name, address, signals, more...)
}

func (s *Stand) serveAt(ctx context.Context, name, address string, signals uint64, more ...string) (*process, error) {
	file := filepath.Join(s.dir, fmt.Sprintf("%s-%d.yaml", name, time.Now().UnixNano()))
	if err := os.WriteFile(file, fmt.Appendf(nil, helloConfiguration, address), 0o600); err != nil {
		return nil, err
	}
	command := append([]string{s.Program, "serve", "--config", file, "--set", "timeouts.idle=1h"}, more...)
	return s.start(ctx, spec{name: name, command: command, address: address, signals: signals})
}

// account is what a server says of itself at /status.
type account struct {
	Driver      string `json:"driver"`
	Model       string `json:"model"`
	PID         int    `json:"pid"`
	Version     string `json:"version"`
	Requests    int64  `json:"requests"`
	Connections struct {
		Open, Accepted, Dialled int64
	} `json:"connections"`
	Responses map[string]int64 `json:"responses"`
}

// account asks a server.
func (p *process) account(ctx context.Context) (a account, err error) {
	err = tell(ctx, p.address, "/status", &a)
	return a, err
}

// tell asks the server at an address, which may be "unix:" and a path, for JSON.
func tell(ctx context.Context, address, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	transport, host := &http.Transport{DisableKeepAlives: true}, address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s answers %s", address, path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// rotated gives the numbers 0 to n-1, beginning with another one in each round.
func rotated(n, round int) (order []int) {
	for i := range n {
		order = append(order, (i+round)%n)
	}
	return order
}
