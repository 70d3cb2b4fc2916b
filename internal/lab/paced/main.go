// Command paced measures what a request costs a server at low load: one request at a time, at a fixed rate, over
// connections taken in turn. The processor time of the server's process tree is the figure; servers are measured
// in rounds whose order rotates, and each is compared with the first within its round.
//
//	taskset -c 1 go run ./internal/lab/paced --rate 5000 --conns 64 \
//		nginx='nginx -c /tmp/nginx.conf -g "daemon off;"' \
//		myriad='bin/myriad serve --listen 127.0.0.1:{port} --respond hello'
//
// Each command listens on 127.0.0.1 at the port put in place of {port}, stays in the foreground, and answers GET /.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is one process under measurement.
type server struct {
	name    string
	address string
	command *exec.Cmd
	tree    []int
	costs   []float64 // microseconds of processor time a request, one a round
	ratios  []float64
	delays  []time.Duration
}

func main() {
	rate := flag.Int("rate", 5000, "requests a second")
	conns := flag.Int("conns", 64, "connections, used in turn")
	seconds := flag.Int("seconds", 3, "length of one measurement")
	rounds := flag.Int("rounds", 5, "measurements of each server")
	port := flag.Int("port", 21500, "port of the first server; the others follow")
	core := flag.String("core", "0", "processor of the servers; the client should run on another (taskset)")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "paced: name at least one server: name='command with {port}'")
		os.Exit(2)
	}
	if err := run(*rate, *conns, *rounds, *port, time.Duration(*seconds)*time.Second, *core, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "paced:", err)
		os.Exit(1)
	}
}

func run(rate, conns, rounds, port int, length time.Duration, core string, commands []string) error {
	var servers []*server
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	for i, c := range commands {
		s, err := start(c, port+i, core)
		if s != nil {
			servers = append(servers, s)
		}
		if err != nil {
			return err
		}
	}
	for round := range rounds {
		costs := make(map[*server]float64)
		for i := range servers {
			s := servers[(i+round)%len(servers)]
			cost, err := s.measure(rate, conns, length)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			costs[s] = cost
		}
		for _, s := range servers {
			s.costs = append(s.costs, costs[s])
			s.ratios = append(s.ratios, costs[s]/costs[servers[0]])
		}
	}
	fmt.Printf("%d requests a second over %d connections, one at a time; %d rounds of %v\n", rate, conns, rounds, length)
	fmt.Printf("%-16s %-28s %-26s %s\n", "server", "CPU us/request (min..max)", "ratio (min..max)", "p50 / p99")
	for _, s := range servers {
		slices.Sort(s.delays)
		fmt.Printf("%-16s %-28s %-26s %v / %v\n", s.name, spread(s.costs, "%.1f"), spread(s.ratios, "%.2f"),
			s.delays[len(s.delays)/2], s.delays[len(s.delays)*99/100])
	}
	return nil
}

// spread prints the median and the range.
func spread(values []float64, format string) string {
	sorted := slices.Sorted(slices.Values(values))
	return fmt.Sprintf(format+" ("+format+".."+format+")", sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1])
}

func start(named string, port int, core string) (*server, error) {
	name, command, ok := strings.Cut(named, "=")
	if !ok {
		return nil, fmt.Errorf("%q is not name=command", named)
	}
	s := &server{name: name, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	command = strings.ReplaceAll(command, "{port}", strconv.Itoa(port))
	s.command = exec.Command("taskset", "-c", core, "sh", "-c", "exec "+command)
	s.command.Stderr = os.Stderr
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("%s does not listen on %s", name, s.address)
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.tree = tree(s.command.Process.Pid)
	return s, nil
}

func (s *server) stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM)
	_ = s.command.Wait()
}

// tree is a process and its children.
func tree(root int) []int {
	found := []int{root}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", root))
	for _, t := range tasks {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", root, t.Name()))
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				found = append(found, tree(pid)...)
			}
		}
	}
	return found
}

// used is the processor time of the tree so far, from the scheduler's own count, threads that ended included.
func (s *server) used() (time.Duration, error) {
	var total time.Duration
	for _, pid := range s.tree {
		t, err := processTime(pid)
		if err != nil {
			return 0, err
		}
		total += t
	}
	return total, nil
}

func (s *server) measure(rate, conns int, length time.Duration) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	clients := make([]net.Conn, conns)
	for i := range clients {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		clients[i] = c
	}
	request := []byte("GET / HTTP/1.1\r\nHost: " + s.address + "\r\n\r\n")
	answer := make([]byte, 4096)
	exchange := func(c net.Conn) error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		n, err := c.Read(answer)
		if err == nil && (n < 12 || string(answer[9:12]) != "200") {
			err = fmt.Errorf("unexpected answer %q", answer[:n])
		}
		return err
	}
	for _, c := range clients {
		if err := exchange(c); err != nil && err != io.EOF {
			return 0, err
		}
	}
	gap := time.Second / time.Duration(rate)
	count := int(length / gap)
	before, err := s.used()
	if err != nil {
		return 0, err
	}
	next := time.Now()
	for i := range count {
		pause(time.Until(next))
		began := time.Now()
		if err := exchange(clients[i%conns]); err != nil {
			return 0, err
		}
		s.delays = append(s.delays, time.Since(began))
		next = next.Add(gap)
	}
	after, err := s.used()
	return float64((after - before).Nanoseconds()) / 1e3 / float64(count), err
}
