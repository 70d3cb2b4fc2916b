package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/internal/bus"
)

func TestMain(m *testing.M) {
	// The server keeps a goroutine of its own for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.init.0.func1"))
}

// patience is how long anything may take that is going to happen.
const patience = 20 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func serve(t *testing.T, o bus.ServerOptions) *bus.Server {
	t.Helper()
	s, err := bus.Serve(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, o bus.Options) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// beside connects to a server as another process does.
func beside(t *testing.T, s *bus.Server) *bus.Bus {
	t.Helper()
	return connect(t, bus.Options{URLs: []string{s.URL()}, Token: s.Token()})
}

func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestPublish(t *testing.T) {
	s := serve(t, bus.ServerOptions{Listen: loopback})
	inside, outside := connect(t, bus.Options{Server: s}), beside(t, s)
	came := make(chan string, 8)
	for _, b := range []*bus.Bus{inside, outside} {
		if _, err := b.Subscribe("room.*", func(m bus.Message) { came <- m.Subject + " " + string(m.Data) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := outside.Publish("room.1", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := outside.Publish("elsewhere", []byte("nobody")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := await(t, came, "a message"); got != "room.1 hello" {
			t.Errorf("a subscriber got %q", got)
		}
	}
}

func TestCancel(t *testing.T) {
	s := serve(t, bus.ServerOptions{})
	b := connect(t, bus.Options{Server: s})
	var after atomic.Bool
	cancel, err := b.Subscribe("a", func(bus.Message) {
		if after.Load() {
			t.Error("a subscription that was ended gets messages")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	after.Store(true)
	came := make(chan bool, 1)
	if _, err := b.Subscribe("a", func(bus.Message) { came <- true }); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish("a", nil); err != nil {
		t.Fatal(err)
	}
	await(t, came, "the message")
}

// TestStranger has somebody connect who does not know the token.
func TestStranger(t *testing.T) {
	s := serve(t, bus.ServerOptions{Listen: loopback})
	for _, token := range []string{"", "wrong"} {
		b, err := bus.Connect(bus.Options{URLs: []string{s.URL()}, Token: token})
		if err == nil {
			b.Close()
			t.Errorf("the token %q is let in", token)
		} else if strings.Contains(err.Error(), s.Token()) {
			t.Error("the error tells the token")
		}
	}
}

// TestAway takes the server away and brings it back at the same address.
func TestAway(t *testing.T) {
	kept := reserve(t)
	s := serve(t, bus.ServerOptions{Listen: kept.Address})
	changed := make(chan bool, 8)
	b := connect(t, bus.Options{
		URLs: []string{s.URL()}, Token: s.Token(), Changed: func(connected bool) { changed <- connected },
	})
	came := make(chan string, 8)
	if _, err := b.Subscribe("a", func(m bus.Message) { came <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if await(t, changed, "the news") || b.Connected() {
		t.Error("without a server the bus is connected")
	}
	if err := b.Publish("a", []byte("lost")); !errors.Is(err, bus.ErrAway) {
		t.Errorf("publishing without a server: %v; want %v", err, bus.ErrAway)
	}
	serve(t, bus.ServerOptions{Listen: kept.Address, Token: s.Token()})
	if !await(t, changed, "the news") {
		t.Error("with a server again the bus is away")
	}
	if err := b.Publish("a", []byte("back")); err != nil {
		t.Error(err)
	}
	if got := await(t, came, "the message"); got != "back" {
		t.Errorf("the subscriber got %q; nothing of what was refused may come", got)
	}
}

func TestNobodyThere(t *testing.T) {
	for name, o := range map[string]bus.Options{
		"no server": {}, "nobody listens": {URLs: []string{"nats://127.0.0.1:1"}},
	} {
		if b, err := bus.Connect(o); err == nil {
			b.Close()
			t.Errorf("%s: connected", name)
		}
	}
}

func TestServerInVain(t *testing.T) {
	taken := serve(t, bus.ServerOptions{Listen: loopback})
	address := addressOf(t, taken)
	for name, o := range map[string]bus.ServerOptions{
		"taken address":           {Listen: address},
		"directory in a file":     {Dir: filepath.Join("/proc/self/cmdline", "x")},
		"cluster without name":    {Listen: loopback, Cluster: &bus.Cluster{Listen: loopback}, Name: "a"},
		"cluster without names":   {Listen: loopback, Cluster: &bus.Cluster{Listen: loopback, Name: "c"}},
		"cluster without clients": {Cluster: &bus.Cluster{Listen: loopback, Name: "c"}, Name: "a"},
		"cluster of one": {
			Listen: loopback, Cluster: &bus.Cluster{Listen: loopback, Name: "c"}, Name: "a", Dir: t.TempDir(),
		},
	} {
		if s, err := bus.Serve(o); err == nil {
			s.Close()
			t.Errorf("%s: it serves", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

// TestSlowSubscriber has one that does not return: others get everything, and what it loses is counted.
func TestSlowSubscriber(t *testing.T) {
	s := serve(t, bus.ServerOptions{})
	b := connect(t, bus.Options{Server: s})
	hold := make(chan struct{})
	if _, err := b.Subscribe("a", func(bus.Message) { <-hold }); err != nil {
		t.Fatal(err)
	}
	const n = 1<<16 + 1000
	var got atomic.Int64
	all := make(chan bool)
	if _, err := b.Subscribe("a", func(bus.Message) {
		if got.Add(1) == n {
			close(all)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := b.Publish("a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 { // the other one is not to be too slow as well
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(t, all, "the last message")
	eventually(t, "what is lost to a subscriber that does not return is counted", func() bool { return b.Lost() > 0 })
	close(hold)
}

// town is a cluster, whose servers have found each other.
func town(t *testing.T, n int) (servers []*bus.Server, routes []string) {
	t.Helper()
	places := make([]netip.AddrPort, n)
	for i := range places {
		places[i] = reserve(t).Address
		routes = append(routes, places[i].String())
	}
	for i := range n {
		s := serve(t, bus.ServerOptions{
			Listen: loopback, Name: fmt.Sprint("machine-", i), Dir: t.TempDir(),
			Cluster: &bus.Cluster{Name: "town", Listen: places[i], Routes: routes, Secret: "between us"},
		})
		if got := s.ClusterAddress(); got != routes[i] {
			t.Errorf("the servers of other machines are told %s; want %s", got, routes[i])
		}
		servers = append(servers, s)
	}
	eventually(t, "the servers have found each other", func() bool {
		for _, s := range servers {
			if s.Peers() != n-1 {
				return false
			}
		}
		return true
	})
	return servers, routes
}

func TestCluster(t *testing.T) {
	const n = 3
	servers, routes := town(t, n)
	stranger := serve(t, bus.ServerOptions{
		Name: "stranger", Listen: loopback,
		Cluster: &bus.Cluster{Name: "town", Listen: loopback, Routes: routes[:1], Secret: "guessed"},
	})
	near, far := beside(t, servers[0]), beside(t, servers[2])
	came := make(chan string, 1)
	if _, err := far.Subscribe("a", func(m bus.Message) { came <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a message goes from one machine to another", func() bool {
		if err := near.Publish("a", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-came:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	if p := stranger.Peers(); p != 0 {
		t.Errorf("a server that does not know the secret has %d peers", p)
	}
	var journal *bus.Journal
	eventually(t, "a journal of three copies is made", func() (made bool) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var err error
		journal, err = near.Journal(ctx, bus.JournalOptions{Name: "j", Subjects: []string{"j.>"}, Copies: n})
		return err == nil
	})
	if _, err := journal.Append(within(t), "j.1", []byte("kept"), ""); err != nil {
		t.Fatal(err)
	}
	servers[1].Close()
	// The one that led may be the one that is gone.
	eventually(t, "two of three go on", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := journal.Append(ctx, "j.1", []byte("after"), "once")
		return err == nil
	})
	got := make(chan string, 8)
	kept, err := far.Journal(within(t), bus.JournalOptions{Name: "j", Subjects: []string{"j.>"}, Copies: n})
	if err != nil {
		t.Fatal(err)
	}
	cancel, err := kept.Read(within(t), nil, 0, func(e bus.Entry) { got <- string(e.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	if a, b := await(t, got, "an entry"), await(t, got, "an entry"); a != "kept" || b != "after" {
		t.Errorf("the journal has %q and %q", a, b)
	}
}

// reserve keeps an address for a server that is gone for a while, or comes later.
func reserve(t *testing.T) *bus.Reservation {
	t.Helper()
	kept, err := bus.Reserve(loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kept.Close)
	return kept
}

// eventually looks again and again until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

func addressOf(t *testing.T, s *bus.Server) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(strings.TrimPrefix(s.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}
