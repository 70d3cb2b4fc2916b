package proof

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/faults"
)

// A guest is one of many clients, each of which does something else wrong at a time.
type guest struct {
	t      *testing.T
	p      *proxy
	random *rand.Rand
	name   int
	c      *client
	names  []string
}

// TestChaos mixes everything: three upstreams with all faults and restless connections, and clients that vanish, are
// slow, and send several requests at a time. What is asked in order is answered in order, no request comes twice that
// must not, and in the end nothing is left. SEED replays what the clients do, CHAOS is the number of their requests.
func TestChaos(t *testing.T) {
	seed, total := number(t, "SEED", int(time.Now().UnixNano()%1_000_000)), number(t, "CHAOS", scaled(2000))
	t.Logf("SEED=%d", seed)
	before := measure(t)
	var upstreams []*faults.Server
	var to []string
	for n := range 3 {
		s := upstreamOf(t, faults.Options{Idle: restless, Tick: time.Millisecond, Record: true, Seed: uint64(seed + n + 1)})
		upstreams, to = append(upstreams, s), append(to, s.Address())
	}
	p := start(t, to, "upstreams.u.eject.failures=off", "timeouts.linger=100ms")
	const guests = 32
	var running sync.WaitGroup
	for name := range guests {
		g := &guest{t: t, p: p, name: name, random: rand.New(rand.NewPCG(uint64(seed), uint64(name)))}
		g.names = slices.DeleteFunc(faults.Names(), func(name string) bool {
			long := strings.Contains(name, "deaf") || strings.Contains(name, "silent") || name == "head-without-end"
			return long // they end with a timeout, and have tests
		})
		running.Go(func() {
			for n := range total / guests {
				g.visit(n)
			}
			g.leave(false)
		})
	}
	running.Wait()
	p.returned()
	p.end()
	for _, s := range upstreams {
		s.Close()
	}
	before.checkGone(t)
	checkOnce(t, upstreams)
}

// checkOnce wants every request that must not be repeated at most once, and nothing but requests.
func checkOnce(t *testing.T, upstreams []*faults.Server) {
	t.Helper()
	seen, all := make(map[string]int), 0
	for _, s := range upstreams {
		for _, r := range s.Requests() {
			all++
			if r.Wrong != "" && !strings.Contains(r.Wrong, "breaks off") {
				t.Errorf("an upstream got what is no request: %s in %.300q", r.Wrong, r.Head)
			}
			if r.Method == "POST" {
				seen[r.Target]++
			}
		}
	}
	for target, times := range seen {
		if times > 1 {
			t.Errorf("POST %s came %d times", target, times)
		}
	}
	t.Logf("the upstreams saw %d requests, %d POSTs among them", all, len(seen))
}

// leave ends the connection.
func (g *guest) leave(abruptly bool) {
	if g.c != nil {
		if abruptly {
			resetting(g.c)
		}
		_ = g.c.Close()
		g.c = nil
	}
}

// visit does one thing.
func (g *guest) visit(n int) {
	if g.c == nil {
		g.c = g.p.dial()
	}
	_ = g.c.SetDeadline(time.Now().Add(patience))
	switch g.random.IntN(10) {
	case 0: // asks and does not wait
		_, _ = io.WriteString(g.c.Conn, g.request("GET", fmt.Sprintf("/bytes/%d", g.random.IntN(3_000_000)), 0))
		g.leave(g.random.IntN(2) == 0)
	case 1: // leaves within a body
		text := g.request("POST", g.target("post", n, 0), 1+g.random.IntN(100_000))
		_, _ = io.WriteString(g.c.Conn, text[:len(text)-1-g.random.IntN(min(len(text)-60, 5000))])
		g.leave(g.random.IntN(2) == 0)
	case 2, 3, 4: // meets a fault
		method := []string{"GET", "POST"}[g.random.IntN(2)] // to HEAD, late content would be an answer to another request
		target := "/fault/" + g.names[g.random.IntN(len(g.names))] + "?" + fmt.Sprintf("%d-%d", g.name, n)
		_, _ = io.WriteString(g.c.Conn, g.request(method, target, g.random.IntN(3)*1000))
		if a, err := g.read(method); err != nil || a.broken != nil || a.Close {
			g.leave(false)
		}
	default: // asks for something, or for several things one behind the other
		g.ask(n, 1+g.random.IntN(4))
	}
}

// target is one that nobody else asks for.
func (g *guest) target(kind string, n, k int) string {
	return fmt.Sprintf("/%s/%d/%d/%d", kind, g.name, n, k)
}

// request is one with so much content, in one of the two framings.
func (g *guest) request(method, target string, size int) string {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: proof\r\n", method, target)
	content := strings.Repeat("x", size)
	switch {
	case size == 0:
		return head + "\r\n"
	case g.random.IntN(2) == 0:
		return head + length(content) + content
	}
	return head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, content)
}

// ask sends some requests at once and wants the answers in their order.
func (g *guest) ask(n, several int) {
	var text strings.Builder
	var methods, wants []string
	for k := range several {
		method, size := []string{"GET", "PUT", "DELETE", "POST"}[g.random.IntN(4)], 0
		if method == "PUT" || method == "POST" {
			size = g.random.IntN(20_000)
		}
		target := g.target("plain", n, k)
		text.WriteString(g.request(method, target, size))
		methods, wants = append(methods, method), append(wants, fmt.Sprintf("%s %s %d\n", method, target, size))
	}
	sent := make(chan struct{})
	c := g.c
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c.Conn, text.String())
	}()
	defer func() { <-sent }()
	for k, want := range wants {
		a, err := g.read(methods[k])
		switch {
		case err != nil || a.broken != nil:
			g.t.Errorf("%q: no answer: %v", want, err)
			g.leave(true)
			return
		case a.StatusCode == 502 && methods[k] == "POST" && strings.Contains(a.Header.Get("Proxy-Status"), "stale_link"):
		case a.StatusCode != 200 || a.content != want:
			g.t.Errorf("%q: another answer: %d %.60q %q", want, a.StatusCode, a.content, a.Header.Get("Proxy-Status"))
		}
		if a.Close {
			g.leave(false) // those behind it are not answered
			return
		}
	}
}

// read reads one final answer.
func (g *guest) read(method string) (*answer, error) {
	a, err := g.c.answer(method)
	for err == nil && a.StatusCode < 200 {
		a, err = g.c.answer(method)
	}
	return a, err
}
