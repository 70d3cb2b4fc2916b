package proof

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/faults"
)

// number is what the environment says, or otherwise.
var number = apptest.Number

// scaled is less under the race detector, with which everything takes several times as long.
func scaled(n int) int {
	if raceDetector {
		return n / 5
	}
	return n
}

// restless are the ends of idle connections that no proxy can foresee: at random, some at the very moment at which a
// request comes, half of them by reset.
var restless = faults.Idle{Share: 0.2, To: 3 * time.Millisecond, Late: 0.02, Reset: 0.5}

// TestStaleConnections sends requests that are safe to send again, over an upstream that ends its idle connections at
// random. Not one of them may fail. REQUESTS=1000000 sends as many.
func TestStaleConnections(t *testing.T) {
	total := number(t, "REQUESTS", scaled(20_000))
	s := upstreamOf(t, faults.Options{Idle: restless, Seed: 42})
	p := start(t, []string{s.Address()}, "access_log.format=off")
	const clients = 16
	methods := []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "GET"}
	var next, failures atomic.Int64
	begun := time.Now()
	var running sync.WaitGroup
	for range clients {
		c := p.dial()
		_ = c.SetDeadline(time.Time{})
		running.Go(func() {
			for n := next.Add(1); n <= int64(total); n = next.Add(1) {
				if err := ask(c, methods[n%int64(len(methods))], n); err != nil {
					failures.Add(1)
					t.Errorf("request %d: %v", n, err)
					return
				}
			}
		})
	}
	running.Wait()
	p.returned()
	n := s.Counts()
	if failures.Load() == 0 && n.Requests != int64(total) {
		t.Errorf("%d requests became %d", total, n.Requests)
	}
	if n.Ended < int64(total)/100 {
		t.Errorf("only %d connections ended", n.Ended)
	}
	t.Logf("%d requests in %v, %d failed; %d connections, %d of them ended between requests; %v",
		total, time.Since(begun).Round(time.Millisecond), failures.Load(), n.Connections, n.Ended,
		p.Status().Upstreams[0].Counts)
}

// ask sends a request with a number and expects the answer to it.
func ask(c *client, method string, n int64) error {
	content, length := "\r\n", 0
	if method == "PUT" {
		content, length = "Content-Length: 5\r\n\r\n12345", 5
	}
	if _, err := fmt.Fprintf(c.Conn, "%s /%d HTTP/1.1\r\nHost: proof\r\n%s", method, n, content); err != nil {
		return err
	}
	a, err := c.answer(method)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%s /%d %d\n", method, n, length)
	if method == "HEAD" {
		want = ""
	}
	if a.StatusCode != 200 || a.broken != nil || a.content != want {
		return fmt.Errorf("%s: %d %q %v %v", method, a.StatusCode, a.content, a.broken, a.Header["Proxy-Status"])
	}
	return nil
}

// TestNeverTwice sends requests that must not be repeated over the same upstream: some fail, and the client is told;
// none comes to the upstream twice.
func TestNeverTwice(t *testing.T) {
	t.Run("plain", func(t *testing.T) { neverTwice(t) })
	t.Run("evidence", func(t *testing.T) { neverTwice(t, "upstreams.u.evidence=true") })
}

func neverTwice(t *testing.T, lines ...string) {
	total, clients := int64(scaled(4000)), 8
	s := upstreamOf(t, faults.Options{Idle: restless, Record: true, Seed: 43})
	p := start(t, []string{s.Address()}, lines...)
	before := p.before
	var next, good, told atomic.Int64
	var running sync.WaitGroup
	for worker := range clients {
		c := p.dial()
		method := []string{"POST", "PATCH", "TAKE"}[worker%3]
		running.Go(func() {
			for n := next.Add(1); n <= total; n = next.Add(1) {
				_, _ = fmt.Fprintf(c.Conn, "%s /%d HTTP/1.1\r\nHost: proof\r\nContent-Length: 2\r\n\r\nhi", method, n)
				a, err := c.answer(method)
				switch {
				case err != nil || a.broken != nil:
					t.Errorf("request %d: no answer: %v", n, err)
					return
				case a.StatusCode == 200 && a.content == fmt.Sprintf("%s /%d 2\n", method, n):
					good.Add(1)
				case a.StatusCode == 502 && strings.Contains(a.Header.Get("Proxy-Status"), "stale_link"):
					told.Add(1)
				default:
					t.Errorf("request %d: %d %q %q", n, a.StatusCode, a.content, a.Header.Get("Proxy-Status"))
				}
			}
			_ = c.Close()
		})
	}
	running.Wait()
	p.end()
	s.Close()
	before.checkGone(t)
	seen := make(map[string]int)
	for _, r := range s.Requests() {
		if r.Wrong == "" {
			seen[r.Target]++
		}
	}
	for target, times := range seen {
		if times != 1 {
			t.Errorf("the upstream got %s %d times", target, times)
		}
	}
	if lost := total - good.Load() - told.Load(); lost != 0 || int64(len(seen)) < good.Load() {
		t.Errorf("%d sent, %d answered, %d refused, %d seen", total, good.Load(), told.Load(), len(seen))
	}
	stale := int64(0)
	for _, r := range p.logged() {
		if r.Cause == "stale_link" {
			stale++
		}
	}
	if stale != told.Load() {
		t.Errorf("the log tells of %d stale links, the clients of %d", stale, told.Load())
	}
	t.Logf("%d of %d met a connection that was ending, and were told", told.Load(), total)
}
