package upgrade

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// namesDatagrams answers a datagram with where it came from, and what it said.
func namesDatagrams(t *testing.T) net.PacketConn {
	t.Helper()
	far, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(func() { _ = far.Close(); group.Wait() })
	group.Go(func() {
		p := make([]byte, 100)
		for {
			n, from, err := far.ReadFrom(p)
			if err != nil {
				return
			}
			_, _ = far.WriteTo(fmt.Appendf(nil, "%s %s", from, p[:n]), from)
		}
	})
	return far
}

// asker is a client of datagrams, which asks one thing after the other.
type asker struct {
	net.Conn
	turns atomic.Int64
	name  string // what the server calls it
}

// ask asks one thing. A datagram may get lost: what is not answered soon is asked again.
func (a *asker) ask(n int) (name string, err error) {
	answer := make([]byte, 100)
	for range 10 {
		if _, err = fmt.Fprint(a, n); err != nil {
			return "", err
		}
		_ = a.SetReadDeadline(time.Now().Add(patience / 10))
		var got int
		if got, err = a.Read(answer); err == nil {
			var said int
			_, err = fmt.Sscan(string(answer[:got]), &name, &said)
			if err == nil && said != n {
				err = fmt.Errorf("the answer to %d is %q", n, answer[:got])
			}
			return name, err
		}
	}
	return "", err
}

// TestDatagramsAlone upgrades a server that has nothing but sessions of datagrams, under traffic: every client keeps
// its session, and every question its answer.
func TestDatagramsAlone(t *testing.T) {
	for _, driver := range []string{"epoll", "uring"} {
		t.Run(driver, func(t *testing.T) { datagramsAlone(t, driver) })
	}
}

func datagramsAlone(t *testing.T, driver string) {
	far := namesDatagrams(t)
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := fmt.Sprintf("engine: {driver: %s, loops: 2}\nlisteners:\n"+
		"  - {address: \"udp://127.0.0.1:0\", protocol: udp, to: [\"%s\"]}\n", driver, far.LocalAddr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := launch(t, "serve", "--config", file)
	address, _ := strings.CutPrefix(s.URLs()[0], "udp://")
	done := make(chan struct{})
	var group sync.WaitGroup
	end := sync.OnceFunc(func() { close(done); group.Wait() })
	defer end()
	askers := make([]*asker, 20)
	for i := range askers {
		c, err := net.Dial("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		a := &asker{Conn: c}
		askers[i] = a
		if a.name, err = a.ask(0); err != nil {
			t.Fatalf("%v\n%s", err, s.Log)
		}
		group.Go(func() {
			defer c.Close()
			for n := 1; ; n++ {
				if name, err := a.ask(n); err != nil || name != a.name {
					t.Errorf("a client was %s and is %q, %v", a.name, name, err)
					return
				}
				a.turns.Add(1)
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for time := range 3 {
		s.Await(t, "msg=stopped", time)
		if moved := s.upgrade(t, ""); moved.Tally.Moved != len(askers) || moved.Left != 0 {
			t.Errorf("moved %+v", moved)
		}
	}
	for _, a := range askers {
		was := a.turns.Load()
		for limit := time.Now().Add(patience); a.turns.Load() == was && !t.Failed(); {
			if time.Now().After(limit) {
				t.Fatalf("a client is not answered any more\n%s", s.Log)
			}
		}
	}
	end()
}

// TestDatagramsOfOneKilled kills a worker after the one that is to take over from it has begun: that one has left the
// datagrams to it, and takes them then.
func TestDatagramsOfOneKilled(t *testing.T) {
	far := namesDatagrams(t)
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := fmt.Sprintf("engine: {processes: 1}\nlisteners:\n"+
		"  - {address: \"udp://127.0.0.1:0\", protocol: udp, to: [\"%s\"]}\n", far.LocalAddr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const ready = `msg="worker is ready"`
	s := launch(t, "serve", "--config", file)
	s.Await(t, ready, 1)
	workers := s.Members()
	address, _ := strings.CutPrefix(s.URLs()[0], "udp://")
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := &asker{Conn: c}
	if a.name, err = a.ask(0); err != nil {
		t.Fatal(err)
	}
	s.Signal(t, syscall.SIGUSR2)
	s.Await(t, ready, 2)
	for _, pid := range workers {
		if pid != s.Process.Pid {
			apptest.Tell(syscall.SIGKILL, pid)
		}
	}
	name, err := a.ask(1)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Log)
	}
	if again, err := a.ask(2); err != nil || again != name {
		t.Errorf("a client was %s and is %s, %v", name, again, err)
	}
}

// TestDatagramsScaled has workers come and go whose sockets outlive them: each client keeps its session, whoever serves
// the socket that the kernel has for it.
func TestDatagramsScaled(t *testing.T) {
	for _, driver := range []string{"epoll", "uring"} {
		t.Run(driver, func(t *testing.T) { datagramsScaled(t, driver) })
	}
}

func datagramsScaled(t *testing.T, driver string) {
	far := namesDatagrams(t)
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := fmt.Sprintf("engine: {processes: 4, driver: %s}\nlisteners:\n"+
		"  - {address: \"udp://127.0.0.1:0\", protocol: udp, to: [\"%s\"]}\n", driver, far.LocalAddr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := launch(t, "serve", "--config", file)
	address, _ := strings.CutPrefix(s.URLs()[0], "udp://")
	askers := make([]*asker, 20)
	for i := range askers {
		c, err := net.Dial("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		askers[i] = &asker{Conn: c}
		if askers[i].name, err = askers[i].ask(0); err != nil {
			t.Fatalf("%v\n%s", err, s.Log)
		}
	}
	workers, ready, ended, back := 4, 4, 0, 0
	for _, next := range []int{3, 2, 1, 4, 2, 1, 3} {
		query := url.Values{"workers": {strconv.Itoa(next)}}
		if err := s.ask("POST", "/v1/scale", query, nil); err != nil {
			t.Fatalf("%v\n%s", err, s.Log)
		}
		for round := range 2 { // while it goes on, and afterwards
			for _, a := range askers {
				if name, err := a.ask(round); err != nil || name != a.name {
					t.Errorf("%d to %d workers: a client was %s and is %q, %v\n%s", workers, next, a.name, name, err, s.Log)
					return
				}
			}
			if round > 0 {
				break
			}
			ready, ended = ready+max(next-workers, 0), ended+max(workers-next, 0)
			back += max(next-workers, 0)
			s.Await(t, `msg="worker is ready"`, ready)
			s.Await(t, `msg="worker has ended"`, ended)
			s.Await(t, `msg="gave the sockets of a seat back"`, back)
		}
		workers = next
	}
}
