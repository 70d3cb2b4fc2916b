package lasting

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// ownText is how the server's own answers begin.
const ownText = "own answer "

// A stand is a server with everything before and behind it.
type stand struct {
	t       testing.TB
	driver  string
	lines   string
	behind  *upstreams
	server  *server
	ledger  *ledger
	clients []*client
	crowds  []*crowd

	web, tunnels, datagrams, extra string // addresses

	group sync.WaitGroup
	stop  <-chan struct{} // clients are to end
	over  context.Context // ends with stop
	end   context.CancelFunc

	mu     sync.Mutex
	passed chan struct{} // closed when something has been done to the server
}

func newStand(t testing.TB, driver, lines string) *stand {
	t.Helper()
	s := &stand{
		t: t, driver: driver, lines: lines, behind: startUpstreams(t), ledger: new(ledger), passed: make(chan struct{}),
		web: address(), tunnels: address(), datagrams: address(), extra: address(),
	}
	s.over, s.end = context.WithCancel(context.Background())
	s.stop = s.over.Done()
	t.Cleanup(func() {
		s.end()
		for _, c := range s.crowds {
			c.cancel()
		}
		s.group.Wait()
	})
	s.server = serve(t, s.configuration(-1))
	serving(t, s.server)
	return s
}

// configuration is that of a time: what it answers, a listener and an upstream change, and nothing else.
func (s *stand) configuration(time int) string {
	var text strings.Builder
	fmt.Fprintf(&text, `
listeners:
  - address: %s
  - {address: %s, protocol: tcp, to: ["%s"]}
  - {address: "udp://%s", protocol: udp, to: ["%s"]}
`, s.web, s.tunnels, s.behind.tunnel.Addr(), s.datagrams, s.behind.udp.LocalAddr())
	if time%2 == 0 {
		fmt.Fprintf(&text, "  - address: %s\n", s.extra)
	}
	fmt.Fprintf(&text, `
routes:
  - {path: /own, respond: {body: "%s%d\n"}}
  - {prefix: /other/, proxy: {upstream: other}}
  - {proxy: {upstream: app}}
upstreams:
  app: {to: ["%s"], timeouts: {tunnel: 1h}}
  other: {to: ["127.0.0.1:%d"]}
timeouts: {idle: 1h, head: 1h, drain: 30s}
admin: unix:%s
access_log: {format: off}
engine:
  driver: %s
  loops: 2
%s
`, ownText, time, s.behind.web.Listener.Addr(), 1+time%2+1, "admin.sock", s.driver, s.lines)
	return text.String()
}

// begin starts all clients and returns when each has been served.
func (s *stand) begin() {
	s.t.Helper()
	s.ledger.now("the beginning")
	for _, k := range kinds(
		number(s.t, "IDLE", 500), number(s.t, "HALVES", 20), number(s.t, "WEBSOCKETS", 50), number(s.t, "TUNNELS", 50),
		number(s.t, "SESSIONS", 20),
	) {
		for n := range k.count {
			s.clients = append(s.clients, &client{kind: k, number: n})
		}
	}
	for _, c := range s.clients {
		s.group.Go(func() { c.run(s) })
	}
	s.crowds = startCrowds(s)
	for _, c := range s.clients {
		s.awaitClient(c, 1, 1)
	}
	for _, c := range s.crowds {
		c.awaitMore(s.t)
	}
}

// awaitClient waits until a client has made connections, and exchanges if it makes any by itself.
func (s *stand) awaitClient(c *client, made, exchanges int64) {
	s.t.Helper()
	await(s.t, func() bool {
		return c.made.Load() >= made && (c.kind.patient || c.exchanges.Load() >= exchanges)
	}, func() string {
		return fmt.Sprintf("%s %d: %d exchanges\n%s\n%s", c.kind.name, c.number, exchanges, s.ledger, s.server.Log)
	})
}

// step is closed when what is being done to the server has been done.
func (s *stand) step() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passed
}

// stepped says that something has been done, and waits until every client has been served since.
func (s *stand) stepped() {
	s.t.Helper()
	s.mu.Lock()
	close(s.passed)
	s.passed = make(chan struct{})
	s.mu.Unlock()
	more := make([]int64, len(s.clients))
	for i, c := range s.clients {
		more[i] = c.exchanges.Load() + 1
	}
	for i, c := range s.clients {
		s.awaitClient(c, 1, more[i])
	}
	for _, c := range s.crowds {
		c.awaitMore(s.t)
	}
}

func (s *stand) stopping() bool { return s.over.Err() != nil }

// finish ends all clients, each after its last check.
func (s *stand) finish() {
	s.t.Helper()
	for _, c := range s.crowds {
		c.finish(s)
	}
	s.end()
	done := make(chan struct{})
	go func() {
		s.group.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		s.t.Fatalf("the clients do not end\n%s\n%s", s.ledger, s.server.Log)
	}
}
