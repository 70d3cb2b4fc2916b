package matrix

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/config"
)

func TestMain(m *testing.M) {
	code := m.Run()
	apptest.Clean()
	os.Exit(code)
}

// startProcesses has the program serve by several processes: a handler of the test cannot be there.
func (s *suite) startProcesses(t *testing.T, settled []string) *server {
	t.Helper()
	v := &server{t: t, before: measure(t), entry: s.column.Processes == "ports"}
	arguments := []string{"serve", "--admin", "off"}
	for _, line := range settled {
		arguments = append(arguments, "--set", line)
	}
	p := apptest.Launch(t, t.TempDir(), arguments...)
	ready := make(chan struct{})
	waiting, wait := context.WithCancel(context.Background())
	t.Cleanup(wait)
	go func() {
		if p.Says(waiting, readyWord, 1) {
			close(ready)
		}
	}()
	v.run(ready, func(ctx context.Context, kill <-chan struct{}) error {
		return ended(p, ctx.Done(), kill)
	})
	v.urls = p.URLs()
	return v
}

// readyWord is what a server says when all of its processes serve.
const readyWord = "msg=serving"

// killed is the exit code after a second SIGTERM.
const killed = 128 + int(syscall.SIGTERM)

// ended passes on what a server is told in this process, and returns when the program has ended.
func ended(p *apptest.Program, stop, kill <-chan struct{}) error {
	twice := false
	for {
		select {
		case <-p.Ended:
			if twice && p.ExitCode() == killed {
				return nil
			}
			return p.Outcome()
		case <-stop:
			apptest.Tell(syscall.SIGTERM, p.Process.Pid)
			stop = nil
		case <-kill:
			apptest.Tell(syscall.SIGTERM, p.Process.Pid)
			kill, twice = nil, true
		}
	}
}

// worker asks an entry listener where to go.
func worker(entry string) (address string, err error) {
	c, err := net.DialTimeout("tcp", entry, patience)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprint(c, "WORKER\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	host, port, two := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if err != nil || !two {
		return "", fmt.Errorf("the entry says %q: %w", line, err)
	}
	return net.JoinHostPort(host, port), nil
}

// overrides are lines as a configuration takes them.
func overrides(lines []string) (all []config.Override) {
	for _, line := range lines {
		all = append(all, config.SetFlag(line))
	}
	return all
}
