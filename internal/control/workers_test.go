package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/myriad-server/myriad/internal/app"
)

// crew are servers of this process that stand for workers.
type crew struct {
	mu      sync.Mutex
	all     []*server
	desired int
	drained bool
}

func (c *crew) Workers(context.Context) (Workers, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := Workers{Condition: "running", Desired: c.desired, Ready: len(c.all), Workers: []Worker{}}
	for i, s := range c.all {
		all.Workers = append(all.Workers, Worker{
			Worker: uint64(i + 1), Slot: i, Seat: i, State: "serving", Socket: s.socket, Requests: uint64(10 * i),
		})
	}
	return all, nil
}

func (c *crew) Scale(_ context.Context, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 4 {
		return errors.New("there are four at most")
	}
	c.desired = n
	return nil
}

func (c *crew) Drain(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drained = true
	return nil
}

func (c *crew) Reload(_ context.Context, dry bool) (*app.Change, error) {
	if !dry {
		return nil, errors.New("the file is gone")
	}
	return &app.Change{Connections: 7}, nil
}

func (c *crew) Upgrade(_ context.Context, binary string) error {
	if binary == "/broken" {
		return errors.New("it does not start")
	}
	return nil
}

// serveWorkers serves by so many servers, and answers for them.
func serveWorkers(t *testing.T, n int, lines ...string) (*server, *crew) {
	t.Helper()
	c := &crew{desired: n}
	for range n {
		c.all = append(c.all, serve(t, lines...))
	}
	s := &server{t: t, level: new(slog.LevelVar), socket: filepath.Join(t.TempDir(), "above.sock"), log: new(locked)}
	s.admin = NewAbove(c, "1.2.3", s.level, slog.New(slog.NewTextHandler(s.log, nil)))
	s.begin()
	return s, c
}

// TestConnectionsOfAllWorkers lists, sorts, pages and closes across workers.
func TestConnectionsOfAllWorkers(t *testing.T) {
	s, c := serveWorkers(t, 3, "engine.loops=1", "routes=[{respond: {body: hi}}]")
	clients := map[string]net.Conn{}
	for i := range 30 {
		one := c.all[i%3].dial()
		if err := exchange(one, 100+10*i); err != nil {
			t.Fatal(err)
		}
		clients[one.LocalAddr().String()] = one
	}
	whole := s.until("sort=in&order=asc&limit=1000&state=idle", "all", func(l *List) bool { return l.Matched == 30 })
	if whole.Open != 30 || whole.States["idle"] != 30 || len(whole.Connections) != 30 {
		t.Fatalf("it is %+v", whole)
	}
	seen, workers := map[string]bool{}, map[uint64]int{}
	for i := range whole.Connections {
		one := &whole.Connections[i]
		if seen[one.ID] || clients[one.Peer] == nil || !strings.HasPrefix(one.ID, fmt.Sprint(one.Worker, ".")) {
			t.Errorf("a connection is %+v", one)
		}
		seen[one.ID] = true
		workers[one.Worker]++
		if i > 0 && one.ReceivedBytes < whole.Connections[i-1].ReceivedBytes {
			t.Errorf("%d bytes come behind %d", one.ReceivedBytes, whole.Connections[i-1].ReceivedBytes)
		}
	}
	if workers[1] != 10 || workers[2] != 10 || workers[3] != 10 {
		t.Errorf("the workers have %v", workers)
	}
	var paged []string
	for offset := 0; offset < 30; offset += 7 {
		for _, one := range s.list(fmt.Sprintf("sort=in&order=asc&limit=7&offset=%d", offset)).Connections {
			paged = append(paged, one.ID)
		}
	}
	if !slices.EqualFunc(paged, whole.Connections, func(id string, c Connection) bool { return id == c.ID }) {
		t.Errorf("in pages it is %q", paged)
	}
	if got := s.list("worker=2"); got.Open != 10 || got.Connections[0].Worker != 2 {
		t.Errorf("of one worker it is %+v", got)
	}
	s.closeSome(whole)
}

// closeSome closes one connection by its ID, and five by selection.
func (s *server) closeSome(whole *List) {
	t := s.t
	t.Helper()
	var one Connection
	victim := whole.Connections[4]
	if s.ask("GET", "/v1/conns/"+victim.ID, "", &one); one.ID != victim.ID || one.Peer != victim.Peer {
		t.Errorf("one is %+v", one)
	}
	s.ask("DELETE", "/v1/conns/"+victim.ID, "", nil)
	s.until("", "29", func(l *List) bool { return l.Open == 29 })
	var done Closed
	if s.ask("POST", "/v1/conns/close", "state=idle&limit=12", &done); done.Closed != 12 || done.Matched < 12 {
		t.Errorf("it is %+v", done)
	}
	s.until("", "17", func(l *List) bool { return l.Open == 17 })
	var ended struct{ Closed []Connection }
	if s.ask("GET", "/v1/closed", "limit=1000", &ended); len(ended.Closed) != 13 || ended.Closed[0].Worker == 0 {
		t.Errorf("%d have ended", len(ended.Closed))
	}
}

// TestSumsOfAllWorkers adds up what the workers say.
func TestSumsOfAllWorkers(t *testing.T) {
	s, c := serveWorkers(t, 2, "engine.loops=1", "upstreams.u.to=[127.0.0.1:1]", "routes=[{proxy: {upstream: u}}]")
	for i := range 6 {
		if err := exchange(c.all[i%2].dial(), 100); err != nil {
			t.Fatal(err)
		}
	}
	var status Status
	s.until("", "six requests, counted", func(*List) bool { // the last is when the turn ends that has answered it
		s.ask("GET", "/v1/status", "", &status)
		return status.Requests == 6
	})
	if status.Version != "1.2.3" || status.Connections.Accepted != 6 ||
		len(status.OpenPerWorker) != 2 || len(status.Upstreams) != 1 || status.Upstreams[0].Counts["failed"] > 6 {
		t.Errorf("it is %+v", status)
	}
	var upstreams struct{ Upstreams []map[string]any }
	if s.ask("GET", "/v1/upstreams", "", &upstreams); len(upstreams.Upstreams) != 1 {
		t.Errorf("it is %+v", upstreams)
	}
	var pools struct{ Pools []app.PoolStatus }
	if s.ask("GET", "/v1/pools", "", &pools); len(pools.Pools) != 1 {
		t.Errorf("it is %+v", pools)
	}
	var figures Figures
	if s.ask("GET", "/v1/loops", "", &figures); len(figures.Loops) != 2 || figures.Loops[1].Worker != 2 {
		t.Errorf("it is %+v", figures)
	}
	metrics := s.text("/metrics")
	for _, want := range []string{
		`{worker="1"`, `{worker="2"`, "myriad_workers_ready 2\n", `myriad_worker_up{worker="2",slot="1"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics are without %q", want)
		}
	}
	for line := range strings.SplitSeq(metrics, "\n") {
		if strings.HasPrefix(line, "# TYPE") && strings.Count(metrics, line+"\n") != 1 {
			t.Errorf("%q is there %d times", line, strings.Count(metrics, line+"\n"))
		}
	}
}

// text is what is not JSON.
func (s *server) text(path string) string {
	s.t.Helper()
	text, err := s.client.Ask(s.t.Context(), http.MethodGet, path, nil, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// TestOrdersToAllWorkers changes all of them, and the number of them.
func TestOrdersToAllWorkers(t *testing.T) {
	s, c := serveWorkers(t, 2, "engine.loops=1")
	var all Workers
	if s.ask("POST", "/v1/scale", "workers=3", &all); all.Desired != 3 || len(all.Workers) != 2 {
		t.Errorf("it is %+v", all)
	}
	for _, query := range []string{"", "workers=0", "workers=x", "workers=9"} {
		status, text, err := s.client.relay(t.Context(), "POST", "/v1/scale?"+query, nil, nil)
		if err != nil || status < 400 {
			t.Errorf("%s: %d %s %v", query, status, text, err)
		}
	}
	var change app.Change
	if s.ask("POST", "/v1/reload", "dry_run=true", &change); change.Connections != 7 {
		t.Errorf("it is %+v", change)
	}
	if status, _, err := s.client.relay(t.Context(), "POST", "/v1/reload", nil, nil); err != nil || status != 422 {
		t.Errorf("%d, %v", status, err)
	}
	var upgraded Upgraded
	if s.ask("POST", "/v1/upgrade", "binary=/a", &upgraded); upgraded.Workers != 2 {
		t.Errorf("it is %+v", upgraded)
	}
	for query, want := range map[string]int{"binary=/broken": 422, "binary=a": 400} {
		status, _, err := s.client.relay(t.Context(), "POST", "/v1/upgrade?"+query, nil, nil)
		if err != nil || status != want {
			t.Errorf("%s: %d, %v", query, status, err)
		}
	}
	status, _, err := s.client.relay(t.Context(), "PUT", "/v1/log/level", nil, []byte(`{"level": "debug"}`))
	if err != nil || status != 200 || s.level.Level() != slog.LevelDebug || c.all[1].level.Level() != slog.LevelDebug {
		t.Errorf("%d, %v: the levels are %s and %s", status, err, s.level, c.all[1].level)
	}
	s.ask("POST", "/v1/drain", "", &all)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.drained {
		t.Error("nothing was drained")
	}
}

// TestRefusalsOfAllWorkers says what is wrong.
func TestRefusalsOfAllWorkers(t *testing.T) {
	s, c := serveWorkers(t, 2, "engine.loops=1")
	for path, want := range map[string]int{
		"/v1/conns/7": 400, "/v1/conns/9.7": 404, "/v1/conns/1.7": 404, "/v1/conns?sort=size": 400,
		"/v1/conns?listener=nowhere": 400, "/v1/conns?worker=8": 503, "/v1/nothing": 404, "/v1/closed?cause=none": 400,
	} {
		if status, text, err := s.client.relay(t.Context(), "GET", path, nil, nil); err != nil || status != want {
			t.Errorf("%s is answered with %d, want %d: %s %v", path, status, want, text, err)
		}
	}
	c.mu.Lock()
	c.all = nil
	c.mu.Unlock()
	if status, _, err := s.client.relay(t.Context(), "GET", "/v1/status", nil, nil); err != nil || status != 503 {
		t.Errorf("without a worker: %d, %v", status, err)
	}
}

// TestEventsOfAllWorkers follows what all workers tell.
func TestEventsOfAllWorkers(t *testing.T) {
	s, c := serveWorkers(t, 2, "engine.loops=1", "routes=[{respond: {body: hi}}]")
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	response, err := s.client.open(ctx, "GET", "/v1/events", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, mostEventBytes)
	figures := 0
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "event: figures") {
			// Each second one more connection is closed: some of them when the worker is followed already.
			figures++
			one := c.all[1].dial()
			if err := exchange(one, 100); err != nil {
				t.Fatal(err)
			}
			s.ask("POST", "/v1/conns/close", "all=true", nil)
		}
		if strings.Contains(line, `"cause":"operator"`) {
			if !strings.Contains(line, `"worker":2`) {
				t.Errorf("it is told that %s", line)
			}
			return
		}
	}
	t.Fatalf("no end is told after %d seconds: %v", figures, lines.Err())
}
