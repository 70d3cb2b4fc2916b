package servetest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

const (
	childVariable    = "MYRIAD_SERVETEST_CHILD"
	spareDescriptors = 10
	crowd            = 24 // more clients than there are descriptors
)

// descriptorsRunOut serves in a child process with a few descriptors to spare: running out of them in the process of
// the tests would be everybody's trouble.
func descriptorsRunOut(t *testing.T, s Suite) {
	if os.Getenv(childVariable) != "" {
		serveStarved(t, s)
		return
	}
	if s.AtOnce < 2 {
		t.Skip("a model that serves one connection at a time cannot run out of descriptors")
	}
	command := exec.Command(os.Args[0], "-test.run="+exactly(t.Name()), "-test.count=1")
	command.Env = append(os.Environ(), childVariable+"=1")
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	for ; err == nil && !strings.HasPrefix(line, "address "); line, err = lines.ReadString('\n') {
	}
	if err != nil {
		t.Errorf("the child did not say where it serves: %v", err)
	} else {
		address := strings.TrimSpace(strings.TrimPrefix(line, "address "))
		crowdIdle(t, address)
		crowdBusy(t, address, command.Process.Pid)
		crowdIdle(t, address)
	}
	_ = in.Close() // ends the child
	rest, _ := io.ReadAll(lines)
	if err := command.Wait(); err != nil {
		t.Errorf("the child: %v\n%s%s", err, line, rest)
	}
}

// exactly is the pattern that selects one test by its name.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// serveStarved is the child: an echo whose clients say whether they will be idle.
func serveStarved(t *testing.T, s Suite) {
	v := start(t, s, func(site *serve.Site) { site.Limits.Drain = time.Second }, same(script{
		received: func(c conn.Conn, in []byte) int {
			c.SetIdle(string(in) == "idle")
			c.Write(in)
			return len(in)
		},
	}))
	// The limit is on the number of a new descriptor, and the numbers in use may have gaps.
	below := 0
	for spare := 0; spare < spareDescriptors; below++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/self/fd/%d", below)); err != nil {
			spare++
		}
	}
	_, hard, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.SetLimit(sys.LimitDescriptors, uint64(below), hard); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("address %s\n", v.address.Address)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
	if err := sys.SetLimit(sys.LimitDescriptors, hard, hard); err != nil {
		t.Fatal(err)
	}
	v.stop()
}

// greet connects and makes one exchange.
func greet(address, word string, limit time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err = c.Write([]byte(word)); err == nil {
		_, err = io.ReadFull(c, make([]byte, len(word)))
	}
	return c, err
}

// crowdIdle opens more idle connections than there are descriptors: each is served, because older ones make room.
func crowdIdle(t *testing.T, address string) {
	t.Helper()
	for i := range crowd {
		c, err := greet(address, "idle", patience)
		if c != nil {
			defer func() { _ = c.Close() }()
		}
		if err != nil {
			t.Errorf("idle connection %d: %v", i, err)
			return
		}
	}
}

// crowdBusy opens more connections at work than there are descriptors: those beyond wait, none is lost, and the process
// does not spin meanwhile.
func crowdBusy(t *testing.T, address string, process int) {
	t.Helper()
	type result struct {
		c   net.Conn
		err error
	}
	results := make(chan result, crowd)
	for range crowd {
		go func() {
			c, err := greet(address, "busy", 3*patience)
			results <- result{c, err}
		}()
	}
	var open []net.Conn
	progress := time.Now() // the last
	for done := 0; done < crowd; {
		before, began := processorTime(t, process), time.Now()
		select {
		case r := <-results:
			done++
			progress = time.Now()
			if r.err != nil {
				t.Errorf("busy connection: %v", r.err)
			}
			if r.c != nil {
				open = append(open, r.c)
			}
			continue
		case <-time.After(300 * time.Millisecond):
		}
		if used, took := processorTime(t, process)-before, time.Since(began); used > took/2 {
			t.Errorf("the process used %v of processor time in %v of waiting", used, took)
		}
		if len(open) == 0 && time.Since(progress) > patience {
			t.Errorf("%d of %d connections were served, and no more", done, crowd)
			break
		}
		for _, c := range open {
			_ = c.Close()
		}
		open = open[:0]
	}
	for _, c := range open {
		_ = c.Close()
	}
}

// processorTime is what a process has used, in the kernel's ticks of 10 ms; see proc_pid_stat(5).
func processorTime(t *testing.T, process int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
