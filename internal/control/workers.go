package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/app"
)

// Workers are the worker processes of a server that has several.
type Workers struct {
	Condition string  `json:"condition"` // running, short, rolling, crash loop, ...
	Model     string  `json:"process_model"`
	Desired   int     `json:"desired"`
	Ready     int     `json:"ready"`
	Retry     Seconds `json:"retry_in_seconds,omitempty"` // until the next start, if one is waited for
	// Supervisor is the process above them.
	Supervisor Supervisor `json:"supervisor"`
	Workers    []Worker   `json:"workers"` // in the order of their start
}

// Supervisor is the process above the workers, as the program that it is now.
type Supervisor struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	// Turn is how many programs the process was before; it goes on as another one after an upgrade.
	Turn int `json:"turn"`
	// Coming is the version of the program that it will go on as, when nothing is under way.
	Coming string `json:"coming,omitempty"`
	// Stays is why it has not gone on as the program of the last upgrade.
	Stays string `json:"stays,omitempty"`
}

// Worker is one of them.
type Worker struct {
	// Worker is its number, which no other ever has, Slot its place on the board, and Seat that among those who serve:
	// who follows it has the same.
	Worker     uint64  `json:"worker"`
	Slot       int     `json:"slot"`
	Seat       int     `json:"seat"`
	PID        int     `json:"pid"`
	State      string  `json:"state"` // starting, serving, draining, terminating, killed
	Why        string  `json:"why,omitempty"`
	Generation uint64  `json:"generation"`
	Uptime     Seconds `json:"uptime_seconds"`
	// Restarts is how often a worker of its seat has died that nobody had told to end.
	Restarts int `json:"restarts"`

	Connections uint64 `json:"connections"`
	Accepted    uint64 `json:"accepted"`
	Requests    uint64 `json:"requests"`
	// Rate is in the last second, and Busy how many processors it had then.
	Rate          float64 `json:"requests_per_second"`
	Busy          float64 `json:"processors"`
	ProcessorTime Seconds `json:"processor_seconds"`
	ResidentBytes int64   `json:"resident_bytes"`

	// Socket is the file of its own admin API.
	Socket string `json:"admin,omitempty"`
}

// Crew is what is above the workers.
type Crew interface {
	// Workers tells of them; their Rate and Busy are left out.
	Workers(ctx context.Context) (Workers, error)
	// Scale changes how many there are to be, and Drain ends all in good order. Neither waits for them.
	Scale(ctx context.Context, workers int) error
	Drain(ctx context.Context) error
	// Reload has all take the configuration as it is now, or only says what that would do.
	Reload(ctx context.Context, dry bool) (*app.Change, error)
	// Upgrade has workers of another binary take over, of the server's own as it is by now if it is empty, and waits.
	Upgrade(ctx context.Context, binary string) error
}

// above is the admin API of a supervisor: it asks those of the workers, and adds up.
type above struct {
	*Server
	crew    Crew
	version string
	began   time.Time

	mu       sync.Mutex
	clients  map[string]*Client // by socket
	previous map[uint64]usage   // by worker
	now      map[uint64]usage
}

// usage is what a worker had done at a time.
type usage struct {
	at        time.Time
	requests  uint64
	processor time.Duration
}

// NewAbove makes the admin API of a supervisor.
func NewAbove(crew Crew, version string, level *slog.LevelVar, log *slog.Logger) *Server {
	s := &Server{level: level, log: log, lists: make(chan struct{}, listsAtOnce)}
	a := &above{Server: s, crew: crew, version: version, began: time.Now(), clients: map[string]*Client{}}
	s.before = func() {} // the supervisor may not run yet, and answers when it does
	s.behind = a.run
	s.prepare(a.routes())
	s.Mount("GET /metrics", "counters and latencies of all workers, in the format of Prometheus",
		http.HandlerFunc(a.metrics))
	return s
}

// routes are everything that can be asked. What is about one process is asked of the workers.
func (a *above) routes() []route {
	own := map[string]http.HandlerFunc{
		"GET /v1/{$}":               a.index,
		"GET /v1/status":            a.status,
		"GET /v1/conns":             a.conns,
		"GET /v1/conns/{id}":        a.toOwner,
		"GET /v1/conns/{id}/events": a.toOwner,
		"DELETE /v1/conns/{id}":     a.toOwner,
		"POST /v1/conns/close":      a.closeMany,
		"GET /v1/closed":            a.closed,
		"GET /v1/sessions":          a.sessions,
		"DELETE /v1/sessions/{id}":  a.toOwner,
		"GET /v1/loops":             a.loops,
		"GET /v1/upstreams":         a.sums,
		"GET /v1/pools":             a.sums,
		"GET /v1/trace":             a.traced,
		"PUT /v1/trace":             a.trace,
		"DELETE /v1/trace":          a.toAll,
		"POST /v1/reload":           a.reload,
		"GET /v1/log/level":         a.logLevel,
		"POST /v1/upgrade":          a.upgrade,
		"PUT /v1/log/level":         a.setLevels,
		"GET /v1/events":            a.events,
		"GET /v1/sockets":           a.toAny,
		"GET /v1/causes":            a.causes,
		"GET /v1/drivers":           a.toAny,
		"GET /v1/config":            a.toAny,
	}
	all := []route{
		{"GET /v1/workers", "the worker processes", a.handle(a.workers)},
		{"POST /v1/scale", "change the number of workers: workers=N", a.handle(a.scale)},
		{"POST /v1/drain", "end all workers in good order, and then this server", a.handle(a.drain)},
	}
	for _, r := range routes() {
		serve, known := own[r.pattern]
		if !known && strings.HasPrefix(r.pattern, "POST /v1/upstreams/") {
			serve, known = a.toAll, true
		}
		if known {
			all = append(all, route{r.pattern, r.about, a.handle(serve)})
		}
	}
	return all
}

func (a *above) handle(f http.HandlerFunc) func(*Server, http.ResponseWriter, *http.Request) {
	return func(_ *Server, w http.ResponseWriter, r *http.Request) { f(w, r) }
}

// run samples until ctx ends.
func (a *above) run(ctx context.Context) {
	a.sample(ctx)
	ticker := time.NewTicker(sampleTime)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			a.sample(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// sample notes what the workers have done so far, and forgets those that are no more.
func (a *above) sample(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := a.crew.Workers(ctx)
	if err != nil {
		return
	}
	now, sockets := map[uint64]usage{}, map[string]bool{}
	for i := range all.Workers {
		w := &all.Workers[i]
		now[w.Worker] = usage{time.Now(), w.Requests, time.Duration(w.ProcessorTime)}
		sockets[w.Socket] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.previous, a.now = a.now, now
	for socket, c := range a.clients {
		if !sockets[socket] {
			c.http.CloseIdleConnections()
			delete(a.clients, socket)
		}
	}
}

// rated adds what the last second has shown.
func (a *above) rated(ctx context.Context) (Workers, error) {
	all, err := a.crew.Workers(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range all.Workers {
		w := &all.Workers[i]
		was, known := a.previous[w.Worker]
		is := a.now[w.Worker]
		if known && is.at.After(was.at) && is.requests >= was.requests {
			passed := is.at.Sub(was.at).Seconds()
			w.Rate = over(float64(is.requests-was.requests), passed)
			w.Busy = over((is.processor - was.processor).Seconds(), passed)
		}
	}
	return all, err
}

func (a *above) workers(w http.ResponseWriter, r *http.Request) {
	all, err := a.rated(r.Context())
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	answer(w, http.StatusOK, all)
}

func (a *above) scale(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("workers"))
	if err != nil || n < 1 {
		refuse(w, http.StatusBadRequest, fmt.Errorf("workers=%s is no number of workers", r.URL.Query().Get("workers")),
			"write a number of 1 or more, as in ?workers=4")
		return
	}
	if err := a.crew.Scale(r.Context(), n); err != nil {
		refuse(w, http.StatusConflict, err, "see GET /v1/workers")
		return
	}
	a.log.Info("the number of workers was changed by the operator", "workers", n)
	a.workers(w, r)
}

func (a *above) drain(w http.ResponseWriter, r *http.Request) {
	if err := a.crew.Drain(r.Context()); err != nil {
		refuse(w, http.StatusConflict, err, "see GET /v1/workers")
		return
	}
	a.log.Info("all workers are drained by the operator")
	a.workers(w, r)
}

func (a *above) reload(w http.ResponseWriter, r *http.Request) {
	dry, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get("dry_run"), "false"))
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("dry_run=%s is neither true nor false", r.URL.Query().Get("dry_run")), "")
		return
	}
	// Whoever has asked may go away: what has begun must not stop half-way.
	change, err := a.crew.Reload(context.WithoutCancel(r.Context()), dry)
	switch {
	case errors.Is(err, app.ErrUpgrading):
		refuse(w, http.StatusConflict, err, upgradingMend)
	case err != nil:
		refuse(w, http.StatusUnprocessableEntity, err, reloadMend)
	default:
		answer(w, http.StatusOK, change)
	}
}

// Upgraded says that the workers are those of another binary.
type Upgraded struct {
	PID     int `json:"pid"` // of the supervisor, which goes on
	Workers int `json:"workers"`
	// Supervisor is as it is now: it goes on as the other binary after the answer.
	Supervisor Supervisor `json:"supervisor"`
}

func (a *above) upgrade(w http.ResponseWriter, r *http.Request) {
	binary := r.URL.Query().Get("binary")
	if binary != "" && !filepath.IsAbs(binary) {
		refuse(w, http.StatusBadRequest, fmt.Errorf("binary=%s is no absolute path", binary), documentMend)
		return
	}
	// Whoever has asked may go away: what has begun must not stop half-way.
	ctx := context.WithoutCancel(r.Context())
	if err := a.crew.Upgrade(ctx, binary); err != nil {
		refuse(w, http.StatusUnprocessableEntity, err, upgradeMend)
		return
	}
	all, err := a.crew.Workers(ctx)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	answer(w, http.StatusOK, Upgraded{PID: os.Getpid(), Workers: all.Ready, Supervisor: all.Supervisor})
}
