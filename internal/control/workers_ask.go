package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// branch is the way to the admin API of one worker.
type branch struct {
	worker uint64
	client *Client
}

// branches are those of the workers that can answer: who has only just been started, or is being killed, cannot.
func (a *above) branches(ctx context.Context) ([]branch, error) {
	all, err := a.crew.Workers(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []branch
	for i := range all.Workers {
		w := &all.Workers[i]
		if w.Socket == "" || w.State != "serving" && w.State != "draining" {
			continue
		}
		c := a.clients[w.Socket]
		if c == nil {
			c = clientAt(w.Socket)
			a.clients[w.Socket] = c
		}
		list = append(list, branch{w.Worker, c})
	}
	return list, nil
}

// mostAskedBytes bounds the content of a request that is passed on.
const mostAskedBytes = 64 << 10

// reply is what a worker has answered.
type reply struct {
	branch
	status int
	text   []byte
	err    error
}

// content is what came with a request.
func content(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostAskedBytes))
	if err != nil {
		refuse(w, http.StatusBadRequest, err, documentMend)
	}
	return text, err == nil
}

// ask asks all workers the same at once. A worker that has died meanwhile is left out; without any that answers, and
// where one refuses, w is told, and it is not ok.
func (a *above) ask(w http.ResponseWriter, r *http.Request, query url.Values, content []byte) ([]reply, bool) {
	ctx, cancel := withPatience(r)
	defer cancel()
	list, err := a.branches(ctx)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return nil, false
	}
	replies := make([]reply, len(list))
	var group sync.WaitGroup
	for i, b := range list {
		group.Go(func() {
			status, text, err := b.client.relay(ctx, r.Method, r.URL.Path, query, content)
			replies[i] = reply{b, status, text, err}
		})
	}
	group.Wait()
	var failed error
	replies = slices.DeleteFunc(replies, func(one reply) bool {
		failed = cmp.Or(failed, one.err)
		return one.err != nil
	})
	if len(replies) == 0 {
		refuse(w, http.StatusServiceUnavailable, cmp.Or(failed, errNobody), "see GET /v1/workers")
		return nil, false
	}
	for _, one := range replies {
		if one.status != http.StatusOK {
			pass(w, one)
			return nil, false
		}
	}
	return replies, true
}

var errNobody = errors.New("no worker answers")

// pass passes a worker's answer on as it is.
func pass(w http.ResponseWriter, of reply) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(of.status)
	_, _ = w.Write(of.text) // whoever asked has gone
}

// toAny passes on what any worker answers: all answer the same.
func (a *above) toAny(w http.ResponseWriter, r *http.Request) { a.toAll(w, r) }

// toAll has all workers do the same, and answers as the first.
func (a *above) toAll(w http.ResponseWriter, r *http.Request) {
	text, ok := content(w, r)
	if !ok {
		return
	}
	if replies, ok := a.ask(w, r, r.URL.Query(), text); ok {
		pass(w, replies[0])
	}
}

// setLevels changes what is logged here and by all workers.
func (a *above) setLevels(w http.ResponseWriter, r *http.Request) {
	text, ok := content(w, r)
	if !ok {
		return
	}
	replies, ok := a.ask(w, r, nil, text)
	if !ok {
		return
	}
	var is struct {
		Level string `json:"level"`
	}
	err := json.Unmarshal(replies[0].text, &is)
	if err == nil {
		err = a.level.UnmarshalText([]byte(is.Level))
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, err, "")
		return
	}
	a.logLevel(w, r)
}

// Connections of different workers may have the same ID. So above them an ID has the number of the worker before it.
const ownerMark = "."

// owned is the ID of a connection above the workers.
func owned(worker uint64, id string) string { return strconv.FormatUint(worker, 10) + ownerMark + id }

// owner finds the worker that an ID begins with, and the ID there.
func (a *above) owner(w http.ResponseWriter, r *http.Request, text string) (b branch, id string, ok bool) {
	number, id, marked := strings.Cut(text, ownerMark)
	worker, err := strconv.ParseUint(number, 10, 64)
	if !marked || err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("%q is no ID", text), "write a listed id: WORKER.ID")
		return b, "", false
	}
	list, err := a.branches(r.Context())
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return b, "", false
	}
	for _, b := range list {
		if b.worker == worker {
			return b, id, true
		}
	}
	refuse(w, http.StatusNotFound, fmt.Errorf("there is no worker %d", worker), "see GET /v1/workers")
	return b, "", false
}

// toOwner passes on what the worker answers that has the connection or session.
func (a *above) toOwner(w http.ResponseWriter, r *http.Request) {
	b, id, ok := a.owner(w, r, r.PathValue("id"))
	if !ok {
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	path := strings.Replace(r.URL.Path, "/"+r.PathValue("id"), "/"+url.PathEscape(id), 1)
	status, text, err := b.client.relay(ctx, r.Method, path, r.URL.Query(), nil)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "see GET /v1/workers")
		return
	}
	var c Connection
	about := r.Method == http.MethodGet && path == "/v1/conns/"+id
	if about && status == http.StatusOK && json.Unmarshal(text, &c) == nil {
		c.own(b.worker)
		answer(w, status, c)
		return
	}
	pass(w, reply{b, status, text, nil})
}

// own makes a connection one of a worker.
func (c *Connection) own(worker uint64) {
	c.Worker, c.ID = worker, owned(worker, c.ID)
	if c.Partner != "" {
		c.Partner = owned(worker, c.Partner)
	}
}

// trace has a connection traced by its worker, or a client by all.
func (a *above) trace(w http.ResponseWriter, r *http.Request) {
	text, ok := content(w, r)
	if !ok {
		return
	}
	var what asked
	if json.Unmarshal(text, &what) != nil || what.Connection == "" {
		if replies, ok := a.ask(w, r, nil, text); ok {
			addUp(w, replies)
		}
		return
	}
	b, id, ok := a.owner(w, r, what.Connection)
	if !ok {
		return
	}
	what.Connection = id
	if text, ok = marshal(w, what); !ok {
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	status, text, err := b.client.relay(ctx, r.Method, r.URL.Path, nil, text)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "see GET /v1/workers")
		return
	}
	pass(w, reply{b, status, text, nil})
}

// traced are the connections and clients that any worker traces.
func (a *above) traced(w http.ResponseWriter, r *http.Request) {
	replies, ok := a.ask(w, r, nil, nil)
	if !ok {
		return
	}
	all := Trace{Connections: []string{}, Clients: []string{}}
	for _, one := range replies {
		var some Trace
		if err := json.Unmarshal(one.text, &some); err != nil {
			refuse(w, http.StatusServiceUnavailable, err, "")
			return
		}
		for _, id := range some.Connections {
			all.Connections = append(all.Connections, owned(one.worker, id))
		}
		for _, from := range some.Clients {
			if !slices.Contains(all.Clients, from) {
				all.Clients = append(all.Clients, from)
			}
		}
		all.Open += some.Open
	}
	answer(w, http.StatusOK, all)
}

func marshal(w http.ResponseWriter, v any) ([]byte, bool) {
	text, err := json.Marshal(v)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err, "")
	}
	return text, err == nil
}
