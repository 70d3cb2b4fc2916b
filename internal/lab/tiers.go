package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/load"
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
	"their own connections; the other hop is kept. It is free to use all processors. Each run has a network namespace " +
	"of its own, whose table of TIME_WAIT nobody else fills; they are counted on the hop when the last answer has " +
	"come. Then with 400 ports for outgoing connections and tcp_tw_reuse 0, 1 and 2: once all requests as fast as " +
	"they are answered, once 150 of them due in each second; meanwhile the kernel's list of sockets tells how many of " +
	"the ports are taken."

func keepAlive() Experiment {
	return Experiment{
		Name: "keepalive", Title: "Between the proxy and the application: kept, or a connection for each request",
		Seeds: []string{"004", "002"},
		Claim: "A proxy without upstream keepalive makes a connection for each request: handshakes, and local ports that " +
			"are not free for 60 seconds. With keepalive 200 requests a second more were answered (siege), and 8,300 " +
			"sockets fewer were in TIME_WAIT.",
		Varied: "whether connections are kept on the hop, and tcp_tw_reuse", Method: tiersMethod,
		Takes: 140 * second, Quick: quickest, Full: 10 * minute,
		measure: func(ctx context.Context, s *Stand, r *Result) error { return measureHop(ctx, s, r, toApp) },
		judge:   judgeHop,
	}
}

func pool() Experiment {
	return Experiment{
		Name: "pool", Title: "Between the application and its store: a pool, or a connection for each request",
		Seeds: []string{"004", "002"},
		Claim: "A connection for each request uses the local ports up, which come back after 60 seconds in TIME_WAIT. " +
			"tcp_tw_reuse is one way out, a connection pool the other, and the better one. When all connections of a pool " +
			"are dead, because the store is, it must fail fast, and fill up again when the store is back.",
		Varied: "whether connections are kept on the hop, and tcp_tw_reuse; how the store dies",
		Method: tiersMethod + " " + outageMethod,
		Takes:  200 * second, Quick: quickest, Full: 10 * minute,
		measure: func(ctx context.Context, s *Stand, r *Result) error {
			if err := measureHop(ctx, s, r, toRedis); err != nil {
				return err
			}
			return measureOutage(ctx, s, r)
		},
		judge: judgePool,
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
	requests := 20000
	if s.Quick {
		requests = 1000
	}
	t := r.table("all ports", []string{"kept"}, tierColumns()...)
	for round := range s.Rounds {
		for _, i := range rotated(2, round) {
			kept := []string{"yes", "no"}[i]
			s.Tell("%s: kept: %s", r.Name, kept)
			inside, err := s.newSpace(ctx)
			if err != nil {
				return err
			}
			values, err := s.threeTier(ctx, h, kept == "yes", requests, inside)
			if err = errors.Join(err, s.dropSpace(inside)); err != nil {
				return err
			}
			t.add([]string{kept}, values...)
			r.check(values[1] == 0 && values[0] == float64(requests), "kept: %s: all of %d requests were answered", kept,
				requests)
			r.check(kept == "yes" || values[3] >= 100, "kept: %s: %v sockets are in TIME_WAIT, as they must be", kept, values[3])
		}
	}
	for _, c := range []string{"rate", "TIME_WAIT"} {
		r.draw(Figure{Title: h.name + ": " + c, Table: t.Name, Column: c, Over: "kept", Names: true})
	}
	if err := measureBurst(ctx, s, r, h); err != nil {
		return err
	}
	return measurePaced(ctx, s, r, h)
}

func tierColumns() []Column {
	return []Column{{"answered", "requests"}, {"failed", "requests"}, {"rate", "answers/s"}, {"TIME_WAIT", "sockets"}}
}

// fewPorts makes a namespace that has few ports for outgoing connections.
func (s *Stand) fewPorts(ctx context.Context, reuse string) (space, error) {
	n, err := s.newSpace(ctx)
	if err != nil {
		return n, err
	}
	set := n.runs("sysctl", "-q", "-w", "net.ipv4.tcp_tw_reuse="+reuse,
		fmt.Sprintf("net.ipv4.ip_local_port_range=%d %d", firstPort, firstPort+smallRange-1))
	return n, invoke(ctx, set[0], set[1:]...)
}

// The tables of what happens with few ports.
const (
	burstTable  = "400 ports, all at once"
	pacedTable  = "400 ports, 150 requests a second"
	courseTable = "ports taken, second by second"
)

// measureBurst uses the ports up within the second for which each of them rests whatever is set.
func measureBurst(ctx context.Context, s *Stand, r *Result, h hop) error {
	t := r.table(burstTable, []string{"kept", "tcp_tw_reuse"}, tierColumns()...)
	few := 3000
	if s.Quick {
		few = 800
	}
	for round := range s.Rounds {
		for _, reuse := range []string{"0", "1", "2"} {
			for _, i := range rotated(2, round) {
				kept := []string{"yes", "no"}[i]
				s.Tell("%s: %d ports, kept: %s, tcp_tw_reuse %s", r.Name, smallRange, kept, reuse)
				inside, err := s.fewPorts(ctx, reuse)
				if err != nil {
					return err
				}
				values, err := s.threeTier(ctx, h, kept == "yes", few, inside)
				if err = errors.Join(err, s.dropSpace(inside)); err != nil {
					return err
				}
				t.add([]string{kept, reuse}, values...)
				r.check(values[0]+values[1] == float64(few), "kept: %s, tcp_tw_reuse %s: %v answered and %v failed are %d", kept,
					reuse, values[0], values[1], few)
			}
		}
	}
	r.note("A port in TIME_WAIT is taken again after a second at the earliest, whatever tcp_tw_reuse says: a burst that " +
		"uses all ports within that second fails all the same.")
	r.draw(Figure{
		Title: fmt.Sprintf("%s: failed, of %d at once, with %d ports", h.name, few, smallRange), Table: t.Name,
		Column: "failed", Line: "kept", Over: "tcp_tw_reuse", Names: true,
	})
	return nil
}

// threeTier runs the example once, and returns what was answered, what failed, the rate of answers and the sockets in
// TIME_WAIT.
func (s *Stand) threeTier(ctx context.Context, h hop, kept bool, requests int, inside space) (values []float64,
	err error,
) {
	command, _, err := s.tierCommand(ctx, h, kept, requests)
	if err != nil {
		return nil, err
	}
	said, err := s.finish(ctx, spec{name: "threetier", command: inside.runs(command...), anywhere: true})
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
	answered := float64(requests) - failed
	rate := numbers["requests a second"] * answered / float64(requests) // what fails does so at once
	return []float64{answered, failed, rate, numbers[h.waiting]}, nil
}

func (s *Stand) tierCommand(ctx context.Context, h hop, kept bool, requests int) (command []string, listen string,
	err error,
) {
	example, err := s.build(ctx, "./examples/threetier")
	if err != nil {
		return nil, "", err
	}
	if listen, err = freeAddress(); err != nil {
		return nil, "", err
	}
	return []string{
		example, "-myriad", s.Program, "-listen", listen, "-requests", strconv.Itoa(requests),
		h.flag + "=" + strconv.FormatBool(kept),
	}, listen, nil
}

// paced is one run with requests that become due one after the other.
type paced struct {
	kept, reuse string
	length      time.Duration
}

const duePaced = 150 // requests a second: more than the ports allow in a minute, fewer than in a second

// measurePaced uses the ports one after the other: then it matters how long each of them rests.
func measurePaced(ctx context.Context, s *Stand, r *Result, h hop) error {
	t := r.table(pacedTable, []string{"kept", "tcp_tw_reuse"}, Column{"due", "requests"}, Column{"failed", "requests"},
		Column{"most ports taken", "ports"}, Column{"median response", "ms"})
	u := r.table(courseTable, []string{"kept, tcp_tw_reuse", "second"}, Column{"ports taken", "ports"})
	kinds := []paced{{"no", "0", 0}, {"no", "1", 0}, {"no", "2", 0}, {"yes", "2", 0}}
	for round := range s.Rounds {
		for _, i := range rotated(len(kinds), round) {
			p := kinds[i]
			if p.length = 6 * second; s.Quick {
				p.length = 3 * second
			}
			s.Tell("%s: %d ports, %d due a second, kept: %s, tcp_tw_reuse %s", r.Name, smallRange, duePaced, p.kept, p.reuse)
			if err := p.measure(ctx, s, r, h, t, u); err != nil {
				return err
			}
			if err := s.endAll(); err != nil {
				return err
			}
		}
	}
	if h == toApp {
		r.note("Myriad counts the ports that it uses, each for a minute after its connection, and refuses requests (503, " +
			"no_ports) before the last ones are gone; the kernel's list shows fewer, because not every connection ends in " +
			"TIME_WAIT at the end that made it.")
	}
	r.draw(Figure{
		Title: fmt.Sprintf("%s: ports taken of %d, %d requests a second", h.name, smallRange, duePaced), Table: u.Name,
		Column: "ports taken", Line: "kept, tcp_tw_reuse", Over: "second",
	})
	r.draw(Figure{
		Title: fmt.Sprintf("%s: failed, %d requests a second", h.name, duePaced), Table: t.Name, Column: "failed",
		Line: "kept", Over: "tcp_tw_reuse", Names: true,
	})
	return nil
}

func (p paced) measure(ctx context.Context, s *Stand, r *Result, h hop, t, u *Table) error {
	inside, err := s.fewPorts(ctx, p.reuse)
	if err != nil {
		return err
	}
	command, listen, err := s.tierCommand(ctx, h, p.kept == "yes", 0)
	if err != nil {
		return err
	}
	tiers, err := s.start(ctx, spec{
		name: "threetier", address: listen, elsewhere: true, anywhere: true, command: inside.runs(command...),
	})
	if err != nil {
		return err
	}
	bounded, stop := context.WithCancel(ctx)
	taken := make(chan []float64, 1)
	go func() { taken <- watchPorts(bounded, tiers.pid) }()
	said, err := s.finish(ctx, spec{name: "bench", anywhere: true, command: inside.runs(s.Program, "bench",
		"http://"+listen+"/test/1", "--connections", "16", "--rate", strconv.Itoa(duePaced), "--duration", p.length.String(),
		"--json", "-")})
	stop()
	course := <-taken
	if err != nil {
		return err
	}
	var report load.Report
	if err := json.Unmarshal([]byte(said), &report); err != nil {
		return fmt.Errorf("the generator said %q: %w", said, err)
	}
	q, most := report.Requests, 0.0
	for i := range int(p.length / second) {
		if i < len(course) { // a busy machine may miss a second
			u.add([]string{"kept: " + p.kept + ", " + p.reuse, strconv.Itoa(i)}, course[i])
		}
	}
	for _, n := range course {
		most = max(most, n)
	}
	t.add([]string{p.kept, p.reuse}, float64(q.Due), float64(q.Failed+q.Dropped+q.Left), most,
		milliseconds(report.Latency.P50))
	r.check(q.Due > 0 && q.Good+q.Failed+q.Dropped+q.Left == q.Due, "kept: %s, tcp_tw_reuse %s: %d good, %d failed and "+
		"%d not sent are the %d that were due", p.kept, p.reuse, q.Good, q.Failed, q.Dropped+q.Left, q.Due)
	r.check(len(course) > 1 && most > 0, "kept: %s, tcp_tw_reuse %s: the ports were counted %d times", p.kept, p.reuse,
		len(course))
	return nil
}

// watchPorts counts, now and after each second, the ports of the small range that connections in a process's network
// namespace have at the end that connected.
func watchPorts(ctx context.Context, pid int) (course []float64) {
	again := time.NewTicker(second)
	defer again.Stop()
	for {
		course = append(course, float64(takenPorts(pid)))
		select {
		case <-ctx.Done():
			return course
		case <-again.C:
		}
	}
}

func takenPorts(pid int) int {
	const listening = 0x0A
	ports, heard := map[int]bool{}, map[int]bool{}
	sockets(pid, func(local, remote, state int) {
		if state == listening {
			heard[local] = true
		}
		for _, port := range []int{local, remote} {
			if port >= firstPort && port < firstPort+smallRange {
				ports[port] = true
			}
		}
	})
	for port := range heard {
		delete(ports, port)
	}
	return len(ports)
}

func judgeHop(r *Result) Verdict {
	t, u, v := r.find("all ports"), r.find(burstTable), r.find(pacedTable)
	rate := t.median("rate", "yes") / t.median("rate", "no")
	fewer := t.median("TIME_WAIT", "no") - t.median("TIME_WAIT", "yes")
	why := fmt.Sprintf("Kept connections answer %.2f times the requests in a second and leave %.0f sockets fewer in "+
		"TIME_WAIT. With %d ports and a connection for each request, of a burst %.0f, %.0f and %.0f requests failed with "+
		"tcp_tw_reuse 0, 1 and 2, and %.0f with kept ones; of %.0f at %d a second %.0f, %.0f and %.0f, and %.0f with kept "+
		"ones.", rate, fewer, smallRange, u.median("failed", "no", "0"), u.median("failed", "no", "1"),
		u.median("failed", "no", "2"), u.median("failed", "yes", "0"), v.median("due", "no", "0"), duePaced,
		v.median("failed", "no", "0"), v.median("failed", "no", "1"), v.median("failed", "no", "2"),
		v.median("failed", "yes", "2"))
	if rate > 1 && fewer > 100 && u.median("failed", "no", "0") > 0 && u.median("failed", "yes", "0") == 0 {
		return Verdict{Holds, why}
	}
	if rate > 1 || fewer > 100 {
		return Verdict{Partly, why}
	}
	return Verdict{NoLonger, why}
}
