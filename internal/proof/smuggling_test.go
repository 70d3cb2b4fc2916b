package proof

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/faults"
)

// mark gives an ambiguous request targets of its own.
func (a *ambiguous) mark(number int) string {
	text := strings.ReplaceAll(a.text, "TARGET", fmt.Sprintf("/echo/%d", number))
	return strings.ReplaceAll(text, "/smuggled", fmt.Sprintf("/echo/%d/smuggled", number))
}

// numberOf is the number that mark put into a target; -1: none.
func numberOf(target string) int {
	number := -1
	if _, rest, ok := strings.Cut(target, "/echo/"); ok {
		_, _ = fmt.Sscanf(rest, "%d", &number)
	}
	return number
}

// TestSmuggling sends ambiguous requests to a strict upstream that records what it gets. What is ambiguous is refused,
// and what is not becomes as many requests behind the proxy as before it.
func TestSmuggling(t *testing.T) {
	before := measure(t)
	s := upstreamOf(t, faults.Options{Record: true})
	p := start(t, []string{s.Address()}, "timeouts.head=2s", "timeouts.body=2s", "upstreams.u.retries.attempts=off",
		"upstreams.u.client_end=finish")
	all := corpus()
	if len(all) < 150 {
		t.Errorf("there are %d only", len(all))
	}
	sendAll(t, p, all)
	p.end()
	s.Close()
	before.checkGone(t)
	complete, partial := make(map[int]int), make(map[int]int)
	for _, r := range s.Requests() {
		n := numberOf(r.Target)
		switch {
		case r.Wrong != "":
			t.Errorf("%s: the upstream got what is no request: %s in %q", nameOf(all, n), r.Wrong, r.Head)
		case r.Get("X-Forwarded-For") != "127.0.0.1" || strings.Contains(r.Get("Upgrade"), "h2c"):
			t.Errorf("%s: the upstream got %q", nameOf(all, n), r.Head)
		case r.Complete:
			complete[n]++
		default:
			partial[n]++
		}
	}
	proxied := make(map[int]int)
	for _, r := range p.logged() {
		if r.Upstream != "" {
			proxied[numberOf(r.Target)]++
		}
	}
	for n := range all {
		a := &all[n]
		switch {
		case a.passes == cut:
			if complete[n] > 0 || partial[n] > 1 || proxied[n] != 1 {
				t.Errorf("%s: the proxy passed on %d, the upstream saw %d and %d parts",
					a.name, proxied[n], complete[n], partial[n])
			}
		case complete[n]+partial[n] > proxied[n]: // fewer, where the end came before anything had left
			t.Errorf("%s: the proxy passed on %d, the upstream saw %d and %d parts",
				a.name, proxied[n], complete[n], partial[n])
		case a.passes == 0 && complete[n] > 0:
			t.Errorf("%s: it should have been refused, and %d came through", a.name, complete[n])
		case a.passes > 0 && proxied[n] != a.passes:
			t.Errorf("%s: %d came through, not %d", a.name, proxied[n], a.passes)
		}
	}
	if ordinary := proxied[-1]; ordinary != len(all) || complete[-1] != len(all) {
		t.Errorf("%d ordinary requests: the proxy passed on %d, the upstream saw %d", len(all), ordinary, complete[-1])
	}
	t.Logf("%d ambiguous requests; %d of them passed on in whole, %d in part", len(all), len(complete)-1, len(partial))
}

func nameOf(all []ambiguous, n int) string {
	if n < 0 {
		return "an ordinary request"
	}
	return all[n].name
}

// TestSmugglingPast sends them past the proxy to servers that people run. None may see a request that the proxy did not
// see, and between them ordinary requests must get their own answers.
func TestSmugglingPast(t *testing.T) {
	folder := folderOf(t)
	for _, kind := range backends {
		if kind.name == "gunicorn" {
			continue // as a server it is covered by Python's: what differs is how it reads
		}
		t.Run(kind.name, func(t *testing.T) {
			b := kind.start(t, folder)
			p := start(t, []string{b.address}, "timeouts.head=2s", "timeouts.body=2s", "upstreams.u.retries.attempts=off")
			all := corpus()
			sendAll(t, p, all)
			p.end()
			allowed := make(map[string]int)
			for _, r := range p.logged() {
				if r.Upstream != "" {
					allowed[r.Method+" "+originForm(r.Target)] += r.Attempts
				}
			}
			seen := make(map[string]int)
			for _, request := range b.seen() {
				if strings.Contains(request, " /") { // Python's log also quotes where exceptions come from
					seen[request]++
				}
			}
			if len(seen) < 50 {
				t.Errorf("the upstream saw %d requests only", len(seen))
			}
			for _, request := range slices.Sorted(maps.Keys(seen)) {
				_, target, _ := strings.Cut(request, " ")
				if most := allowed[request]; seen[request] > most {
					t.Errorf("%s: the upstream saw %q %d times, the proxy %d times",
						nameOf(all, numberOf(target)), request, seen[request], most)
				}
			}
		})
	}
}

// originForm is the target as an upstream gets it.
func originForm(target string) string {
	if rest, ok := strings.CutPrefix(target, "http://"); ok {
		_, path, _ := strings.Cut(rest, "/")
		return "/" + path
	}
	return target
}

// sendAll sends all of them, each over a connection of its own, and asks what is plain in between.
func sendAll(t *testing.T, p *proxy, all []ambiguous) {
	t.Helper()
	numbers := make(chan int)
	var running sync.WaitGroup
	for range 8 {
		probe := p.dial()
		_ = probe.SetDeadline(time.Time{})
		running.Go(func() {
			for n := range numbers {
				sendOne(t, p, all[n].mark(n))
				target := fmt.Sprintf("/echo/ordinary/%d", n)
				probe.send("GET " + target + " HTTP/1.1\r\nHost: proof\r\n\r\n")
				a, err := probe.answer("GET")
				if err != nil || a.broken != nil {
					t.Errorf("after %s: no answer to an ordinary request: %v", all[n].name, err)
					return
				}
				if a.StatusCode != http.StatusNotFound && !strings.Contains(a.content, target) {
					t.Errorf("after %s: an ordinary request got %d %q", all[n].name, a.StatusCode, a.content)
				}
			}
			_ = probe.Close()
		})
	}
	for n := range all {
		numbers <- n
	}
	close(numbers)
	running.Wait()
}

// sendOne sends a text and waits for the end of what comes back.
func sendOne(t *testing.T, p *proxy, text string) {
	t.Helper()
	c := p.dial()
	_, _ = io.WriteString(c.Conn, text) // it may be refused before it is whole
	_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
	if _, err := io.Copy(io.Discard, c.r); err != nil && !isReset(err) {
		t.Errorf("the connection does not end: %v after %.200q", err, text)
	}
	_ = c.Close()
}
