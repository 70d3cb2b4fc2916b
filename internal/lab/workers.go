package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// workers is how many processes serve under each process model.
const workers = 2

// roster is what the admin API above worker processes tells of them.
type roster struct {
	Model   string `json:"process_model"`
	Workers []struct {
		PID   int    `json:"pid"`
		State string `json:"state"`
	} `json:"workers"`
}

// serving is the numbers of the processes that serve.
func (c *roster) serving() (pids []int) {
	for _, w := range c.Workers {
		if w.State == "serving" {
			pids = append(pids, w.PID)
		}
	}
	return pids
}

// team is a server of one process, or of several.
type team struct {
	*process           // the one that was started
	pids      []int    // of all, that one first
	addresses []string // where clients go
}

// serveTeam starts a server and waits until all of its processes serve. Under the process model ports its entry is
// asked where the workers are, as clients do.
func (s *Stand) serveTeam(ctx context.Context, m runner) (*team, error) {
	if m.processes == "" {
		p, err := s.serve(ctx, m.name, 0, m.arguments...)
		if err != nil {
			return nil, err
		}
		return &team{p, []int{p.pid}, []string{p.address}}, nil
	}
	address, err := freeAddresses(1 + workers)
	if err != nil {
		return nil, err
	}
	admin := "unix:" + filepath.Join(s.dir, fmt.Sprintf("%s-%d.sock", m.name, time.Now().UnixNano()))
	p, err := s.serveAt(ctx, m.name, address, 0, append([]string{
		"--processes", strconv.Itoa(workers), "--process-model", m.processes, "--set", "admin=" + admin,
	}, m.arguments...)...)
	if err != nil {
		return nil, err
	}
	c, err := p.crew(ctx, admin)
	if err != nil {
		return nil, err
	}
	if c.Model != m.processes {
		return nil, fmt.Errorf("the server of %s runs the process model %s", m.name, c.Model)
	}
	t := &team{p, append([]int{p.pid}, c.serving()...), []string{address}}
	if m.processes == "ports" {
		t.addresses, err = entrance(ctx, address)
	}
	return t, err
}

// crew waits until all workers serve. Nobody would tell the lab: hence the pause between two looks.
func (p *process) crew(ctx context.Context, admin string) (c roster, err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	again := time.NewTicker(tryEvery)
	defer again.Stop()
	for {
		c = roster{}
		if err = tell(ctx, admin, "/v1/workers", &c); err == nil && len(c.serving()) == workers {
			return c, nil
		}
		select {
		case <-p.ended:
			return c, fmt.Errorf("%s ended: %w\n%s", p.name, p.why, p.said())
		case <-ctx.Done():
			return c, fmt.Errorf("%d of %d workers of %s serve: %w\n%s", len(c.serving()), workers, p.name, err, p.said())
		case <-again.C:
		}
	}
}

// mostAsked is how often an entry may be asked before it has named every worker. It names them in turns.
const mostAsked = 20

// entrance asks the entry of the process model ports until it has named every worker.
func entrance(ctx context.Context, entry string) (addresses []string, err error) {
	for range mostAsked {
		c, err := (&net.Dialer{Timeout: startWithin}).DialContext(ctx, "tcp", entry)
		if err != nil {
			return nil, err
		}
		_ = c.SetDeadline(time.Now().Add(startWithin))
		_, err = io.WriteString(c, "WORKER\n")
		var text []byte
		if err == nil {
			text, err = io.ReadAll(c)
		}
		_ = c.Close()
		if err != nil {
			return nil, fmt.Errorf("the entry at %s: %w", entry, err)
		}
		host, port, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		if one := net.JoinHostPort(host, port); !slices.Contains(addresses, one) {
			addresses = append(addresses, one)
		}
		if len(addresses) == workers {
			return addresses, nil
		}
	}
	return nil, fmt.Errorf("the entry at %s was asked %d times and named %v only", entry, mostAsked, addresses)
}

// askTeam puts a server under load. Where its workers have addresses of their own, the connections are spread over them
// evenly, each by a load of its own that watches the process there; who gets none is watched beside the first one.
func (s *Stand) askTeam(ctx context.Context, t *team, d demand) (o outcome, err error) {
	n := min(len(t.addresses), d.connections)
	if n == 1 {
		d.target, d.watch = "http://"+t.addresses[0]+"/", t.pids
		return s.ask(ctx, d)
	}
	demands, rest := make([]demand, n), slices.Clone(t.pids)
	for i := range demands {
		var a account
		if err := tell(ctx, t.addresses[i], "/status", &a); err != nil {
			return o, err
		}
		demands[i] = d
		demands[i].target, demands[i].watch = "http://"+t.addresses[i]+"/", []int{a.PID}
		demands[i].connections = (d.connections + n - 1 - i) / n
		rest = slices.DeleteFunc(rest, func(pid int) bool { return pid == a.PID })
	}
	demands[0].watch = append(demands[0].watch, rest...)
	outcomes, errs := make([]outcome, n), make([]error, n)
	var group sync.WaitGroup
	for i := range demands {
		group.Go(func() { outcomes[i], errs[i] = s.ask(ctx, demands[i]) })
	}
	group.Wait()
	o = outcomes[0]
	for i, err := range errs {
		if err != nil {
			return o, err
		}
		if i > 0 {
			o.add(&outcomes[i])
		}
	}
	return o, nil
}
