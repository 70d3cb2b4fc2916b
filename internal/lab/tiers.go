package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// hop is one of the two connections between three tiers that may be kept.
type hop struct {
	name, flag, waiting string // the flag of the example threetier, and its line for TIME_WAIT
}

var (
	toApp   = hop{"Myriad to application", "-keepalive", "TIME_WAIT, app"}
	toRedis = hop{"application to Redis", "-pool", "TIME_WAIT, redis"}
)

const tiersMethod = "The example threetier: Myriad before an application before Redis, and 16 clients that keep " +
	"their own " +
	"connections; the other hop is kept. It is free to use all processors. TIME_WAIT is counted on the hop when the " +
	"last " +
	"answer has come. Then the same in a network namespace with 400 ports for outgoing connections, with " +
	"net.ipv4.tcp_tw_reuse 0, 1 and 2."

func keepAlive() Experiment {
	return Experiment{
		Name: "keepalive", Title: "Between the proxy and the application: kept, or a connection for each request",
		Seeds: []string{"004", "002"},
		Claim: "A proxy without upstream keepalive makes a connection for each request: handshakes, and local ports " +
			"that are " +
			"not free for 60 seconds. With keepalive 200 requests a second more were answered (siege), and 8,300 sockets " +
			"fewer were in TIME_WAIT.",
		Varied: "whether connections are kept on the hop, and tcp_tw_reuse", Method: tiersMethod,
		Quick: minute, Full: 20 * minute,
		measure: func(ctx context.Context, s *Stand, r *Result) error { return measureHop(ctx, s, r, toApp) },
		judge:   judgeHop,
	}
}

func pool() Experiment {
	return Experiment{
		Name: "pool", Title: "Between the application and its store: a pool, or a connection for each request",
		Seeds: []string{"004", "002"},
		Claim: "A connection for each request uses the local ports up, which come back after 60 seconds in TIME_WAIT. " +
			"tcp_tw_reuse is one way out, a connection pool the other, and the better one.",
		Varied: "whether connections are kept on the hop, and tcp_tw_reuse", Method: tiersMethod,
		Quick: minute, Full: 20 * minute,
		measure: func(ctx context.Context, s *Stand, r *Result) error { return measureHop(ctx, s, r, toRedis) },
		judge:   judgeHop,
	}
}

// The ports of the namespace. The clients of the example and the tiers that listen take some of them.
const (
	firstPort  = 40000
	smallRange = 400
)

func measureHop(ctx context.Context, s *Stand, r *Result, h hop) error {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return fmt.Errorf("redis-server is not installed: %w", err)
	}
	requests, few := 20000, 3000
	if s.Quick {
		requests, few = 1000, 800
	}
	columns := []Column{
		{"answered", "requests"},
		{"failed", "requests"},
		{"rate", "requests/s"},
		{"TIME_WAIT", "sockets"},
	}
	t := r.table("all ports", []string{"kept"}, columns...)
	u := r.table(strconv.Itoa(smallRange)+" ports", []string{"kept", "tcp_tw_reuse"}, columns...)
	for round := range s.Rounds {
		for _, i := range rotated(2, round) {
			kept := []string{"yes", "no"}[i]
			s.Tell("%s: kept: %s", r.Name, kept)
			values, err := s.threeTier(ctx, h, kept == "yes", requests, "", "")
			if err != nil {
				return err
			}
			t.add([]string{kept}, values...)
			r.check(values[1] == 0 && values[0] == float64(requests), "kept: %s: all of %d requests were answered", kept,
				requests)
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for round := range s.Rounds {
		for _, reuse := range []string{"0", "1", "2"} {
			for _, i := range rotated(2, round) {
				kept := []string{"yes", "no"}[i]
				s.Tell("%s: %d ports, kept: %s, tcp_tw_reuse %s", r.Name, smallRange, kept, reuse)
				space := fmt.Sprintf("myriad-lab-%d-%s%s%d", os.Getpid(), kept, reuse, round)
				values, err := s.threeTier(ctx, h, kept == "yes", few, space, reuse)
				if err != nil {
					return err
				}
				u.add([]string{kept, reuse}, values...)
				r.check(values[0]+values[1] == float64(few), "kept: %s, tcp_tw_reuse %s: %v answered and %v failed are %d", kept,
					reuse, values[0], values[1], few)
			}
		}
	}
	r.note("A port in TIME_WAIT is taken again after a second at the earliest, whatever tcp_tw_reuse says: a burst " +
		"that uses " +
		"all ports within that second fails all the same.")
	for _, c := range []string{"rate", "TIME_WAIT"} {
		r.draw(Figure{Title: h.name + ": " + c, Table: t.Name, Column: c, Over: "kept", Names: true})
	}
	r.draw(Figure{
		Title: h.name + ": failed, of " + strconv.Itoa(few), Table: u.Name, Column: "failed", Line: "kept",
		Over: "tcp_tw_reuse", Names: true,
	})
	return nil
}

// threeTier runs the example once, in a network namespace of its own if one is named, and returns what was answered,
// what failed, the rate and the sockets in TIME_WAIT.
func (s *Stand) threeTier(ctx context.Context, h hop, kept bool, requests int, space, reuse string) (values []float64,
	err error,
) {
	example, err := s.build(ctx, "./examples/threetier")
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	command := []string{
		example, "-myriad", s.Program, "-listen", listen, "-requests", strconv.Itoa(requests), h.flag + "=" +
			strconv.FormatBool(kept),
	}
	if space != "" {
		if err := namespace(ctx, space); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, remove(space)) }()
		inside := fmt.Sprintf("ip link set lo up && sysctl -q -w net.ipv4.tcp_tw_reuse=%s "+
			"net.ipv4.ip_local_port_range='%d %d' && exec \"$@\"", reuse, firstPort, firstPort+smallRange-1)
		command = append([]string{"ip", "netns", "exec", space, "sh", "-c", inside, "sh"}, command...)
	}
	said, err := s.finish(ctx, spec{name: "threetier", command: command, anywhere: true})
	numbers := map[string]float64{}
	for line := range strings.Lines(said) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		last := fields[len(fields)-1]
		if v, wrong := strconv.ParseFloat(last, 64); wrong == nil {
			numbers[strings.Join(fields[:len(fields)-1], " ")] = v
		}
	}
	failed, there := numbers["failed"]
	// It also ends with an error when requests have failed, which is what is shown.
	if !there || failed == 0 && err != nil {
		return nil, fmt.Errorf("threetier said %q: %w", said, err)
	}
	return []float64{float64(requests) - failed, failed, numbers["requests a second"], numbers[h.waiting]}, nil
}

// namespace makes a network namespace.
func namespace(ctx context.Context, name string) error {
	if out, err := exec.CommandContext(ctx, "ip", "netns", "add", name).CombinedOutput(); err != nil {
		return fmt.Errorf("ip netns add: %w: %s", err, out)
	}
	return nil
}

// remove removes it again; the kernel ends it with the last process inside. A signal to all of the terminal's processes
// also ends the command that removes, so it is tried once more.
func remove(name string) error {
	var out []byte
	var err error
	for range 2 {
		if out, err = exec.Command("ip", "netns", "del", name).CombinedOutput(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("ip netns del: %w: %s", err, out)
}

func judgeHop(r *Result) Verdict {
	t, u := r.find("all ports"), r.find(strconv.Itoa(smallRange)+" ports")
	rate := t.median("rate", "yes") / t.median("rate", "no")
	fewer := t.median("TIME_WAIT", "no") - t.median("TIME_WAIT", "yes")
	why := fmt.Sprintf("Kept connections answer %.2f times the requests in a second and leave %.0f sockets fewer in "+
		"TIME_WAIT. "+
		"With %d ports, of a connection for each request %.0f, %.0f and %.0f failed with tcp_tw_reuse 0, 1 and 2; of kept "+
		"ones %.0f, %.0f and %.0f.", rate, fewer, smallRange, u.median("failed", "no", "0"), u.median("failed", "no", "1"),
		u.median("failed", "no", "2"), u.median("failed", "yes", "0"), u.median("failed", "yes", "1"),
		u.median("failed", "yes", "2"))
	if rate > 1 && fewer > 100 && u.median("failed", "no", "0") > 0 && u.median("failed", "yes", "0") == 0 {
		return Verdict{Holds, why}
	}
	if rate > 1 || fewer > 100 {
		return Verdict{Partly, why}
	}
	return Verdict{NoLonger, why}
}
