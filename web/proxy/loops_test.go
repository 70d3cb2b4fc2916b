package proxy_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/poll"
	"github.com/myriad-server/myriad/driver/rtsig"
	"github.com/myriad-server/myriad/driver/selects"
	"github.com/myriad-server/myriad/driver/sweep"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take that is going to happen.
const patience = 20 * time.Second

// overDrivers runs a test over every driver that works here.
func overDrivers(t *testing.T, run func(t *testing.T, f driver.Factory)) {
	for _, f := range []driver.Factory{
		uring.Factory, epoll.Factory, poll.Factory, rtsig.Factory, selects.Factory, sweep.Factory,
	} {
		t.Run(f.Name, func(t *testing.T) {
			if s := f.Probe(); !s.OK {
				t.Skipf("the driver does not work here: %s; %s", s.Why, s.Fix)
			}
			run(t, f)
		})
	}
}

// house is a proxy on real loops.
type house struct {
	t     testing.TB
	url   string
	at    string
	group *upstream.Group
	loops []*loop.Loop
	pools []*buf.Pool
	ended sync.WaitGroup

	mu      sync.Mutex
	records map[string]int // by cause
}

// Log counts causes.
func (h *house) Log(r *web.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records[r.Cause]++
}

// causes is how often each was logged, but for none.
func (h *house) causes() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := map[string]int{}
	for cause, n := range h.records {
		if cause != "" {
			m[cause] = n
		}
	}
	return m
}

// build starts loops that proxy to some addresses.
func build(t testing.TB, f driver.Factory, loops int, option option, servers ...string) *house {
	t.Helper()
	h := &house{t: t, records: map[string]int{}}
	u, o := upstream.Options{}, proxy.Options{}
	for _, s := range servers {
		u.Endpoints = append(u.Endpoints, upstream.EndpointOptions{Address: s})
	}
	s := &web.Server{Log: h, Timeouts: web.Timeouts{Linger: 100 * time.Millisecond}}
	if option != nil {
		option(&o, &u, s)
	}
	var err error
	if h.group, err = upstream.New(u); err != nil {
		t.Fatal(err)
	}
	o.Group = h.group
	if s.Root, err = proxy.New(o); err != nil {
		t.Fatal(err)
	}
	spec, err := listen.Parse("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spec.ReusePort, spec.NoDelay = loops > 1, true
	group := listen.NewGroup(spec)
	for i := range loops {
		fd, err := group.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		h.run(f, fd, s)
	}
	h.at = group.Spec().Address.String()
	h.url = "http://" + h.at
	t.Cleanup(func() {
		for _, l := range h.loops {
			l.Stop(true)
		}
		h.ended.Wait()
		h.group.Close()
		for i := range h.loops {
			group.Closed(i)
		}
	})
	return h
}

// run starts one loop.
func (h *house) run(f driver.Factory, fd int, s *web.Server) {
	ready := make(chan error)
	h.ended.Add(1)
	go func() {
		defer h.ended.Done()
		runtime.LockOSThread() // and never unlock: drivers leave marks on the thread
		pool, err := buf.NewPool(16<<10, 2048, buf.Heap)
		if err != nil {
			ready <- err
			return
		}
		d, err := f.Open(driver.Options{Blocks: pool, Ops: 16 << 10})
		if err != nil {
			ready <- err
			return
		}
		l, err := loop.New(loop.Options{
			Driver: d, Blocks: pool, Meter: new(meter.Set), Connections: 10_000, OutputBytes: 1 << 20,
		})
		if err == nil {
			_, err = l.Listen(fd, s.Handler())
		}
		if err != nil {
			ready <- err
			return
		}
		h.loops, h.pools = append(h.loops, l), append(h.pools, pool)
		ready <- nil
		if err := l.Run(); err != nil {
			h.t.Errorf("the loop ended with %v", err)
		}
		if n := l.Open(); n != 0 {
			h.t.Errorf("the loop leaves %d connections", n)
		}
		if err := l.Close(); err != nil {
			h.t.Error(err)
		}
		if n := pool.Lent(); n != 0 {
			h.t.Errorf("the loop leaves %d blocks", n)
		}
	}()
	if err := <-ready; err != nil {
		h.t.Fatal(err)
	}
}

// lent is how many blocks the loops hold.
func (h *house) lent() int {
	lent := make(chan int, len(h.loops))
	for i, l := range h.loops {
		if !l.Do(func() { lent <- h.pools[i].Lent() }) {
			h.t.Fatal("a loop has ended")
		}
	}
	sum := 0
	for range h.loops {
		sum += <-lent
	}
	return sum
}

// client is an http.Client that gives up in time and leaves nothing behind.
func client(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// serve starts an HTTP server of the standard library and returns its address.
func serve(t testing.TB, f http.HandlerFunc) (*httptest.Server, string) {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s, strings.TrimPrefix(s.URL, "http://")
}

// serveUnix is serve on a Unix socket.
func serveUnix(t testing.TB, f http.HandlerFunc) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: f}}
	s.Start()
	t.Cleanup(s.Close)
	return "unix:" + path
}

// dial connects to the proxy.
func (h *house) dial() net.Conn {
	h.t.Helper()
	c, err := net.DialTimeout("tcp", h.at, patience)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	return c
}
