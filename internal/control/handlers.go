package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/standard"
)

// Problem is the answer to what could not be done.
type Problem struct {
	Text string `json:"error"`
	Mend string `json:"mend,omitempty"`
}

// route is one thing that can be asked.
type route struct {
	pattern string
	about   string
	serve   func(s *Server, w http.ResponseWriter, r *http.Request)
}

// routes are everything that can be asked.
func routes() []route {
	return []route{
		{"GET /v1/{$}", "what can be asked", (*Server).index},
		{"GET /v1/status", "what runs, and what it has counted", (*Server).status},
		{"GET /v1/conns", "connections: select, sort, page", (*Server).conns},
		{"GET /v1/conns/{id}", "one connection", (*Server).oneConn},
		{"GET /v1/conns/{id}/events", "its last events, while it is not idle", (*Server).eventsOf},
		{"GET /v1/trace", "the connections and clients that are traced", (*Server).traced},
		{"PUT /v1/trace", "log every event of a connection, or of a client's connections", (*Server).trace},
		{"DELETE /v1/trace", "end all tracing", (*Server).traceNoMore},
		{"DELETE /v1/conns/{id}", "close one connection", (*Server).closeOne},
		{"POST /v1/conns/close", "close connections by selection; dry_run=true only counts them", (*Server).closeMany},
		{"GET /v1/closed", "connections that have ended lately, with their causes", (*Server).closed},
		{"GET /v1/sessions", "sessions of datagrams: UDP, and Unix datagrams", (*Server).sessions},
		{"DELETE /v1/sessions/{id}", "end one session of datagrams", (*Server).endSession},
		{"GET /v1/sockets", "the kernel's sockets by listener, endpoint and state, TIME_WAIT included", (*Server).sockets},
		{"GET /v1/causes", "why connections, sessions and answers end", (*Server).causes},
		{"GET /v1/loops", "how busy each loop is", (*Server).loops},
		{"GET /v1/drivers", "the drivers, and which of them work here", (*Server).drivers},
		{"GET /v1/upstreams", "the upstreams and their endpoints", (*Server).upstreams},
		{"POST /v1/upstreams/{name}/drain", "send nothing new to an endpoint", (*Server).drain},
		{"POST /v1/upstreams/{name}/restore", "send to it again", (*Server).restore},
		{"GET /v1/pools", "the pools of connections to endpoints", (*Server).pools},
		{"GET /v1/config", "the configuration in effect, without secrets", (*Server).config},
		{"POST /v1/reload", "read the configuration again; with dry_run=true only say what that would do", (*Server).reload},
		{"POST /v1/upgrade", "start the program anew, and hand everything over to it", (*Server).upgrade},
		{"GET /v1/log/level", "the least severe messages that are logged", (*Server).logLevel},
		{"PUT /v1/log/level", "log less or more from now on", (*Server).setLogLevel},
		{"GET /v1/events", "figures each second and ends that were not orderly, as server-sent events", (*Server).events},
	}
}

func (s *Server) handler() *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range s.known {
		mux.Handle(r.pattern, guard(func(w http.ResponseWriter, q *http.Request) { r.serve(s, w, q) }))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		text := r.Method + " " + r.URL.Path + " is nothing that can be asked"
		answer(w, http.StatusNotFound, Problem{text, "see GET /v1/"})
	})
	return mux
}

// answer writes JSON.
func answer(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error": "the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // whoever asked has gone
}

func refuse(w http.ResponseWriter, status int, err error, mend string) {
	answer(w, status, Problem{err.Error(), mend})
}

func (s *Server) lister() *lister {
	return &lister{rosters: s.app.Rosters(), listeners: s.app.Listeners(), about: s.app.About}
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	all := map[string]string{}
	for _, r := range s.known {
		all[strings.TrimSuffix(r.pattern, "{$}")] = r.about
	}
	for _, m := range s.mounted {
		all[strings.TrimSuffix(m.pattern, "{$}")] = m.about
	}
	answer(w, http.StatusOK, all)
}

// Status is what runs, with what concerns the admin API.
type Status struct {
	app.Status
	LogLevel string              `json:"log_level"`
	Drained  map[string][]string `json:"drained"`
	Causes   map[string]int      `json:"recent_ends"` // by cause, of those that GET /v1/closed lists
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	status := Status{
		Status: s.app.Status(), LogLevel: levelText(s.level), Drained: s.app.Drained(), Causes: map[string]int{},
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	ended, err := s.app.Ended(ctx)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	for i := range ended {
		status.Causes[CauseOf(ended[i].Why).Code]++
	}
	answer(w, http.StatusOK, status)
}

func (s *Server) conns(w http.ResponseWriter, r *http.Request) {
	l := s.lister()
	selection, err := ParseSelection(r.URL.Query(), l.listeners)
	if err != nil {
		refuse(w, http.StatusBadRequest, err, documentMend)
		return
	}
	s.look(w, r, func(ctx context.Context) (any, error) { return l.list(ctx, &selection) })
}

// documentMend is what to do about parameters that make no sense.
const documentMend = "see docs/admin.md"

// look answers with what through finds where it looks through all that there are, when it is its turn.
func (s *Server) look(w http.ResponseWriter, r *http.Request, through func(ctx context.Context) (any, error)) {
	if !s.begin(w) {
		return
	}
	defer func() { <-s.lists }()
	ctx, cancel := withPatience(r)
	defer cancel()
	found, err := through(ctx)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	answer(w, http.StatusOK, found)
}

// turnTime is how long somebody waits while others look through all connections.
const turnTime = time.Second

// begin makes sure that not too many look through all connections at a time.
func (s *Server) begin(w http.ResponseWriter) bool {
	turn := time.NewTimer(turnTime)
	defer turn.Stop()
	select {
	case s.lists <- struct{}{}:
		return true
	case <-turn.C:
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusTooManyRequests, Problem{"others look through the connections already", "ask again in a moment"})
		return false
	}
}

var errNoConnection = errors.New("there is no such connection: it has ended, or it never was")

func (s *Server) oneConn(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("%q is no ID", r.PathValue("id")), "write the digits of a listed id")
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	switch found, err := s.lister().one(ctx, id); {
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err, "")
	case found == nil:
		refuse(w, http.StatusNotFound, errNoConnection, "see GET /v1/closed")
	default:
		answer(w, http.StatusOK, found)
	}
}

func (s *Server) closeOne(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("%q is no ID", r.PathValue("id")), "write the digits of a listed id")
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	found, err := s.lister().one(ctx, id)
	if err == nil && found == nil || err == nil && !s.app.End(id) {
		err = errNoConnection
	}
	if err != nil {
		refuse(w, http.StatusNotFound, err, "see GET /v1/closed")
		return
	}
	s.log.Info("a connection is closed by the operator", "connection", id, "peer", found.Peer)
	answer(w, http.StatusOK, Closed{Matched: 1, Closed: 1})
}

// Closed says how many connections were selected, and how many were told to end.
type Closed struct {
	Matched int  `json:"matched"`
	Closed  int  `json:"closed"`
	DryRun  bool `json:"dry_run,omitempty"`
}

func (s *Server) closeMany(w http.ResponseWriter, r *http.Request) {
	l, values := s.lister(), r.URL.Query()
	flag := func(name string) bool { defer values.Del(name); return values.Get(name) == "true" }
	dry, all, limited := flag("dry_run"), flag("all"), values.Has("limit")
	selection, err := ParseSelection(values, l.listeners)
	if err == nil && !all && !selection.filters() {
		err = errors.New("nothing says which connections to close")
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err, "select with state, peer, older, ...; or say all=true")
		return
	}
	most := math.MaxInt
	if limited {
		most = selection.Limit
	}
	s.look(w, r, func(ctx context.Context) (any, error) {
		matched, ended, err := l.end(ctx, &selection, most, dry)
		if !dry {
			s.log.Info("connections are closed by the operator", "selection", r.URL.RawQuery, "matched", matched,
				"closed", ended)
		}
		if err != nil {
			return nil, fmt.Errorf("%d of %d are closed: %w", ended, matched, err)
		}
		return Closed{Matched: matched, Closed: ended, DryRun: dry}, nil
	})
}

func (s *Server) closed(w http.ResponseWriter, r *http.Request) {
	causes, limit := r.URL.Query()["cause"], defaultLimit
	var err error
	if text := r.URL.Query().Get("limit"); text != "" {
		limit, err = parseCount(text, mostLimit)
	}
	for _, code := range causes {
		if err == nil && !slices.ContainsFunc(Causes, func(c Cause) bool { return c.Of == ofConnection && c.Code == code }) {
			err = fmt.Errorf("cause=%s: there is no such cause", code)
		}
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err, "see GET /v1/causes")
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	ended, err := s.app.Ended(ctx)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	answer(w, http.StatusOK, map[string]any{"closed": s.tellEnded(ended, causes, limit)})
}

// tellEnded are the ends with one of the causes; any, if there are none.
func (s *Server) tellEnded(ended []conn.Record, causes []string, limit int) []Connection {
	listeners, told := s.app.Listeners(), []Connection{}
	for i := range ended {
		c := tell(&ended[i], app.About{}, listeners)
		if len(told) < limit && (len(causes) == 0 || slices.Contains(causes, c.Cause)) {
			told = append(told, c)
		}
	}
	return told
}

func (s *Server) causes(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, Causes) }

func (s *Server) loops(w http.ResponseWriter, _ *http.Request) {
	figures, _ := s.sampler.figures(s.app)
	answer(w, http.StatusOK, figures)
}

// Driver is a driver as the API tells of it.
type Driver struct {
	Name      string `json:"name"`
	What      string `json:"what"`
	InUse     bool   `json:"in_use"`
	Available bool   `json:"available"`
	Why       string `json:"why,omitempty"`
	Fix       string `json:"fix,omitempty"`
}

func (s *Server) drivers(w http.ResponseWriter, _ *http.Request) {
	all, used := []Driver{}, s.app.Status().Driver
	for _, f := range standard.Drivers() {
		support := f.Probe()
		d := Driver{Name: f.Name, What: f.What, InUse: f.Name == used, Available: support.OK}
		if !support.OK {
			d.Why, d.Fix = support.Why, support.Fix
		}
		all = append(all, d)
	}
	answer(w, http.StatusOK, map[string]any{"in_use": used, "drivers": all})
}

func (s *Server) upstreams(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"upstreams": s.app.Upstreams(), "drained": s.app.Drained()})
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request)   { s.setDrained(w, r, true) }
func (s *Server) restore(w http.ResponseWriter, r *http.Request) { s.setDrained(w, r, false) }

func (s *Server) setDrained(w http.ResponseWriter, r *http.Request, drained bool) {
	endpoint := r.URL.Query().Get("endpoint")
	err := s.app.SetDrained(r.PathValue("name"), endpoint, drained)
	switch {
	case errors.Is(err, app.ErrNoUpstream), errors.Is(err, app.ErrNoEndpoint):
		refuse(w, http.StatusNotFound, err, "name the endpoint as it is configured, as in ?endpoint=10.0.0.7:8080")
	case errors.Is(err, app.ErrLast):
		refuse(w, http.StatusConflict, err, "restore another one first")
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err, "")
	default:
		answer(w, http.StatusOK, map[string]any{"drained": s.app.Drained()})
	}
}

func (s *Server) pools(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"pools": s.app.Pools()})
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	document, err := s.app.Config()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err, "")
		return
	}
	answer(w, http.StatusOK, document)
}

// levelText is a level in lower case, as the configuration writes it.
func levelText(level *slog.LevelVar) string { return strings.ToLower(level.Level().String()) }

// reloadMend is for those whose configuration is refused.
const reloadMend = "mend the configuration, and ask again; the server goes on with the one that it has"

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	dry, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get("dry_run"), "false"))
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("dry_run=%s is neither true nor false", r.URL.Query().Get("dry_run")), "")
		return
	}
	change, err := s.app.Again(dry)
	switch {
	case errors.Is(err, app.ErrNotServing), errors.Is(err, app.ErrNoSource):
		refuse(w, http.StatusServiceUnavailable, err, "")
	case errors.Is(err, app.ErrUpgrading):
		refuse(w, http.StatusConflict, err, upgradingMend)
	case err != nil:
		refuse(w, http.StatusUnprocessableEntity, err, reloadMend)
	default:
		answer(w, http.StatusOK, change)
	}
}

func (s *Server) logLevel(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"level": levelText(s.level)})
}

func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 256))
	word := strings.TrimSpace(string(text))
	var asked struct {
		Level string `json:"level"`
	}
	if json.Unmarshal(text, &asked) == nil {
		word = asked.Level
	}
	if err == nil && !slices.Contains([]string{"debug", "info", "warn", "error"}, word) {
		err = fmt.Errorf("%q is no level", word)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err, `send {"level": "debug"}; or info, warn, error`)
		return
	}
	before := levelText(s.level)
	if err := s.level.UnmarshalText([]byte(word)); err != nil {
		refuse(w, http.StatusBadRequest, err, "")
		return
	}
	s.log.Warn("the level of the log was changed by the operator", "from", before, "to", word)
	s.logLevel(w, r)
}
