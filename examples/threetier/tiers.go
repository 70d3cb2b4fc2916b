package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

//go:embed app.py
var flask []byte

const (
	startWithin = 20 * time.Second
	stopWithin  = 10 * time.Second
)

// tiers are the three processes.
type tiers struct {
	options
	dir   string
	redis string // its address
	inner string // the application's address
	all   []*process
}

// process is one that this example started, and will end.
type process struct {
	name    string
	command *exec.Cmd
	ended   chan struct{} // closed when it has ended, with why
	why     error
}

// launch starts a process and waits until it accepts connections.
func (t *tiers) launch(ctx context.Context, name, address string, command *exec.Cmd) error {
	log, err := os.Create(filepath.Join(t.dir, name+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	command.Stdout, command.Stderr, command.Dir = log, log, t.dir
	if err := command.Start(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p := &process{name: name, command: command, ended: make(chan struct{})}
	t.all = append(t.all, p)
	go func() {
		p.why = command.Wait()
		close(p.ended)
	}()
	bounded, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return p.answers(bounded, address, log.Name())
}

// answers waits until the process accepts a connection. Until it listens the kernel refuses at once, and there is
// nothing to wait on: hence the pause between two tries.
func (p *process) answers(ctx context.Context, address, log string) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
			text, _ := os.ReadFile(log)
			return fmt.Errorf("%s ended: %w\n%s", p.name, p.why, text)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer at %s: %w", p.name, address, err)
		case <-again.C:
		}
	}
}

// end ends the processes, those that were started last first.
func (t *tiers) end() error {
	var errs []error
	for _, p := range slices.Backward(t.all) {
		_ = p.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended: // by our signal: its status says nothing
		case <-time.After(stopWithin):
			_ = p.command.Process.Kill()
			<-p.ended
			errs = append(errs, fmt.Errorf("%s had to be killed", p.name))
		}
	}
	return errors.Join(errs...)
}

func (t *tiers) startRedis(ctx context.Context) (err error) {
	if t.redis, err = freeAddress(); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(t.redis)
	return t.launch(ctx, "redis", t.redis, exec.Command("redis-server",
		"--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", t.dir))
}

func (t *tiers) startApp(ctx context.Context) (err error) {
	if t.inner, err = freeAddress(); err != nil {
		return err
	}
	if t.app == "go" {
		own, err := os.Executable()
		if err != nil {
			return err
		}
		return t.launch(ctx, "app", t.inner, exec.Command(own, "app", "-listen", t.inner, "-redis", t.redis,
			"-pool="+strconv.FormatBool(t.pool)))
	}
	if err := os.WriteFile(filepath.Join(t.dir, "app.py"), flask, 0o600); err != nil {
		return err
	}
	command := exec.Command("gunicorn", "--bind", t.inner, "--workers", "2", "--worker-class", "gthread",
		"--threads", "16", "--keep-alive", "75", "--log-level", "warning", "app:app")
	pool := "0"
	if t.pool {
		pool = "1"
	}
	command.Env = append(os.Environ(), "REDIS="+t.redis, "POOL="+pool)
	return t.launch(ctx, "app", t.inner, command)
}

func (t *tiers) startMyriad(ctx context.Context) error {
	binary := t.myriad
	if binary == "" {
		binary = filepath.Join(t.dir, "myriad")
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/myriad-server/myriad/cmd/myriad")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building myriad: %w\n%s", err, out)
		}
	}
	arguments := []string{"proxy", "--listen", t.listen, "--to", t.inner}
	if !t.keepalive {
		arguments = append(arguments, "--no-pool")
	}
	return t.launch(ctx, "myriad", t.listen, exec.Command(binary, arguments...))
}

// freeAddress finds a port on loopback that nobody listens on. Clients of this machine have theirs at 127.0.0.1: none
// takes this one before the tier does.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.25:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
