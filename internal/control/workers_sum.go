package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// This file adds up what the workers say of themselves.

// alike are members that are the same for every worker, or that cannot be added up: the first one's stand for all.
var alike = map[string]bool{
	"weight": true, "idle_limit_seconds": true, "learned_idle_seconds": true, "pid": true, "uptime_seconds": true,
}

// strung are lists that have something for each loop: those of all workers stand behind each other.
var strung = map[string]bool{"open_per_worker": true, "connections": true, "clients": true}

// plus adds more to what is there, as it was decoded from JSON: numbers are added, objects are joined, and so are the
// elements of lists that are about the same thing. Words that differ become "mixed" where they are states.
func plus(name string, is, more any) any {
	switch is := is.(type) {
	case nil:
		return more
	case float64:
		if n, ok := more.(float64); ok && !alike[name] {
			return is + n
		}
	case string:
		if text, ok := more.(string); ok && text != is && name == "state" {
			return "mixed"
		}
	case map[string]any:
		others, _ := more.(map[string]any)
		for key, value := range others {
			is[key] = plus(key, is[key], value)
		}
	case []any:
		others, _ := more.([]any)
		return join(name, is, others)
	}
	return is
}

// join adds a list to a list.
func join(name string, is, more []any) []any {
	for _, other := range more {
		found := false
		for i := range is {
			if about(is[i]) != "" && about(is[i]) == about(other) {
				is[i], found = plus(name, is[i], other), true
				break
			}
		}
		if !found && (strung[name] || about(other) != "") {
			is = append(is, other)
		}
	}
	return is
}

// about says what an element of a list is about; empty: nothing tells.
func about(v any) string {
	object, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	var words []string
	for _, key := range []string{"upstream", "name", "endpoint", "address", "source", "listener"} {
		if text, ok := object[key].(string); ok {
			words = append(words, text)
		}
	}
	return strings.Join(words, " ")
}

// total adds up what the workers have answered.
func total(replies []reply) (any, error) {
	var sum any
	for _, one := range replies {
		var document any
		if err := json.Unmarshal(one.text, &document); err != nil {
			return nil, fmt.Errorf("worker %d: %w", one.worker, err)
		}
		sum = plus("", sum, document)
	}
	return sum, nil
}

func addUp(w http.ResponseWriter, replies []reply) {
	sum, err := total(replies)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	answer(w, http.StatusOK, sum)
}

// sums answers with what all workers answer, added up.
func (a *above) sums(w http.ResponseWriter, r *http.Request) {
	if replies, ok := a.ask(w, r, r.URL.Query(), nil); ok {
		addUp(w, replies)
	}
}

// status is that of all workers, with what is this process's own.
func (a *above) status(w http.ResponseWriter, r *http.Request) {
	replies, ok := a.ask(w, r, nil, nil)
	if !ok {
		return
	}
	sum, err := total(replies)
	status, whole := sum.(map[string]any)
	if err != nil || !whole {
		refuse(w, http.StatusServiceUnavailable, fmt.Errorf("what the workers say makes no sense: %w", err), "")
		return
	}
	status["pid"], status["version"], status["log_level"] = os.Getpid(), a.version, levelText(a.level)
	status["uptime_seconds"], status["workers"] = time.Since(a.began).Seconds(), len(replies)
	answer(w, http.StatusOK, status)
}

// loops are those of all workers, with the rates added up.
func (a *above) loops(w http.ResponseWriter, r *http.Request) {
	replies, ok := a.ask(w, r, nil, nil)
	if !ok {
		return
	}
	figures, err := joined(replies)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	answer(w, http.StatusOK, figures)
}

// joined are the figures of all workers.
func joined(replies []reply) (sum Figures, err error) {
	sum = Figures{Responses: map[string]float64{}, Loops: []Loop{}}
	for _, one := range replies {
		var f Figures
		if err := json.Unmarshal(one.text, &f); err != nil {
			return sum, fmt.Errorf("worker %d: %w", one.worker, err)
		}
		sum.add(one.worker, &f)
	}
	return sum, nil
}

// add adds the figures of a worker. How long requests took cannot be added up: the quantiles are those of the worker
// whose are the worst.
func (f *Figures) add(worker uint64, one *Figures) {
	f.Open += one.Open
	f.Accepted, f.Closed, f.Requests = f.Accepted+one.Accepted, f.Closed+one.Closed, f.Requests+one.Requests
	f.Received, f.Sent = f.Received+one.Received, f.Sent+one.Sent
	for class, n := range one.Responses {
		f.Responses[class] += n
	}
	if one.Time.After(f.Time) {
		f.Time, f.Seconds = one.Time, one.Seconds
	}
	l, m := &f.Latency, &one.Latency
	l.Mean = over(l.Mean*float64(l.Count)+m.Mean*float64(m.Count), float64(l.Count+m.Count))
	l.Count += m.Count
	l.P50, l.P99, l.P999 = max(l.P50, m.P50), max(l.P99, m.P99), max(l.P999, m.P999)
	for _, o := range one.Loops {
		o.Worker = worker
		f.Loops = append(f.Loops, o)
	}
	f.Process.Descriptors += one.Process.Descriptors
	f.Process.DescriptorLimit += one.Process.DescriptorLimit
	f.Process.ResidentBytes += one.Process.ResidentBytes
}
