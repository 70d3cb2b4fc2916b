package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/observe"
)

// Event is something that happened to a connection.
type Event struct {
	// At is in seconds before now, a negative number.
	At     float64 `json:"at_seconds"`
	Event  string  `json:"event"`
	Detail string  `json:"detail,omitempty"`
}

// Events are the last events of a connection, the latest last.
type Events struct {
	Connection string  `json:"connection"`
	Events     []Event `json:"events"`
}

// tracing is what is traced because somebody asked for it.
type tracing struct {
	mu      sync.Mutex
	clients []netip.Prefix
	ids     []uint64
}

// Trace says what is traced.
type Trace struct {
	Connections []string `json:"connections"`
	Clients     []string `json:"clients"`
	// Open is how many connections were found to be traced when this was asked for.
	Open int `json:"open,omitempty"`
}

var errNotRecorded = errors.New("the model records no events")

const recorderMend = "engine.model: reactor"

// recorders are the workers that record; none under models without loops.
func (s *Server) recorders() (all []conn.Recorder) {
	for _, of := range s.app.Rosters() {
		if r, records := of.(conn.Recorder); records {
			all = append(all, r)
		}
	}
	return all
}

// eventsOf tells the last events of a connection.
func (s *Server) eventsOf(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("%q is no ID", r.PathValue("id")), "write the digits of a listed id")
		return
	}
	recorders := s.recorders()
	if len(recorders) == 0 {
		refuse(w, http.StatusNotImplemented, errNotRecorded, recorderMend)
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	for _, of := range recorders {
		events, now, known, err := of.Events(ctx, id)
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, err, "")
			return
		}
		if !known {
			continue
		}
		told := Events{Connection: strconv.FormatUint(id, 10), Events: []Event{}}
		for _, e := range events {
			what, detail := observe.Describe(e)
			told.Events = append(told.Events, Event{min(0, e.Time()-now).Seconds(), what, detail})
		}
		answer(w, http.StatusOK, told)
		return
	}
	refuse(w, http.StatusNotFound, errNoConnection, "see GET /v1/closed")
}

// traced says what is traced.
func (s *Server) traced(w http.ResponseWriter, _ *http.Request) {
	s.tracing.mu.Lock()
	defer s.tracing.mu.Unlock()
	answer(w, http.StatusOK, s.tracing.tell(0))
}

func (t *tracing) tell(open int) Trace {
	told := Trace{Connections: []string{}, Clients: []string{}, Open: open}
	for _, id := range t.ids {
		told.Connections = append(told.Connections, strconv.FormatUint(id, 10))
	}
	for _, from := range t.clients {
		told.Clients = append(told.Clients, from.String())
	}
	return told
}

// asked is what a client of the API wants to have traced.
type asked struct {
	Connection string `json:"connection"`
	Client     string `json:"client"`
}

// parse reads what is to be traced.
func (a *asked) parse() (id uint64, client netip.Prefix, err error) {
	switch {
	case (a.Connection == "") == (a.Client == ""):
		return 0, client, errors.New("name either a connection or a client")
	case a.Connection != "":
		if id, err = strconv.ParseUint(a.Connection, 10, 64); err != nil {
			err = fmt.Errorf("%q is no ID", a.Connection)
		}
		return id, client, err
	}
	if client, err = netip.ParsePrefix(a.Client); err == nil {
		return 0, client.Masked(), nil
	}
	address, err := netip.ParseAddr(a.Client)
	if err != nil {
		return 0, client, fmt.Errorf("%q is no address and no network", a.Client)
	}
	return 0, netip.PrefixFrom(address, address.BitLen()), nil
}

// clientsTraced is how many addresses or networks may be traced at a time: each new connection is compared with them.
const clientsTraced = 16

// trace begins to trace a connection, or those of a client, also those that are still to come.
func (s *Server) trace(w http.ResponseWriter, r *http.Request) {
	var a asked
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1024))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	var id uint64
	var client netip.Prefix
	if err == nil {
		id, client, err = a.parse()
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err, `send {"connection": "ID"} or {"client": "192.0.2.7"}`)
		return
	}
	recorders := s.recorders()
	if len(recorders) == 0 {
		refuse(w, http.StatusNotImplemented, errNotRecorded, recorderMend)
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	t := &s.tracing
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := []uint64{id}
	if client.IsValid() {
		if len(t.clients) >= clientsTraced {
			refuse(w, http.StatusConflict, errors.New("enough clients are traced"), "DELETE /v1/trace ends all of it")
			return
		}
		if ids, err = s.idsOf(ctx, client); err == nil {
			err = s.traceClients(ctx, append(t.clients[:len(t.clients):len(t.clients)], client))
		}
	}
	open := 0
	if err == nil {
		open, err = s.traceIDs(ctx, ids, true)
	}
	switch {
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	case open == 0 && !client.IsValid():
		refuse(w, http.StatusNotFound, errNoConnection, "see GET /v1/conns; at most 256 connections of a loop are traced")
		return
	case client.IsValid():
		t.clients = append(t.clients, client)
	default:
		t.ids = append(t.ids, id)
	}
	s.log.Info("tracing was begun by the operator", "connection", a.Connection, "client", a.Client, "open", open)
	answer(w, http.StatusOK, t.tell(open))
}

// traceNoMore ends all tracing.
func (s *Server) traceNoMore(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := withPatience(r)
	defer cancel()
	t := &s.tracing
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := t.ids
	var err error
	for _, client := range t.clients {
		some, failed := s.idsOf(ctx, client)
		ids, err = append(ids, some...), errors.Join(err, failed)
	}
	err = errors.Join(err, s.traceClients(ctx, nil))
	if err == nil {
		_, err = s.traceIDs(ctx, ids, false)
	}
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	t.ids, t.clients = nil, nil
	s.log.Info("tracing was ended by the operator")
	answer(w, http.StatusOK, t.tell(0))
}

// idsOf are the open connections of a client.
func (s *Server) idsOf(ctx context.Context, client netip.Prefix) (ids []uint64, err error) {
	l := s.lister()
	selection, err := ParseSelection(url.Values{"peer": {client.String()}}, l.listeners)
	if err != nil {
		return nil, err
	}
	found := make([][]uint64, len(l.rosters))
	err = l.each(ctx, selection.ask(), func(worker int, r *conn.Record) {
		if r.Listener >= 0 && selection.selects(r, l.listeners) {
			found[worker] = append(found[worker], r.ID)
		}
	})
	for _, some := range found {
		ids = append(ids, some...)
	}
	return ids, err
}

// traceIDs begins or ends the tracing of connections, and counts those that were found.
func (s *Server) traceIDs(ctx context.Context, ids []uint64, on bool) (open int, err error) {
	for _, of := range s.recorders() {
		n, err := of.Trace(ctx, ids, on)
		if open += n; err != nil {
			return open, err
		}
	}
	return open, nil
}

// traceClients has connections traced that are accepted from now on.
func (s *Server) traceClients(ctx context.Context, clients []netip.Prefix) error {
	for _, of := range s.recorders() {
		if err := of.TraceClients(ctx, clients); err != nil {
			return err
		}
	}
	return nil
}
