package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/balance"
)

func TestOptionsThatCannotBe(t *testing.T) {
	one := []EndpointOptions{{Address: "10.0.0.1:80"}}
	for text, o := range map[string]Options{
		"neither ip:port":            {Endpoints: []EndpointOptions{{Address: "10.0.0.1"}}},
		"unix:path":                  {Endpoints: []EndpointOptions{{Address: "unix:relative"}}},
		"65535":                      {Endpoints: []EndpointOptions{{Address: "name:http"}}},
		"every address of a machine": {Endpoints: []EndpointOptions{{Address: "0.0.0.0:80"}}},
		"it has no name":             {Endpoints: []EndpointOptions{{Address: ":80"}}},
		"twice":                      {Endpoints: append(one[:1:1], one...)},
		"weight -1":                  {Endpoints: []EndpointOptions{{Address: "10.0.0.1:80", Weight: -1}}},
		"Connections is negative":    {Endpoints: []EndpointOptions{{Address: "10.0.0.1:80", Connections: -1}}},
		"Pool.Min is 9":              {Endpoints: one, Pool: PoolOptions{Min: 9, Max: 8}},
		"Resolve.Max is less":        {Endpoints: one, Resolve: ResolveOptions{Min: time.Hour, Max: time.Second}},
		"SlowStart is negative":      {Endpoints: one, SlowStart: -1},
		"ConnectTimeout is negative": {Endpoints: one, ConnectTimeout: -1},
		"no address to connect from": {Endpoints: one, Sources: []netip.Addr{{}}},
	} {
		g, err := New(o)
		if err == nil {
			g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error is %v; want it to say %q", err, text)
		}
	}
}

func TestSetEndpoints(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 3, Options{Policy: balance.RoundRobin{}})
	a := g.Agent(m.threads[0])
	of := map[string]*user{}
	for range 3 {
		u := granted(t, a)
		of[u.link.Endpoint.Address()] = u
	}
	stays, goes := of[address(1)].link.Endpoint, of[address(3)].link.Endpoint
	kept, idles, leaves := of[address(1)].line(), of[address(2)].line(), of[address(3)].line()
	of[address(1)].release(a)
	of[address(2)].release(a)
	if err := g.SetEndpoints([]EndpointOptions{{Address: address(4)}, {Address: address(1), Weight: 2}}); err != nil {
		t.Fatal(err)
	}
	m.turn()
	if g.Endpoint(stays.ID()) != stays || g.Endpoint(goes.ID()) != nil {
		t.Error("an endpoint that stays is another, or one that goes is still there")
	}
	if !slices.Contains(m.conns, kept) || slices.Contains(m.conns, idles) || !slices.Contains(m.conns, leaves) {
		t.Errorf("of the idle link that stays, the one that goes, and the leased one that goes %d are left", len(m.conns))
	}
	if state, _ := goes.state(); state != "draining" {
		t.Errorf("an endpoint that goes is %s", state)
	}
	of[address(3)].release(a)
	m.turn()
	if slices.Contains(m.conns, leaves) || len(a.shares) != 2 {
		t.Errorf("what goes is still there after its last use: %d shares", len(a.shares))
	}
	count := map[string]int{}
	for range 6 {
		count[granted(t, a).link.Endpoint.Address()]++
	}
	if count[address(1)] != 4 || count[address(4)] != 2 {
		t.Errorf("links by address: %v", count)
	}
	if err := g.SetEndpoints([]EndpointOptions{{Address: "nonsense"}}); err == nil || len(g.Snapshot().Endpoints) != 2 {
		t.Errorf("an error changed something: %v", err)
	}
	if err := g.SetEndpoints(nil); err != nil {
		t.Fatal(err)
	}
	if u := want(a); u.err != ErrNoEndpoint {
		t.Errorf("without endpoints a want got %v", u.err)
	}
}

// book is a resolver of a test.
type book struct {
	sync.Mutex
	of    map[string][]string
	asked chan struct{}
}

func (b *book) lookup(_ context.Context, host string) (list []netip.Addr, err error) {
	b.Lock()
	defer b.Unlock()
	if b.asked != nil {
		select {
		case b.asked <- struct{}{}:
		default:
		}
	}
	for _, a := range b.of[host] {
		list = append(list, netip.MustParseAddr(a))
	}
	if list == nil {
		return nil, errors.New("no such host")
	}
	return list, nil
}

func (b *book) set(host string, addresses ...string) {
	b.Lock()
	defer b.Unlock()
	b.of[host] = addresses
}

func addressesOf(g *Group) (list []string) {
	for _, e := range g.Snapshot().Endpoints {
		list = append(list, e.Address)
	}
	slices.Sort(list)
	return list
}

// until waits for something that another goroutine does.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	end := time.After(time.Minute)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !so() {
		select {
		case <-again.C:
		case <-end:
			t.Fatalf("it did not come to pass that %s", what)
		}
	}
}

func TestNames(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	b := &book{of: map[string][]string{}, asked: make(chan struct{})}
	b.set("app", "10.5.0.2", "10.5.0.1", "fd00::5", "10.5.0.1")
	b.set("six", "fd00::6")
	g, err := New(Options{
		Endpoints: []EndpointOptions{
			{Address: "app:80"}, {Address: "six:81"}, {Address: "late:82"}, {Address: "10.5.0.9:83"},
		},
		Resolve: ResolveOptions{Min: 5 * time.Millisecond, Max: 20 * time.Millisecond, Lookup: b.lookup},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	is := func(want ...string) func() bool {
		return func() bool { return slices.Equal(addressesOf(g), want) }
	}
	if !is("10.5.0.1:80", "10.5.0.2:80", "10.5.0.9:83", "[fd00::6]:81")() {
		t.Fatalf("the endpoints are %v", addressesOf(g))
	}
	before := g.Endpoint(identify("10.5.0.1:80"))
	b.set("late", "10.5.0.7")
	until(t, "a name is found late", is("10.5.0.1:80", "10.5.0.2:80", "10.5.0.7:82", "10.5.0.9:83", "[fd00::6]:81"))
	b.set("app", "10.5.0.1", "10.5.0.3")
	until(t, "an address changes", is("10.5.0.1:80", "10.5.0.3:80", "10.5.0.7:82", "10.5.0.9:83", "[fd00::6]:81"))
	if g.Endpoint(before.ID()) != before || before.name != "app:80" {
		t.Error("an address that stays is another endpoint")
	}
	b.set("app")
	for range 6 { // each name is asked for
		<-b.asked
	}
	if !is("10.5.0.1:80", "10.5.0.3:80", "10.5.0.7:82", "10.5.0.9:83", "[fd00::6]:81")() {
		t.Errorf("after a failure the endpoints are %v", addressesOf(g))
	}
	if err := g.SetEndpoints([]EndpointOptions{{Address: "six:81"}, {Address: "[fd00::6]:81"}}); err != nil {
		t.Fatal(err)
	}
	if !is("[fd00::6]:81")() {
		t.Errorf("the endpoints are %v", addressesOf(g))
	}
}

// TestNamesThatAreNotFound wants those who ask to be told of the name, and only if there is nothing else.
func TestNamesThatAreNotFound(t *testing.T) {
	b := &book{of: map[string][]string{}}
	o := Options{
		Endpoints: []EndpointOptions{{Address: "app:80"}, {Address: "other:80"}},
		Resolve:   ResolveOptions{Min: 5 * time.Millisecond, Max: 20 * time.Millisecond, Lookup: b.lookup},
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	m := newMachine(1)
	a := g.Agent(m.threads[0])
	var name *NameError
	if u := want(a); !errors.Is(u.err, ErrNoEndpoint) || !errors.As(u.err, &name) || name.Name != "app:80" ||
		!strings.Contains(u.err.Error(), "no such host") {
		t.Errorf("the error is %v", u.err)
	}
	if _, err := a.Choose(new(Want)); !errors.As(err, &name) {
		t.Errorf("the error for datagrams is %v", err)
	}
	if n := g.Snapshot().Counts[DeniedNoEndpoint]; n != 2 {
		t.Errorf("%d denials are counted", n)
	}
	b.set("other", "10.5.0.2")
	until(t, "a name is found", func() bool { return want(a).err == nil })
	if err := g.SetEndpoints(nil); err != nil {
		t.Fatal(err)
	}
	if u := want(a); u.err != ErrNoEndpoint {
		t.Errorf("without endpoints the error is %v", u.err)
	}
}

func TestNameThatIsDoubtedIsLookedUpSooner(t *testing.T) {
	b := &book{of: map[string][]string{"app": {"10.5.0.2"}}}
	g, err := New(Options{
		Endpoints: []EndpointOptions{{Address: "app:80"}},
		Resolve:   ResolveOptions{Min: 5 * time.Millisecond, Max: time.Hour, Lookup: b.lookup},
		random:    func(n int64) int64 { return n - 1 },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	g.mu.Lock()
	n := g.names["app:80"]
	g.mu.Unlock()
	began := time.Now()
	n.doubt()
	n.doubt()
	if !n.rest(t.Context(), time.Hour, time.Millisecond) || time.Since(began) > time.Minute {
		t.Error("a doubt did not end the rest")
	}
	b.set("app", "10.5.0.3")
	m := newMachine(1)
	a := g.Agent(m.threads[0])
	until(t, "another address is found", func() bool {
		if u := want(a); u.err == nil && len(m.conns) > 0 {
			m.conns[0].fail(syscall.ECONNREFUSED)
		}
		m.turn()
		return slices.Equal(addressesOf(g), []string{"10.5.0.3:80"})
	})
}

func TestBothFamilies(t *testing.T) {
	b := &book{of: map[string][]string{"app": {"10.5.0.2", "fd00::5"}}}
	g, err := New(Options{
		Endpoints: []EndpointOptions{{Address: "app:80"}}, Resolve: ResolveOptions{IPv6: true, Lookup: b.lookup},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if list := addressesOf(g); len(list) != 2 {
		t.Errorf("the endpoints are %v", list)
	}
}

func TestTheSystemsResolver(t *testing.T) {
	g, err := New(Options{Endpoints: []EndpointOptions{{Address: "localhost:80"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if list := addressesOf(g); !slices.Contains(list, "127.0.0.1:80") && !slices.Contains(list, "[::1]:80") {
		t.Errorf("localhost is %v", list)
	}
}

// patient is a server of checks whose answer can be changed; no answer: it says nothing.
func patient(t *testing.T, network string, answer *atomic.Pointer[string]) string {
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				line, _ := bufio.NewReader(c).ReadString('\n')
				if text := answer.Load(); text != nil && line == "GET /health HTTP/1.1\r\n" {
					fmt.Fprint(c, *text)
					return
				}
				c.Read(make([]byte, 1)) // until the client gives up
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	if network == "unix" {
		return "unix:" + at
	}
	return l.Addr().String()
}

func TestHealth(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		var answer atomic.Pointer[string]
		say := func(text string) { answer.Store(&text) }
		say("HTTP/1.1 204 No Content\r\n\r\n")
		m := newMachine(1)
		g, err := New(Options{
			Endpoints: []EndpointOptions{{Address: patient(t, network, &answer)}},
			Health: &HealthOptions{
				Path: "/health", Interval: 5 * time.Millisecond, Timeout: 200 * time.Millisecond, Rise: 2, Fall: 2,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		a := g.Agent(m.threads[0])
		u, v := granted(t, a), granted(t, a)
		u.release(a)
		for _, bad := range []string{
			"HTTP/1.1 500 Oh\r\n\r\n", "HTTP/1.1 100", "HTTP", "", "SSH-2.0-OpenSSH_9", "HTTP/1.1 999 ",
		} {
			say(bad)
			until(t, "it is down for "+bad, func() bool { return g.Snapshot().Endpoints[0].State == "down" })
			say("HTTP/1.0 301 Moved\r\n\r\n")
			until(t, "it is up again", func() bool { return g.Snapshot().Endpoints[0].State == "up" })
		}
		answer.Store(nil)
		until(t, "it is down for silence", func() bool { return g.Snapshot().Endpoints[0].State == "down" })
		m.turn()
		if w := want(a); w.err != ErrNoEndpoint {
			t.Errorf("with the endpoint down a want got %v", w.err)
		}
		if len(m.conns) != 1 || v.link == nil {
			t.Errorf("%d connections are left of one idle and one leased", len(m.conns))
		}
		g.Close()
	}
}

// TestChecksOfOneThatIsDown wants an endpoint that is down checked more often than one that is well.
func TestChecksOfOneThatIsDown(t *testing.T) {
	const interval = time.Hour
	g := groupOf(t, 1, Options{Health: &HealthOptions{Interval: interval}})
	e := g.set.Load().endpoints[0]
	for _, c := range []struct {
		status uint32
		want   time.Duration
	}{{0, interval}, {statusEjected, interval}, {statusDown, interval / 5}, {statusDown | statusEjected, interval / 5}} {
		e.status.Store(c.status)
		if wait := e.untilNextCheck(); wait < c.want*9/10 || wait > c.want*11/10 {
			t.Errorf("with the status %b the next check comes after %v, want about %v", c.status, wait, c.want)
		}
	}
}

// TestCheckResetsNothing has an endpoint answer a check at length: it sees an end of the connection, and no error.
func TestCheckResetsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	saw := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			saw <- err
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		_, err = http.ReadRequest(r)
		if err == nil {
			_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", strings.Repeat("well ", 8000))
		}
		if err == nil {
			err = c.(*net.TCPConn).CloseWrite()
		}
		if err == nil {
			_, err = r.ReadByte()
		}
		saw <- err
	}()
	g, err := New(Options{
		Endpoints: []EndpointOptions{{Address: l.Addr().String()}},
		Health:    &HealthOptions{Path: "/", Interval: time.Second, Timeout: 30 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := <-saw; err != io.EOF {
		t.Errorf("the endpoint saw %v", err)
	}
}

func TestHealthOfTCP(t *testing.T) {
	var nothing atomic.Pointer[string]
	l, err := net.Listen("tcp", "127.0.0.23:0") // where no client takes its port
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	g, err := New(Options{
		Endpoints: []EndpointOptions{{Address: patient(t, "tcp", &nothing)}, {Address: gone}},
		Health:    &HealthOptions{Interval: 5 * time.Millisecond, Fall: 1},
		Sources:   []netip.Addr{netip.MustParseAddr("127.0.0.1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	until(t, "one is down", func() bool { return g.Snapshot().Endpoints[1].State == "down" })
	if s := g.Snapshot(); s.Endpoints[0].State != "up" || !strings.Contains(s.Endpoints[1].Why, "refused") {
		t.Errorf("the endpoints are %+v", s.Endpoints)
	}
}

func TestSnapshotAndCounters(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Name: "app", Pool: PoolOptions{Max: 3}, Policy: balance.Maglev{}})
	a := g.Agent(m.threads[0])
	u := granted(t, a)
	granted(t, a).release(a)
	a.Report(u.link.Endpoint, Failure)
	want(a)
	want(a)
	want(a)
	s := g.Snapshot()
	e := s.Endpoints[0]
	if s.Name != "app" || s.Policy != "maglev" || s.Waiting != 1 || e.Open != 3 || e.Leased != 3 || e.Idle != 0 ||
		e.Limit != 3 || e.Connected != 2 || e.Broken != 1 || e.State != "up" || e.Weight != 1 {
		t.Errorf("the snapshot is %+v", s)
	}
	seen := map[string]bool{}
	for _, c := range Counters() {
		if c.String() == "" || seen[c.String()] || !strings.HasSuffix(c.Help(), ".") {
			t.Errorf("counter %d is called %q: %q", c, c, c.Help())
		}
		seen[c.String()] = true
	}
}

func TestChoose(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 2, Options{Pool: PoolOptions{Max: 2}, Policy: balance.LeastConnections{}})
	a := g.Agent(m.threads[0])
	count := map[*Endpoint]int{}
	for range 4 {
		e, err := a.Choose(&Want{})
		if err != nil || e.Target().Address.String() != e.Address() {
			t.Fatalf("chose %v, %v", e, err)
		}
		count[e]++
	}
	if _, err := a.Choose(&Want{}); err != ErrQueueFull || len(count) != 2 {
		t.Errorf("the fifth got %v; by endpoint: %v", err, count)
	}
	for e, n := range count {
		if n != 2 {
			t.Errorf("%s was chosen %d times", e.Address(), n)
		}
		a.Unchoose(e)
	}
	if e, err := a.Choose(&Want{}); err != nil {
		t.Errorf("got %v, %v", e, err)
	}
	g.Close()
	if _, err := a.Choose(&Want{}); err != ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}
